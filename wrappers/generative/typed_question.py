"""Typed questions about a picture, which are answered by probabilities and not in words.

The protocol is "System One" (``POST /v1/systemone``), in both forms in which servers take pictures:
``assets``, each with a placeholder in the text (``transformers serve`` from 5.23 on), and a list of
``images`` (its versions 5.20 to 5.22, llama.cpp).  A picture whose placeholder the text lacks is
dropped without a word, and llama.cpp drops ``assets`` so: the placeholders are put here, and the
first requests show which form a server knows.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from wrappers.generative.outcomes import NoLabel, Status
from wrappers.generative.question import SCENE, SEQUENCE, to_data_url
from wrappers.scorer import Frames

VERSION = 1  # of how requests are put and answers are read; part of a scorer's identity
MOST_PICTURES = 4  # that the protocol takes
LEVELS = (  # from the least safe to the safest
    "It has an accident, or can no longer avoid one.",
    "An accident is near: only hard braking or swerving at once avoids it.",
    "It is too close to another car, or leaves its lane.",
    "Other cars are near, at a safe distance.",
    "There is no danger at all.",
)
ANSWERS = ("noul", "score")
READING = "probabilities"
_REQUESTS = {"noul": "Is the red car driving safely?", "score": "How safe is the red car?"}
_OPPOSITE = {
    "noul": "Is the red car in danger?",
    "score": "How great is the danger that the red car is in?",
}
_NAME = "safety"  # of our question in a request
_SUM_TOLERANCE = 0.02  # of the probabilities of all answers: servers may round them


@dataclass(frozen=True)
class PictureField:
    """How a server takes pictures: as ``assets`` with placeholders, or as a list of ``images``."""

    pictures: str = "assets"

    def without(self, complaint: str) -> PictureField | None:
        """The other way, for a server that says that it does not know this one."""
        text = complaint.lower()
        unknown = "assets" in text and re.search("extra|unknown|unexpected|not permitted", text)
        return self.other if unknown else None

    @property
    def other(self) -> PictureField | None:
        """The other way; ``None`` where this one is the last."""
        return PictureField("images") if self.pictures == "assets" else None


@dataclass(frozen=True)
class TypedQuestion:
    """What a server of typed questions is asked about a frame.

    - ``"noul"``: yes or no.  The score is the probability of yes.
    - ``"score"``: one of some ``levels``, the least safe first.  The score is the mean level,
      weighted by the probabilities, brought to [0, 1].
    """

    answer: str = "noul"  # or "score"
    scene: str = SCENE  # what the picture shows
    request: str | None = None  # the question; None for the words that belong to ``answer``
    levels: Sequence[str] | None = None  # for "score", None for five of our own

    def __post_init__(self) -> None:
        if self.answer not in ANSWERS:
            raise ValueError(f"unknown answer {self.answer!r}; known: {', '.join(ANSWERS)}")
        for name in ("scene", "request"):
            if not isinstance(getattr(self, name), str | None):
                raise ValueError(f"{name} must be words, got {getattr(self, name)!r}")
        if self.answer == "noul" and self.levels is not None:
            raise ValueError("levels have no effect with answer='noul'; leave them out")
        if self.answer == "score":
            object.__setattr__(self, "levels", _check_levels(self.levels))
        for placeholder in _placeholders(MOST_PICTURES):
            if any(placeholder in words for words in (self.scene, self._request, *self._levels)):
                raise ValueError(
                    f"the words hold {placeholder!r}, which stands for a picture; choose others"
                )

    @property
    def _request(self) -> str:
        return self.request or _REQUESTS[self.answer]

    @property
    def _levels(self) -> Sequence[str]:
        return self.levels or ()

    @property
    def identity(self) -> dict[str, Any]:
        """All that an answer depends on, JSON-able."""
        levels = list(self._levels) or None
        return asdict(self) | {"request": self._request, "levels": levels, "typed_version": VERSION}

    @property
    def opposite(self) -> TypedQuestion | None:
        """Asks for danger: high scores mean it.  None where the words are the user's own."""
        if self.request is not None:
            return None
        levels = self._levels[::-1] or None
        return replace(self, request=_OPPOSITE[self.answer], levels=levels)

    @property
    def features(self) -> PictureField:
        """How pictures are sent at first."""
        return PictureField()

    def text(self, pictures: int) -> str:
        """The words that go with a number of pictures, without placeholders."""
        sequence = [SEQUENCE.format(count=pictures)] if pictures > 1 else []
        return "\n".join([self.scene, *sequence])

    def body(self, model: str, clip: Frames, features: PictureField) -> dict[str, Any]:
        """A request about ``clip (K, H, W, 3)``, oldest frame first."""
        body, urls = self.blind_body(model, clip, features), list(map(to_data_url, clip))
        if features.pictures == "images":
            return body | {"images": urls}
        coded = [{"format": "png", "data_base64": url.partition(",")[2]} for url in urls]
        return body | {"assets": dict(zip(_placeholders(len(urls)), coded, strict=True))}

    def blind_body(self, model: str, clip: Frames, features: PictureField) -> dict[str, Any]:
        """The same words, placeholders among them, without the pictures."""
        names = _placeholders(len(clip)) if features.pictures == "assets" else []
        question: dict[str, Any] = {"type": self.answer, "instructions": self._request}
        if self.answer == "score":
            question["criteria"] = list(self._levels)
        state = "\n".join([*names, self.text(len(clip))])
        return {"model": model, "state": state, "questions": {_NAME: question}}

    def other_way(self, features: PictureField) -> PictureField | None:
        """How else pictures can be sent, where they made no difference; ``None``: in no way."""
        return features.other

    def settle(self, reply: Any) -> str:
        """That probabilities are read; there is no other way.

        Raises:
            NoLabel: for a reply that answers no typed question.
        """
        self._answer_in(reply)
        return READING

    def kept(self, features: PictureField, reading: str) -> PictureField:
        """How pictures are sent from then on."""
        return features

    def read(self, reply: Any, reading: str) -> float:
        """The score of a server's reply.

        Raises:
            NoLabel: for a reply that gives none.
        """
        answer = self._answer_in(reply)
        if self.answer == "noul":
            return _probability(answer.get("noul"), "noul")
        found = answer.get("probabilities")
        wanted = [str(level) for level in range(len(self._levels))]
        if not isinstance(found, dict) or sorted(found) != sorted(wanted):
            text = f"there are no probabilities of {len(wanted)} levels in the answer"
            raise NoLabel(Status.MALFORMED, text)
        weights = [_probability(found[level], f"level {level}") for level in wanted]
        total = math.fsum(weights)
        if abs(total - 1.0) > _SUM_TOLERANCE:
            raise NoLabel(Status.MALFORMED, f"the probabilities have a sum of {total:g}, not 1")
        mean = math.fsum(level * weight for level, weight in enumerate(weights)) / total
        return mean / (len(wanted) - 1)

    def _answer_in(self, reply: Any) -> Mapping[str, Any]:
        answers = reply.get("answers") if isinstance(reply, dict) else None
        answer = answers.get(_NAME) if isinstance(answers, dict) else None
        if not isinstance(answer, dict):
            raise NoLabel(Status.NO_COMPLETION, "the server's reply answers no typed question")
        return answer


def _placeholders(count: int) -> list[str]:
    """What stands in the text for each picture; none is the beginning of another."""
    return [f"img-{number}" for number in range(1, count + 1)]


def _check_levels(levels: object) -> tuple[str, ...]:
    if levels is None:
        return LEVELS
    listed = tuple(levels) if isinstance(levels, list | tuple) else ()
    if len(listed) < 2 or len(set(listed)) < len(listed) or not all(_is_words(x) for x in listed):
        raise ValueError(
            f"levels must be two different sentences or more, the least safe first, got {levels!r}"
        )
    return listed


def _is_words(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _probability(value: Any, what: str) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value):
        raise NoLabel(Status.MALFORMED, f"{what} is {str(value)[:80]!r}, no probability")
    if not 0.0 <= value <= 1.0:
        raise NoLabel(Status.OUT_OF_RANGE, f"{what} is {value:g}, not in 0 to 1")
    return float(value)
