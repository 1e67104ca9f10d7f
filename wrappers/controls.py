"""Scorers that know nothing, to be run beside a real one: do its scores matter at all?"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

from wrappers.checks import one_number, whole_number
from wrappers.combinator import Wrapper
from wrappers.registry import make_scorer
from wrappers.scorer import BUNDLED, Frames, Infos, SafetyScorer, Scores, check_frames

Number = TypeVar("Number", int, float)


class ConstantScorer:
    """Gives every frame the same score."""

    def __init__(self, value: float) -> None:
        self.value = one_number(value, "safety score", "scorer 'constant'", 0.0, 1.0)

    @property
    def identity(self) -> dict[str, Any]:
        return {"name": "constant", "value": self.value}

    def __call__(self, frames: Frames, infos: Infos | None = None) -> Scores:
        return np.full(len(check_frames(frames)), self.value, np.float32)


class ShuffledScorer(Wrapper):
    """Another scorer's scores, given to the wrong frames: same distribution, no information.

    A call with at least ``pool_size`` frames returns a permutation of their scores.  Smaller calls
    (one frame at a time in an environment) draw from a uniform sample of all scores seen so far,
    because a permutation of a few neighbouring frames would hardly change anything.
    """

    def __init__(self, scorer: SafetyScorer, seed: int = 0, pool_size: int = 4096) -> None:
        super().__init__(scorer)
        self.seed = whole_number(seed, "seed", "a control", 0)
        self.pool_size = whole_number(pool_size, "pool_size", "a control", 1)
        self.reads_history = True
        self._rng = np.random.default_rng(seed)
        self._pool = np.zeros(pool_size, np.float32)
        self._seen = 0

    @property
    def identity(self) -> dict[str, Any]:
        return shuffled_identity(self.seed, self.scorer.identity)

    def __call__(self, frames: Frames, infos: Infos | None = None) -> Scores:
        scores, _ = self.ask(self.scorer, frames, infos)
        if len(scores) >= self.pool_size:
            return self._rng.permutation(scores)
        for score in scores:  # reservoir sampling: every score seen so far is equally likely kept
            slot = self._seen if self._seen < self.pool_size else self._rng.integers(self._seen + 1)
            if slot < self.pool_size:
                self._pool[slot] = score
            self._seen += 1
        filled = self._pool[: min(self._seen, self.pool_size)]
        return self._rng.choice(filled, len(scores)).astype(np.float32)


def shuffled_identity(seed: int, of: Mapping[str, Any]) -> dict[str, Any]:
    """Who gives a scorer's scores to the wrong frames, whoever deals them."""
    return {"name": "shuffled", "seed": seed, "of": of}


class RandomScorer:
    """Scores drawn evenly from [0, 1] by a frame's content: no information, yet repeatable.

    The same frame gets the same score in every batch, process and run, and two seeds are two
    independent scorers.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = whole_number(seed, "seed", "a control", 0)
        if self.seed >= 1 << 128:
            raise ValueError(f"seed must be below 2**128, got {seed}")

    @property
    def identity(self) -> dict[str, Any]:
        return {"name": "random", "seed": self.seed}

    def __call__(self, frames: Frames, infos: Infos | None = None) -> Scores:
        """Scores ``(N,)`` of ``frames (N, H, W, 3)`` uint8."""
        check_frames(frames)
        key = self.seed.to_bytes(16, "little")
        digests = [
            hashlib.blake2b(frame.tobytes(), digest_size=4, key=key).digest() for frame in frames
        ]
        drawn = np.frombuffer(b"".join(digests), "<u4")
        return (drawn / np.float64(2**32 - 1)).astype(np.float32)


def make_constant_scorer(argument: str | None) -> ConstantScorer:
    """For ``"constant:0.9"``.

    Raises:
        ValueError: for anything but a number in [0, 1].
    """
    return ConstantScorer(_number("constant", argument, float, "0.9"))


def make_random_scorer(argument: str | None) -> RandomScorer:
    """For ``"random"`` and ``"random:<seed>"``.

    Raises:
        ValueError: for another argument.
    """
    return RandomScorer(0 if argument is None else _number("random", argument, int, "0"))


def make_shuffled_scorer(argument: str | None, **options: Any) -> ShuffledScorer:
    """For ``"shuffled:<scorer>"``; options but ``seed`` and ``pool_size`` go to the one inside."""
    own = {key: options.pop(key) for key in ("seed", "pool_size") if key in options}
    return ShuffledScorer(make_scorer(argument or BUNDLED, **options), **own)


def _number(name: str, argument: str | None, kind: type[Number], example: str) -> Number:
    try:
        return kind(argument or "")
    except ValueError:
        raise ValueError(
            f"scorer {name}:{argument or ''} needs a number, for example '{name}:{example}'"
        ) from None
