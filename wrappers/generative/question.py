"""The question that goes with a picture, and the reading of a server's reply to it."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..scorer import Frames
from .answers import FORMS, VERSION, AnswerForm, NoLabel, Token, expected_score, read_answer
from .features import STRUCTURES, Features
from .outcomes import Status

SCENE = (
    "The picture shows a road with traffic from above, in a driving simulator. The red car is to "
    "be judged; it drives upwards. Other cars are green. The trail behind each car is as long as "
    "it drives in half a second."
)
SEQUENCE = "You see {count} pictures of one scene in the order of time; judge the last one."
_LOGPROBS = ("prefer", "require", "off")
_DETAILS = ("auto", "low", "high")


@dataclass(frozen=True)
class Question:
    """What a chat model is asked about a frame.

    With ``logprobs`` the score is the mean over the model's own alternatives at the token of its
    answer: ``"prefer"`` reads the answer itself where a server gives none, ``"require"`` takes
    such an answer for no label, so that one run never mixes the two.  A free number, as in the
    ``"probability"`` form, is always read from the answer itself.
    """

    answer: str = "grade"  # "grade" (0 to 9), "probability" or "yes_no"
    scene: str = SCENE  # what the picture shows
    request: str | None = None  # what to answer; None for the words that belong to ``answer``
    structure: str = "json_schema"  # or "json_object" or "text"; less where a server refuses
    logprobs: str = "prefer"  # or "require" or "off"
    detail: str = "auto"  # of the pictures: "auto", "low" or "high"
    temperature: float = 0.0
    seed: int = 0
    max_tokens: int = 128  # of the answer; a reasoning model needs some thousand

    def __post_init__(self) -> None:
        for name, known in (
            ("answer", tuple(FORMS)),
            ("structure", STRUCTURES),
            ("logprobs", _LOGPROBS),
            ("detail", _DETAILS),
        ):
            if getattr(self, name) not in known:
                value = getattr(self, name)
                raise ValueError(f"unknown {name} {value!r}; known: {', '.join(known)}")
        if not self.temperature >= 0:
            raise ValueError(f"temperature must not be negative, got {self.temperature}")
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens must be at least 1, got {self.max_tokens}")
        if self.logprobs == "require" and self.form.choices is None:
            raise ValueError(
                f"logprobs='require' cannot go with answer={self.answer!r}, a free number"
            )
        if self.request is not None and f'"{self.form.key}"' not in self.request:
            raise ValueError(
                f'the request must name the JSON key "{self.form.key}" of answer={self.answer!r}, '
                f"got {self.request!r}"
            )

    @property
    def form(self) -> AnswerForm:
        return FORMS[self.answer]

    @property
    def identity(self) -> dict[str, Any]:
        """All that an answer depends on, JSON-able."""
        facts = asdict(self)
        return facts | {"request": self.request or self.form.request, "answer_version": VERSION}

    @property
    def features(self) -> Features:
        """What to ask for at first."""
        wanted = self.logprobs != "off" and self.form.choices is not None
        return Features(self.structure, top_logprobs=20 if wanted else 0)

    def text(self, pictures: int) -> str:
        """The words that go with a number of pictures."""
        sequence = [SEQUENCE.format(count=pictures)] if pictures > 1 else []
        return "\n".join([self.scene, *sequence, self.request or self.form.request])

    def body(self, model: str, clip: Frames, features: Features) -> dict[str, Any]:
        """A request about ``clip (K, H, W, 3)``, oldest frame first."""
        parts: list[dict[str, Any]] = [{"type": "text", "text": self.text(len(clip))}]
        for frame in clip:
            picture = {"url": to_data_url(frame)}
            if features.detail:
                picture["detail"] = self.detail
            parts.append({"type": "image_url", "image_url": picture})
        options = features.options(self.form, self.temperature, self.seed, self.max_tokens)
        return {"model": model, "messages": [{"role": "user", "content": parts}], **options}

    def read(self, reply: Any) -> tuple[float, str]:
        """The score of a server's reply, and what it was read from.

        Raises :class:`~.answers.NoLabel` for a reply that gives none.
        """
        choice = _first_choice(reply)
        text = _answer_text(choice)
        reading = read_answer(text, self.form)
        if self.logprobs != "off":
            score = expected_score(_tokens(choice), reading.score, self.form)
            if score is not None:
                return score, "logprobs"
        if self.logprobs == "require":
            raise NoLabel(Status.MALFORMED, "no log-probabilities came with the answer")
        return reading.score, reading.source


def to_data_url(frame: Frames) -> str:
    """A frame ``(H, W, 3)`` as PNG, which loses nothing, in a ``data:`` URL."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _first_choice(reply: Any) -> Mapping[str, Any]:
    choices = reply.get("choices") if isinstance(reply, dict) else None
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        return choices[0]
    raise NoLabel(Status.MALFORMED, "the server's reply is no chat completion")


def _answer_text(choice: Mapping[str, Any]) -> str:
    """What the model said, if it said all that it wanted to say."""
    message = choice.get("message")
    message = message if isinstance(message, dict) else {}
    if message.get("refusal"):
        raise NoLabel(Status.REFUSED, f"the model said {str(message['refusal'])[:200]!r}")
    if choice.get("finish_reason") == "content_filter":
        raise NoLabel(Status.REFUSED, "the server's filter cut the answer")
    if choice.get("finish_reason") == "length":
        raise NoLabel(Status.TRUNCATED, "the answer was cut at max_tokens")
    content = message.get("content")
    if isinstance(content, list):  # parts, as some servers send them
        texts = [part.get("text") for part in content if isinstance(part, dict)]
        content = "".join(text for text in texts if isinstance(text, str))
    if not isinstance(content, str) or not content.strip():
        raise NoLabel(Status.MALFORMED, "the answer is empty")
    return content


def _tokens(choice: Mapping[str, Any]) -> list[Token]:
    """The answer's tokens with their alternatives; empty where a server gives none it should."""
    try:
        return [
            (
                str(entry["token"]),
                {str(other["token"]): float(other["logprob"]) for other in entry["top_logprobs"]},
            )
            for entry in choice["logprobs"]["content"]
        ]
    except (KeyError, TypeError, ValueError, OverflowError):
        return []
