"""Sentences about a frame, each with a truth value for *every* frame.

A caption is not tied to the frame that it was written for: many frames fit "a green car is close
ahead".  So a :class:`Statement` carries, beside its wordings, a function that says how true it is
of each row of :class:`Facts`; the training loss uses that instead of treating all other frames as
wrong.  Truth is fuzzy near a boundary (a gap of 9.9 m is also "ten metres").

Danger is spoken of in the words of accidents ("about to have an accident"), because a scorer must
speak up before the crash.  No caption repeats five consecutive words of a held-out prompt, see
:func:`leaks`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from wrappers.clip_training import phrases
from wrappers.clip_training.facts import Column, Facts, RoadWords

HELD_OUT_RUN = 5  # consecutive words of a held-out prompt that no caption may contain


@dataclass(frozen=True)
class Statement:
    """A claim about a frame: how true it is, and the ways to say it of a car."""

    name: str
    truth: Callable[[Facts], Column]  # (N,) in [0, 1]
    doing: tuple[str, ...] = ()  # what follows "the red car is": can be listed
    sentences: tuple[str, ...] = ()  # whole sentences; {car} is the subject

    def word(self, rng: np.random.Generator) -> str:
        """One wording, a whole sentence without its full stop."""
        pick = int(rng.integers(len(self.doing) + len(self.sentences)))
        if pick < len(self.doing):
            return f"{phrases.car(rng)} is {self.doing[pick]}"
        return self.sentences[pick - len(self.doing)].format(car=phrases.car(rng))


@dataclass(frozen=True)
class Caption:
    """A finished sentence and its truth."""

    text: str
    truth: Callable[[Facts], Column]


def _above(values: Column, centre: float, width: float) -> Column:
    """0 below ``centre - width``, 1 above ``centre + width``, linear between."""
    finite = np.minimum(values, 1e6)
    return np.clip((finite - centre) / (2 * width) + 0.5, 0.0, 1.0)


def _near_event(facts: Facts) -> Column:
    return np.maximum(
        1 - _above(facts.time_to_collision, 2.0, 0.3), (facts.time_to_event <= 2.0).astype(float)
    )


def _within(seconds: float) -> Callable[[Facts], Column]:
    return lambda facts: 1 - _above(facts.time_to_collision, seconds, 0.15 * seconds)


def _beyond(seconds: float) -> Callable[[Facts], Column]:
    return lambda facts: _above(facts.time_to_collision, seconds, 0.15 * seconds)


def _gap(low: float, high: float) -> Callable[[Facts], Column]:
    width = 1.0 + 0.05 * low
    return lambda facts: (
        _above(facts.gap_ahead, low, width) * (1 - _above(facts.gap_ahead, high, width))
    )


def _speed(low: float, high: float) -> Callable[[Facts], Column]:
    return lambda facts: _above(facts.speed, low, 1.5) * (1 - _above(facts.speed, high, 1.5))


def _followed(low: float, high: float) -> Callable[[Facts], Column]:
    """Closing speed towards the vehicle ahead within a range, given that there is one."""
    return lambda facts: (
        np.isfinite(facts.gap_ahead)
        * _above(facts.closing_ahead, low, 1.0)
        * (1 - _above(facts.closing_ahead, high, 1.0))
    )


def _is_scenario(index: int) -> Callable[[Facts], Column]:
    return lambda facts: (facts.scenario == index).astype(float)


SAFE = Statement("safe", lambda f: f.safety, phrases.SAFE_DOING, phrases.SAFE_SENTENCES)
UNSAFE = Statement("unsafe", lambda f: 1 - f.safety, phrases.UNSAFE_DOING, phrases.UNSAFE_SENTENCES)
COLLIDED = Statement(
    "collided", lambda f: f.collision, phrases.COLLIDED_DOING, phrases.COLLIDED_SENTENCES
)
OFF_ROAD = Statement(
    "off road", lambda f: f.off_road, phrases.OFF_ROAD_DOING, phrases.OFF_ROAD_SENTENCES
)
ON_ROAD = Statement(
    "on road", lambda f: 1 - f.off_road, phrases.ON_ROAD_DOING, phrases.ON_ROAD_SENTENCES
)
IMMINENT = Statement("imminent", _near_event, phrases.IMMINENT_DOING, phrases.IMMINENT_SENTENCES)
TAILGATING = Statement(
    "tailgating",
    lambda f: 1 - _above(f.headway, 0.5, 0.15),
    phrases.TAILGATING_DOING,
    phrases.TAILGATING_SENTENCES,
)


def _details() -> tuple[Statement, ...]:
    """Statements about single facts: who is where, how near, how fast."""
    found = [
        Statement("left", lambda f: f.left, (), phrases.LEFT),
        Statement("right", lambda f: f.right, (), phrases.RIGHT),
        Statement("nobody beside", lambda f: (1 - f.left) * (1 - f.right), (), phrases.NOT_BESIDE),
        Statement("behind", lambda f: 1 - _above(f.gap_behind, 10.0, 1.5), (), phrases.BEHIND),
        Statement("free ahead", lambda f: _above(f.gap_ahead, 42.0, 2.0), (), phrases.FREE_AHEAD),
        Statement("empty", lambda f: 1 - _above(f.count, 1.0, 0.6), (), phrases.EMPTY),
        Statement("busy", lambda f: _above(f.count, 7.0, 1.0), (), phrases.BUSY),
        Statement("touching", lambda f: 1 - _above(f.nearest, 4.0, 1.0), (), phrases.NEAREST),
        Statement("closing fast", _followed(6.0, 99.0), (), phrases.CLOSING_FAST),
        Statement("closing slowly", _followed(1.5, 6.0), (), phrases.CLOSING_SLOWLY),
        Statement("falling back", _followed(-99.0, -1.5), (), phrases.FALLING_BACK),
        Statement("following", _followed(-1.5, 1.5), (), phrases.FOLLOWING),
    ]
    for low, high, words in phrases.GAPS:
        found.append(Statement(f"gap {low}", _gap(low, high), (), words))
    for low, high, speed in phrases.CLOSING_SPEEDS:
        rates = tuple(text.replace("{v}", speed) for text in phrases.CLOSING_AT)
        found.append(Statement(f"closing {low}", _followed(low, high), (), rates))
    for low, high, doing in phrases.SPEEDS:
        found.append(Statement(f"speed {low}", _speed(low, high), doing))
    for seconds, word in phrases.SECONDS:
        under = tuple(text.replace("{n}", word) for text in phrases.WITHIN_SECONDS)
        over = tuple(text.replace("{n}", word) for text in phrases.BEYOND_SECONDS)
        found.append(Statement(f"within {seconds} s", _within(seconds), (), under))
        found.append(Statement(f"beyond {seconds} s", _beyond(seconds), (), over))
    return tuple(found)


DETAILS = _details()
DANGERS = (UNSAFE, COLLIDED, OFF_ROAD, IMMINENT, TAILGATING)
STATEMENTS = (SAFE, *DANGERS, ON_ROAD, *DETAILS)


def statements(roads: Sequence[RoadWords] = ()) -> tuple[Statement, ...]:
    """All claims, those about the kind of road among them; ``Facts.scenario`` counts ``roads``."""
    about = (
        Statement(road.name, _is_scenario(index), (), road.sentences)
        for index, road in enumerate(roads)
    )
    return (*STATEMENTS, *about)


def all_phrases(roads: Sequence[RoadWords] = ()) -> list[str]:
    """Every phrase that captions are made of, for learning a vocabulary."""
    parts = [phrase for item in statements(roads) for phrase in (*item.doing, *item.sentences)]
    return [*parts, *phrases.SAFE_ENDINGS, *phrases.CARS]


def _finish(text: str, rng: np.random.Generator) -> str:
    """Vary what should not matter: the first letter and the full stop."""
    if rng.random() < 0.6:
        text = text[0].upper() + text[1:]
    return text + ("." if rng.random() < 0.7 else "")


def leaks(text: str, held_out: tuple[str, ...]) -> bool:
    """Whether ``text`` shares :data:`HELD_OUT_RUN` consecutive words with a held-out prompt."""
    spaced = f" {' '.join(_words(text))} "
    for prompt in held_out:
        words = _words(prompt)
        for start in range(len(words) - HELD_OUT_RUN + 1):
            if f" {' '.join(words[start : start + HELD_OUT_RUN])} " in spaced:
                return True
    return False


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


class CaptionWriter:
    """Writes captions; none of them leaks a held-out prompt."""

    def __init__(self, held_out: tuple[str, ...], roads: Sequence[RoadWords] = ()) -> None:
        self.held_out = held_out
        self._statements = statements(roads)

    def safe(self, rng: np.random.Generator) -> Caption:
        """A sentence that says all is well."""
        return self._until_new(_word_safe, rng, SAFE.truth)

    def unsafe(self, rng: np.random.Generator) -> Caption:
        """A sentence that says something is or is about to go wrong, often a list of dangers.

        A list speaks of danger as such: it is as true as the state is unsafe.
        """
        return self._until_new(_word_unsafe, rng, UNSAFE.truth)

    def about(self, facts: Facts, rng: np.random.Generator) -> Caption:
        """A caption that is true of the single row of ``facts``."""
        kind = rng.random()
        safety = float(facts.safety[0])
        if kind < 0.3:
            return self.safe(rng) if rng.random() < safety else self.unsafe(rng)
        first = self._true_statement(facts, rng)
        if kind < 0.8:
            return self._until_new(first.word, rng, first.truth)
        second = self._true_statement(facts, rng)

        def both(rng: np.random.Generator) -> str:
            return phrases.join(first.word(rng), second.word(rng), rng)

        return self._until_new(both, rng, lambda f: np.minimum(first.truth(f), second.truth(f)))

    def _true_statement(self, facts: Facts, rng: np.random.Generator) -> Statement:
        truths = np.array([float(statement.truth(facts)[0]) for statement in self._statements])
        truths = np.where(truths > 0.5, truths, 0.0)  # ON_ROAD or OFF_ROAD holds at least
        return self._statements[int(rng.choice(len(truths), p=truths / truths.sum()))]

    def _until_new(
        self,
        word: Callable[[np.random.Generator], str],
        rng: np.random.Generator,
        truth: Callable[[Facts], Column],
    ) -> Caption:
        for _ in range(100):
            text = _finish(word(rng), rng)
            if not leaks(text, self.held_out):
                return Caption(text, truth)
        raise ValueError(f"every wording leaks a held-out prompt: {self.held_out}")


def _word_safe(rng: np.random.Generator) -> str:
    kind = rng.random()
    if kind < 0.12:
        return f"{phrases.car(rng)} is {phrases.denied(_dangers(3, rng), rng)}"
    if kind < 0.5:
        return SAFE.word(rng)
    if kind < 0.75:
        return f"{phrases.car(rng)} is {phrases.pick(phrases.SAFE_DOING, rng)}" + phrases.pick(
            phrases.SAFE_ENDINGS, rng
        )
    return f"{phrases.car(rng)} is " + phrases.listed(
        [phrases.pick(phrases.SAFE_DOING, rng), phrases.pick(phrases.ON_ROAD_DOING, rng)],
        "and",
        rng,
    )


def _word_unsafe(rng: np.random.Generator) -> str:
    kind = rng.random()
    if kind < 0.12:
        return f"{phrases.car(rng)} is {phrases.denied([phrases.pick(SAFE.doing, rng)], rng)}"
    if kind < 0.4:
        return UNSAFE.word(rng)
    items = _dangers(3 if kind < 0.8 else 2, rng)
    return f"{phrases.car(rng)} is {phrases.listed(items, 'or', rng)}"


def _dangers(count: int, rng: np.random.Generator) -> list[str]:
    """Wordings of ``count`` different dangers."""
    pools = [statement.doing for statement in DANGERS]
    chosen = rng.choice(len(pools), count, replace=False)
    return [phrases.pick(pools[index], rng) for index in chosen]
