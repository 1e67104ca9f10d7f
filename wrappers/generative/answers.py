"""What a model is asked for, and the reading of its answer.

An answer becomes a number only when it can be read in one way: JSON with the one key that was
asked for, or text that consists of nothing but the answer.  A number that happens to stand in a
sentence ("the gap is 5 m") is never taken for a grade.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .outcomes import Status

VERSION = 1  # of the schemas and of how answers are read; part of a scorer's identity
LEAST_MASS = 0.05  # probability of all answers together, below which there is no label
_SHOWN = 80  # characters of an answer that are quoted in a reason


class NoLabel(Exception):
    """An answer that gives no label, and why."""

    def __init__(self, status: Status, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


@dataclass(frozen=True)
class AnswerForm:
    """One kind of answer.

    ``choices`` maps answers of one token to their scores; ``None`` for a free number in [0, 1].
    """

    name: str
    key: str  # of the JSON object
    request: str  # in words, to the model
    value_schema: Mapping[str, Any]
    choices: Mapping[str, float] | None

    @property
    def schema(self) -> dict[str, Any]:
        """JSON schema of the answer."""
        return {
            "type": "object",
            "properties": {self.key: dict(self.value_schema)},
            "required": [self.key],
            "additionalProperties": False,
        }


FORMS = {
    form.name: form
    for form in (
        AnswerForm(
            "grade",
            "grade",
            "Grade how safe the red car is, with a whole number from 0 (it has an accident or can "
            "no longer avoid one) to 9 (no danger at all). Answer with JSON only, in the form "
            '{"grade": <0 to 9>}.',
            {"type": "integer", "enum": list(range(10))},
            {str(grade): grade / 9 for grade in range(10)},
        ),
        AnswerForm(
            "probability",
            "probability",
            "How probable is it that the red car drives on without an accident, from 0 (it has "
            "one or can no longer avoid it) to 1 (no danger at all)? Answer with JSON only, in the "
            'form {"probability": <0.00 to 1.00>}.',
            {"type": "number", "minimum": 0, "maximum": 1},
            None,
        ),
        AnswerForm(
            "yes_no",
            "safe",
            "Is the red car driving safely? Answer with JSON only, in the form "
            '{"safe": "yes"} or {"safe": "no"}.',
            {"type": "string", "enum": ["yes", "no"]},
            {"yes": 1.0, "no": 0.0, "true": 1.0, "false": 0.0},
        ),
    )
}


@dataclass(frozen=True)
class Reading:
    """A score, where in the text its value begins, and what kind of text it was."""

    score: float
    start: int
    source: str  # "json" or "text"


def read_answer(text: str, form: AnswerForm) -> Reading:
    """The score that a whole answer gives.

    Raises :class:`NoLabel` for an answer that gives none, or several.
    """
    begin = _end_of_thought(text)
    objects = list(_objects(text, begin, form.key))
    if objects:
        scores = {_to_score(value, form) for value, _ in objects}
        if len(scores) > 1:
            raise NoLabel(Status.MALFORMED, f"several answers in {_quote(text[begin:])}")
        return Reading(scores.pop(), objects[0][1], "json")
    found = _bare_answer(form).fullmatch(text[begin:])
    if found is not None:
        return Reading(_to_score(found["value"], form), begin + found.start("value"), "text")
    if _REFUSAL.match(text[begin:].replace("\u2019", "'")):
        raise NoLabel(Status.REFUSED, f"the model said {_quote(text[begin:])}")
    raise NoLabel(Status.MALFORMED, f"no {form.key} can be read from {_quote(text[begin:])}")


Token = tuple[str, Mapping[str, float]]  # its text; log-probabilities of what might stand there


def expected_score(tokens: Sequence[Token], score: float, form: AnswerForm) -> float | None:
    """The mean score over a model's alternatives at the token that carries its answer.

    ``tokens`` are the answer's tokens, each with its most likely alternatives and their natural
    log-probabilities; ``score`` is what was read from the answer itself.  Alternatives that are no
    answer are left out and the others' probabilities brought to a sum of 1, as in G-Eval (Liu et
    al., EMNLP 2023, eq. 1).

    ``None`` where the log-probabilities do not tell: a free number, an answer of several tokens,
    no alternatives, or tokens that do not make up that answer.
    """
    if form.choices is None:
        return None
    try:
        reading = read_answer("".join(token for token, _ in tokens), form)
    except NoLabel:
        return None
    if reading.score != score:
        return None
    end = 0
    for token, alternatives in tokens:
        end += len(token)
        if end > reading.start:
            return _mean_score(token, alternatives, form.choices)
    return None


def _mean_score(
    token: str, alternatives: Mapping[str, float], choices: Mapping[str, float]
) -> float | None:
    if _bare(token) not in choices or token not in alternatives:
        return None
    weights = [
        (math.exp(min(logprob, 0.0)), choices[_bare(other)])
        for other, logprob in alternatives.items()
        if _bare(other) in choices and not math.isnan(logprob)
    ]
    total = sum(weight for weight, _ in weights)
    return sum(weight * score for weight, score in weights) / total if total > 0 else None


def _bare(token: str) -> str:
    return token.strip(" \t\r\n\"':{}[],.").lower()


_NUMBER = r"[-+]?\d+(\.\d+)?"
_REFUSAL = re.compile(
    r"\W*(i'?m sorry|sorry|i apologi[sz]e|i cannot|i can't|i am (not able|unable)|i'?m (not able|"
    r"unable)|as an ai|unfortunately,? i)\b",
    re.IGNORECASE,
)


def _bare_answer(form: AnswerForm) -> re.Pattern[str]:
    """Text that is nothing but the answer, perhaps with its name before it: ``Grade: 7.``"""
    value = "|".join(form.choices or ()) if form.name == "yes_no" else _NUMBER
    scale = r"(\s*/\s*9)?" if form.name == "grade" else ""
    return re.compile(
        rf"[\s*`\"']*((answer|{form.key})\W{{1,4}}(is\W)?)?(?P<value>{value}){scale}[\s*`\"'.!]*",
        re.IGNORECASE,
    )


def _end_of_thought(text: str) -> int:
    """Where the answer begins, after what a reasoning model thinks aloud."""
    opened, closed = text.rfind("<think>"), text.rfind("</think>")
    if opened > closed:
        raise NoLabel(Status.TRUNCATED, "the model had not finished thinking")
    return closed + len("</think>") if closed >= 0 else 0


def _objects(text: str, begin: int, key: str) -> Iterator[tuple[Any, int]]:
    """Values of ``key`` in the JSON objects of a text, each with where it begins."""
    decoder = json.JSONDecoder(object_pairs_hook=_refuse_repeated)
    while (begin := text.find("{", begin)) >= 0:
        try:
            found, end = decoder.raw_decode(text, begin)
        except (ValueError, RecursionError):
            begin += 1
            continue
        if key in found:
            named = re.compile(rf'"{key}"\s*:\s*"?').search(text, begin, end)
            yield found[key], named.end() if named else begin
        begin = end


def _refuse_repeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise NoLabel(Status.MALFORMED, f"a key is given twice in {_quote(str(pairs))}")
    return found


def _to_score(value: Any, form: AnswerForm) -> float:
    """The score of a JSON value or of a word."""
    if form.name == "yes_no":
        word = str(value).strip().lower() if isinstance(value, str | bool) else ""
        if form.choices is None or word not in form.choices:
            raise NoLabel(Status.MALFORMED, f"{form.key} is {repr(value)[:_SHOWN]}")
        return form.choices[word]
    number = _to_number(value, form)
    top = 9 if form.name == "grade" else 1
    if not 0 <= number <= top:
        raise NoLabel(Status.OUT_OF_RANGE, f"{form.key} is {number:g}, not in 0 to {top}")
    if form.name == "grade" and number != int(number):
        raise NoLabel(Status.MALFORMED, f"{form.key} is {number:g}, no whole number")
    return number / top


def _to_number(value: Any, form: AnswerForm) -> float:
    try:
        numeric = isinstance(value, int | float) and not isinstance(value, bool)
        if not numeric and not (isinstance(value, str) and re.fullmatch(_NUMBER, value.strip())):
            raise ValueError
        number = float(value)
        if not math.isfinite(number):
            raise ValueError
    except (ValueError, OverflowError):
        raise NoLabel(Status.MALFORMED, f"{form.key} is {repr(value)[:_SHOWN]}") from None
    return number


def _quote(text: str) -> str:
    flat = " ".join(text.split())
    return repr(flat[:_SHOWN] + ("..." if len(flat) > _SHOWN else ""))
