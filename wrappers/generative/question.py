"""The question that goes with a picture, and the reading of a server's reply to it."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from wrappers.checks import one_number, whole_number
from wrappers.generative.answers import (
    FORMS,
    LEAST_MASS,
    VERSION,
    AnswerForm,
    Token,
    expected_score,
    read_answer,
)
from wrappers.generative.outcomes import NoLabel, Status
from wrappers.generative.server import STRUCTURES, Features
from wrappers.scorer import Frames

SCENE = (
    "The picture shows a road with traffic from above, in a driving simulator. The red car is to "
    "be judged; it drives upwards. Other cars are green. The trail behind each car is as long as "
    "it drives in half a second."
)
SEQUENCE = "You see {count} pictures of one scene in the order of time; judge the last one."
READINGS = ("auto", "logprobs", "json", "text")
_DETAILS = ("auto", "low", "high")
_NO_LOGPROBS = "no log-probabilities that can be read came with the answer"


@dataclass(frozen=True)
class Question:
    """What a chat model is asked about a frame, and how its answer is read.

    One scorer reads all answers in one way, its ``reading``:

    - ``"logprobs"``: the mean score over the model's own alternatives at the token of its answer,
      if these have a probability of ``least_mass`` together.
    - ``"json"``: the number in the JSON object that is asked for, and in nothing else.
    - ``"text"``: what the words say, JSON among them.
    - ``"auto"``: the first of these that the server's answer to a first question allows; it is
      settled before the first frame, see :class:`~.chat_scorer.ChatScorer`.

    A free number, as in the ``"probability"`` form, cannot be read from log-probabilities.
    """

    answer: str = "grade"  # "grade" (0 to 9), "probability" or "yes_no"
    scene: str = SCENE  # what the picture shows
    request: str | None = None  # what to answer; None for the words that belong to ``answer``
    structure: str = "json_schema"  # or "json_object" or "text"; less where a server refuses
    reading: str = "auto"  # or "logprobs", "json" or "text"
    least_mass: float | None = None  # of log-probabilities, None for 0.05
    detail: str = "auto"  # of the pictures: "auto", "low" or "high"
    temperature: float = 0.0
    seed: int = 0
    max_tokens: int = 128  # of the answer; a reasoning model needs some thousand

    def __post_init__(self) -> None:
        for name, known in (
            ("answer", tuple(FORMS)),
            ("structure", STRUCTURES),
            ("reading", READINGS),
            ("detail", _DETAILS),
        ):
            if getattr(self, name) not in known:
                value = getattr(self, name)
                raise ValueError(f"unknown {name} {value!r}; known: {', '.join(known)}")
        one_number(self.temperature, "temperature", "scorer 'chat'", 0.0)
        for name, low in (("max_tokens", 1), ("seed", 0)):
            value = whole_number(getattr(self, name), name, "scorer 'chat'", low)
            object.__setattr__(self, name, value)
        if self.reading == "logprobs" and self.form.choices is None:
            raise ValueError(
                f"reading='logprobs' cannot go with answer={self.answer!r}, a free number"
            )
        if self.least_mass is not None:
            if self.reading in ("json", "text") or self.form.choices is None:
                raise ValueError(
                    f"least_mass={self.least_mass!r} has no effect with reading={self.reading!r} "
                    f"and answer={self.answer!r}; leave it out"
                )
            one_number(self.least_mass, "least_mass", "scorer 'chat'", 0.0, 1.0)
        for name in ("scene", "request"):
            if not isinstance(getattr(self, name), str | None):
                raise ValueError(f"{name} must be words, got {getattr(self, name)!r}")
        if self.request is not None and f'"{self.form.key}"' not in self.request:
            raise ValueError(
                f'the request must name the JSON key "{self.form.key}" of answer={self.answer!r}, '
                f"got {self.request!r}"
            )

    @property
    def form(self) -> AnswerForm:
        return FORMS[self.answer]

    @property
    def opposite(self) -> Question | None:
        """Asks for danger: high scores mean it.  None where the words are the user's own."""
        words = None if self.request is not None else self.form.opposite
        return None if words is None else replace(self, request=words)

    @property
    def identity(self) -> dict[str, Any]:
        """All that an answer depends on, JSON-able."""
        facts = asdict(self)
        own = {"request": self.request or self.form.request, "answer_version": VERSION}
        if self.wants_logprobs:
            own["least_mass"] = self._least_mass
        return facts | own

    @property
    def wants_logprobs(self) -> bool:
        """Whether log-probabilities may be read."""
        return self.reading in ("auto", "logprobs") and self.form.choices is not None

    @property
    def features(self) -> Features:
        """What to ask for at first."""
        return Features(self.structure, top_logprobs=20 if self.wants_logprobs else 0)

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

    def blind_body(self, model: str, clip: Frames, features: Features) -> dict[str, Any]:
        """The same words without the pictures."""
        body = self.body(model, clip, features)
        (message,) = body["messages"]
        message["content"] = [part for part in message["content"] if part["type"] == "text"]
        return body

    def other_way(self, features: Features) -> None:
        """There is one way to send pictures."""

    def kept(self, features: Features, reading: str) -> Features:
        """What is still asked for once it is settled how replies are read."""
        return features if reading == "logprobs" else features.without_logprobs()

    def settle(self, reply: Any) -> str:
        """The reading that a server's first reply allows: ``reading`` itself unless it is "auto".

        Raises:
            NoLabel: for a reply that is no chat completion, or lacks log-probabilities where they
                are to be read.
        """
        choice = _first_choice(reply)
        told = any(alternatives for _, alternatives in _tokens(choice))
        if self.reading == "logprobs" and not told:
            raise NoLabel(Status.MALFORMED, f"{_NO_LOGPROBS}; leave reading=logprobs out")
        if self.reading != "auto":
            return self.reading
        if self.wants_logprobs and told:
            return "logprobs"
        try:
            return read_answer(_answer_text(choice), self.form).source
        except NoLabel:
            return "text"

    def read(self, reply: Any, reading: str) -> float:
        """The score of a server's reply, by a ``reading`` of :meth:`settle`.

        Raises:
            NoLabel: for a reply that gives none.
        """
        choice = _first_choice(reply)
        found = read_answer(_answer_text(choice), self.form)
        if reading == "json" and found.source != "json":
            raise NoLabel(Status.MALFORMED, "the answer is no JSON object, as the others are")
        if reading != "logprobs":
            return found.score
        score = expected_score(_tokens(choice), found.score, self.form, self._least_mass)
        if score is None:
            raise NoLabel(Status.MALFORMED, _NO_LOGPROBS)
        return score

    @property
    def _least_mass(self) -> float:
        return LEAST_MASS if self.least_mass is None else self.least_mass


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
    raise NoLabel(Status.NO_COMPLETION, "the server's reply is no chat completion")


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
