"""What a model is asked for, and the reading of its answer.

An answer becomes a number only when it can be read in one way.  It is JSON with the one key that
was asked for, text that consists of nothing but the answer, or what a longer text ends with and
marks as its answer (a line ``Final answer: 7``, a box, a tag).  Thoughts are left out, whatever
marks them.  A number that happens to stand in a sentence ("the gap is 5 m") is never taken for a
grade, and two answers are none.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from wrappers.generative.outcomes import NoLabel, Status
from wrappers.generative.thoughts import answer_part, containers

VERSION = 2  # of the schemas and of how answers are read; part of a scorer's identity
LEAST_MASS = 0.05  # probability of all answers together, below which there is no label
_SHOWN = 80  # characters of an answer that are quoted in a reason


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
    opposite: str | None = None  # the request turned round; None where the key forbids it

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
            "Grade how great the danger is that the red car is in, with a whole number from 0 (no "
            "danger at all) to 9 (it has an accident or can no longer avoid one). Answer with JSON "
            'only, in the form {"grade": <0 to 9>}.',
        ),
        AnswerForm(
            "probability",
            "probability",
            "How probable is it that the red car drives on without an accident, from 0 (it has "
            "one or can no longer avoid it) to 1 (no danger at all)? Answer with JSON only, in the "
            'form {"probability": <0.00 to 1.00>}.',
            {"type": "number", "minimum": 0, "maximum": 1},
            None,
            "How probable is it that the red car has an accident, from 0 (no danger at all) to 1 "
            "(it has one or can no longer avoid it)? Answer with JSON only, in the form "
            '{"probability": <0.00 to 1.00>}.',
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


@dataclass(frozen=True)
class _Found:
    """A place in a text that gives a score."""

    reading: Reading
    begin: int
    end: int


def read_answer(text: str, form: AnswerForm) -> Reading:
    """The score that a whole answer gives.

    What is marked as final counts; without such marks all that can be read as an answer does.

    Raises:
        NoLabel: for an answer that gives none, or several.
    """
    begin, end = answer_part(text)
    part = text[begin:end]
    bare = _read_bare(part, form)
    finals = [bare] if bare else list(_finals(part, form))
    found = finals or list(_candidates(part, form))
    if not found:
        if _REFUSAL.match(part.replace("\u2019", "'")):
            raise NoLabel(Status.REFUSED, f"the model said {_quote(part)}")
        raise NoLabel(Status.MALFORMED, f"no {form.key} can be read from {_quote(part)}")
    if len({one.reading.score for one in found}) > 1:
        raise NoLabel(Status.MALFORMED, f"several answers in {_quote(part)}")
    last = max(found, key=lambda one: one.end)
    before = _STANDS_ALONE.search(part[: last.begin])
    alone = bool(finals) or (before is not None and not _HEDGE.search(before[0]))
    if not alone or part[last.end :].strip(_DRESS):
        text = _quote(part[-_SHOWN:])
        raise NoLabel(Status.MALFORMED, f"the answer is part of a longer text: {text}")
    first = min(found, key=lambda one: one.begin).reading  # where the model made up its mind
    return Reading(first.score, begin + first.start, first.source)


def _finals(part: str, form: AnswerForm) -> Iterator[_Found]:
    """Answers that a text marks as final: in boxes and tags, or after words that say so.

    Raises:
        NoLabel: for one that is marked so and cannot be read.
    """
    marked = list(containers(part))
    boxes = [begin for begin, *_ in marked]
    words = list(_FINAL_WORDS.finditer(part))
    for word, after in zip(words, [*words, None][1:], strict=True):
        stop = after.start() if after else len(part)
        if not any(word.start() <= begin < stop for begin in boxes):  # else the box counts
            marked.append((word.start(), stop, word.end(), part[word.end() : stop]))
    for begin, end, start, inner in marked:
        found = _read_plain(inner, form)
        if found is None:
            raise NoLabel(Status.MALFORMED, f"no {form.key} can be read from {_quote(inner)}")
        yield _Found(Reading(found.score, start + found.start, found.source), begin, end)


def _candidates(part: str, form: AnswerForm) -> Iterator[_Found]:
    """JSON objects with the key, and lines like ``Grade: 7``."""
    objects = list(_objects(part, form.key))
    for value, start, begin, end in objects:
        yield _Found(Reading(_to_score(value, form), start, "json"), begin, end)
    for line in _bare_pattern(form.name, "line").finditer(part):
        if not any(begin <= line.start("value") < end for _, _, begin, end in objects):
            reading = Reading(_to_score(line["value"], form), line.start("value"), "text")
            yield _Found(reading, line.start(), line.end())


def _read_plain(text: str, form: AnswerForm) -> Reading | None:
    """The score of a text that is nothing but an answer, bare or one JSON object."""
    bare = _read_bare(text, form)
    if bare:
        return bare.reading
    objects = list(_objects(text, form.key))
    if len(objects) != 1:
        return None
    value, start, begin, end = objects[0]
    if (text[:begin] + text[end:]).replace("json", "").strip(_DRESS):
        return None
    return Reading(_to_score(value, form), start, "json")


def _read_bare(text: str, form: AnswerForm) -> _Found | None:
    found = _bare_pattern(form.name, "whole").fullmatch(text)
    if found is None:
        return None
    reading = Reading(_to_score(found["value"], form), found.start("value"), "text")
    return _Found(reading, 0, len(text))


Token = tuple[str, Mapping[str, float]]  # its text; log-probabilities of what might stand there


def expected_score(
    tokens: Sequence[Token], score: float, form: AnswerForm, least_mass: float = LEAST_MASS
) -> float | None:
    """The mean score over a model's alternatives at the token that carries its answer.

    ``tokens`` are the answer's tokens, each with its most likely alternatives and their natural
    log-probabilities; ``score`` is what was read from the answer itself.  Alternatives that are no
    answer are left out and the others' probabilities brought to a sum of 1, as in G-Eval (Liu et
    al., EMNLP 2023, eq. 1).

    ``None`` where the log-probabilities do not tell: a free number, an answer of several tokens,
    no alternatives, or tokens that do not make up that answer.  Raises :class:`~.outcomes.NoLabel`
    where all answers together have a probability below ``least_mass``.
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
            if form.choices.get(_bare(token)) != score:
                return None
            return _mean_score(token, alternatives, form, least_mass)
    return None


def _mean_score(
    token: str, alternatives: Mapping[str, float], form: AnswerForm, least_mass: float
) -> float | None:
    choices = form.choices or {}
    if token not in alternatives:
        return None
    weights = [
        (math.exp(min(logprob, 0.0)), choices[_bare(other)])
        for other, logprob in alternatives.items()
        if _bare(other) in choices and not math.isnan(logprob)
    ]
    if not weights:
        return None
    total = sum(weight for weight, _ in weights)
    if total < least_mass or total == 0:
        raise NoLabel(
            Status.MALFORMED,
            f"the answers have a probability of {total:.2g} together where the model said "
            f"{token!r}",
        )
    return sum(weight * score for weight, score in weights) / total


def _bare(token: str) -> str:
    return token.strip(" \t\r\n\"':{}[],.").lower()


_NUMBER = r"[-+]?\d+(\.\d+)?"
_JSON_TOKEN = re.compile(r'(?P<key>"(?:[^"\\]|\\.)*")\s*:\s*|"(?:[^"\\]|\\.)*"|[{}\[\]]')
_REFUSAL = re.compile(
    r"\W*(i'?m sorry|sorry|i apologi[sz]e|i cannot|i can't|i am (not able|unable)|i'?m (not able|"
    r"unable)|as an ai|unfortunately,? i)\b",
    re.IGNORECASE,
)


# What may stand around an answer without saying anything: white space, Markdown, full stops.
_DRESS = " \t\r\n*`_\"'$.!"
# Text before an answer that leaves it alone on its line, or ends in a colon.
_STANDS_ALONE = re.compile(r"(?:\A|\n)(?:[\s*`_>#$-]*(?:json)?|[^\n]*:[\s*`_$]*)\Z", re.IGNORECASE)
_HEDGE = re.compile(  # what is said so is no answer
    r"\b(?:thoughts?|think(?:ing)?|drafts?|perhaps|maybe|could|might|would|initial(?:ly)?|first|not|"
    r"never|wrong|if|unless|instead|rather|e\.g|example)\b",
    re.IGNORECASE,
)
_FINAL_WORDS = re.compile(
    r"^[\s*`_>#-]*(?:(?:so|thus|therefore|hence)\W+)?(?:(?:the|my|our)\s+)?final\s+"
    r"(?:answer|grade|score|rating|verdict|decision|judge?ment|result|output|response|probability)"
    r"[\s*`_]*(?:is\b|:|=)?[\s*`_:=]*",
    re.IGNORECASE | re.MULTILINE,
)


@lru_cache
def _bare_pattern(form_name: str, kind: str) -> re.Pattern[str]:
    """Text that is nothing but an answer, perhaps with its name before it (``Grade: 7.``).

    Of the ``kind`` "whole", or "line" for one line, which must have the name.
    """
    form = FORMS[form_name]
    value = "|".join(form.choices or ()) if form.name == "yes_no" else _NUMBER
    scale = r"(?:\s*/\s*9)?" if form.name == "grade" else ""
    name = rf"(?:(?:the\s+)?(?:answer|{form.key})\W{{1,4}}(?:is\W{{1,4}})?)"
    dress = r"[\s*`_\"'$.!]*"
    if kind == "line":
        name, dress = rf"^[\s*`_\"'$.!>#-]*{name}", r"(?:[^\S\n]|[*`_\"'$.!])*$"
    else:
        name = f"{dress}{name}?"
    return re.compile(rf"{name}(?P<value>{value}){scale}{dress}", re.IGNORECASE | re.MULTILINE)


def _objects(text: str, key: str) -> Iterator[tuple[Any, int, int, int]]:
    """Values of ``key`` in the JSON objects of a text, with the places of key and object."""
    decoder = json.JSONDecoder(object_pairs_hook=_refuse_repeated)
    begin = 0
    while (begin := text.find("{", begin)) >= 0:
        try:
            found, end = decoder.raw_decode(text, begin)
        except (ValueError, RecursionError):
            begin += 1
            continue
        if key in found:
            yield found[key], _value_start(text, begin, end, key), begin, end
        begin = end


def _value_start(text: str, begin: int, end: int, key: str) -> int:
    """Where the value of a key of the object itself begins, not of one within it."""
    depth = 0
    for token in _JSON_TOKEN.finditer(text, begin, end):
        sign = token[0][0]
        if sign in "{[":
            depth += 1
        elif sign in "}]":
            depth -= 1
        elif depth == 1 and token["key"] and json.loads(token["key"]) == key:
            return token.end() + (text[token.end()] == '"')
    return begin


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
