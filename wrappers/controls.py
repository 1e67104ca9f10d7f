"""Scorers that know nothing or err on purpose, to be run beside a real one: does it matter?"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from wrappers.checks import one_number, whole_number
from wrappers.combinator import Wrapper
from wrappers.registry import make_scorer
from wrappers.scorer import BUNDLED, Frames, Infos, SafetyScorer, Scores, check_frames

Number = TypeVar("Number", int, float)

SHUFFLED = "scorer 'shuffled'"  # in messages
BLIND = "scorer 'blind'"
# What makes two situations alike, by the infos of their frames, in steps of [m/s], [s], [s].
SITUATION = {"speed": 5.0, "time_to_collision": 1.0, "headway": 0.5}
_MOST_STEPS = 20  # from there on all are alike; there may be nothing ahead, at infinity


class ConstantScorer:
    """Gives every frame the same score."""

    def __init__(self, value: float) -> None:
        self.value = one_number(value, "safety score", "scorer 'constant'", 0.0, 1.0)

    @property
    def identity(self) -> dict[str, Any]:
        return {"name": "constant", "value": self.value}

    def __call__(self, frames: Frames, infos: Infos | None = None) -> Scores:
        return np.full(len(check_frames(frames)), self.value, np.float32)


@dataclass(frozen=True)
class Deal:
    """Which frames get another frame's score.

    Args:
        seed: of the permutation.
        share: of the frames, drawn at random; the others keep their own scores.  Below 1 this
            makes a worse judge with the same distribution of scores.

    Raises:
        ValueError: for impossible values.
    """

    seed: int = 0
    share: float = 1.0

    def __post_init__(self) -> None:
        whole_number(self.seed, "seed", SHUFFLED, 0)
        one_number(self.share, "share", SHUFFLED, 0.0, 1.0)

    def identity(self, of: Mapping[str, Any]) -> dict[str, Any]:
        """Who gives the scores of the scorer ``of`` to the wrong frames, whoever deals them."""
        part = {} if self.share == 1.0 else {"share": self.share}  # what labels said before shares
        return {"name": "shuffled", "seed": self.seed, **part, "of": of}

    def generator(self) -> np.random.Generator:
        """Random numbers of the seed, from the first on."""
        return np.random.default_rng(self.seed)

    def scores(self, scores: Scores, rng: np.random.Generator | None = None) -> Scores:
        """Scores ``(N,)`` of which the share has been permuted among itself."""
        rng = rng or self.generator()
        if self.share == 1.0:
            return rng.permutation(scores)
        chosen = np.flatnonzero(rng.random(len(scores)) < self.share)
        dealt = scores.copy()
        dealt[chosen] = scores[rng.permutation(chosen)]
        return dealt


class ShuffledScorer(Wrapper):
    """Another scorer's scores, given to the wrong frames: same distribution, no information.

    A call with at least ``pool_size`` frames returns a permutation of their scores.  Smaller calls
    (one frame at a time in an environment) draw from a uniform sample of all scores seen so far,
    because a permutation of a few neighbouring frames would hardly change anything.

    Args:
        scorer: whose scores.
        seed: as that of :class:`Deal`, and of the draws.
        pool_size: greatest size of the sample.
        share: as that of :class:`Deal`.

    Raises:
        ValueError: for impossible values.
    """

    def __init__(
        self, scorer: SafetyScorer, seed: int = 0, pool_size: int = 4096, share: float = 1.0
    ) -> None:
        super().__init__(scorer)
        self.deal = Deal(seed, share)
        self.pool_size = whole_number(pool_size, "pool_size", SHUFFLED, 1)
        self.reads_history = True
        self._rng = self.deal.generator()
        self._pool = np.zeros(pool_size, np.float32)
        self._seen = 0

    @property
    def identity(self) -> dict[str, Any]:
        return self.deal.identity(self.scorer.identity)

    def __call__(self, frames: Frames, infos: Infos | None = None) -> Scores:
        scores, _ = self.ask(self.scorer, frames, infos)
        if len(scores) >= self.pool_size:
            return self.deal.scores(scores, self._rng)
        for score in scores:  # reservoir sampling: every score seen so far is equally likely kept
            slot = self._seen if self._seen < self.pool_size else self._rng.integers(self._seen + 1)
            if slot < self.pool_size:
                self._pool[slot] = score
            self._seen += 1
        filled = self._pool[: min(self._seen, self.pool_size)]
        others = self._rng.choice(filled, len(scores)).astype(np.float32)
        if self.deal.share == 1.0:
            return others
        return np.where(self._rng.random(len(scores)) < self.deal.share, others, scores)


class NegatedScorer(Wrapper):
    """1 minus another scorer's scores: a judge that calls danger safe."""

    @property
    def identity(self) -> dict[str, Any]:
        return {"name": "negated", "of": self.scorer.identity}

    def __call__(self, frames: Frames, infos: Infos | None = None) -> Scores:
        scores, self.last_reasons = self.ask(self.scorer, frames, infos)
        return (1.0 - scores).astype(np.float32)


class BlindScorer(Wrapper):
    """Gives p = 1 in some situations, and another scorer's scores elsewhere.

    Its errors are alike in like states, so that a learner cannot average them out; those of
    :class:`ShuffledScorer` are independent.  A situation is a combination of speed, time to
    collision and headway, in steps of :data:`SITUATION`.  Infos are one mapping a frame, as the
    oracle needs them.

    Args:
        scorer: whose scores, and whose missing labels.
        share: of the situations; a hash draws which.  Their frames may be more or fewer.
        seed: of the hash.
        info: name of an info; only frames with ``low <= info < high`` are concerned.
        low, high: in the info's unit; None has no end.

    Raises:
        ValueError: for impossible values, for a range without ``info``, and where it would be blind
            everywhere.
    """

    def __init__(
        self,
        scorer: SafetyScorer,
        share: float = 1.0,
        seed: int = 0,
        info: str | None = None,
        low: float | None = None,
        high: float | None = None,
    ) -> None:
        super().__init__(scorer)
        self.share = one_number(share, "share", BLIND, 0.0, 1.0)
        self.seed = _seed(seed, BLIND)
        if info is not None and not isinstance(info, str):
            raise ValueError(f"{BLIND}: info is {info!r}; give the name of one, such as 'speed'")
        ends = (None if end is None else one_number(end, "an end", BLIND) for end in (low, high))
        self.info, (self.low, self.high) = info, ends
        if (info is None) != (low is None and high is None):
            raise ValueError(f"{BLIND}: info and its range (low, high) go together; give both")
        if info is None and self.share == 1.0:
            raise ValueError(f"{BLIND} would be blind everywhere; give a share below 1, or an info")
        self.reads_infos = True

    @property
    def identity(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in ("share", "seed", "info", "low", "high")}
        return {"name": "blind", **own, "of": self.scorer.identity}

    def __call__(self, frames: Frames, infos: Infos | None = None) -> Scores:
        """Scores ``(N,)``.

        Raises:
            ValueError: without one info a frame, and for an info that is NaN.
            KeyError: when an info is missing.
        """
        scores, self.last_reasons = self.ask(self.scorer, frames, infos)
        unseen = self.blind(infos or (), len(scores)) & ~np.isnan(scores)
        return np.where(unseen, np.float32(1.0), scores)

    def blind(self, infos: Infos, count: int) -> npt.NDArray[np.bool_]:
        """Which of so many frames ``(count,)`` it is blind to, by their infos."""
        if len(infos) != count:
            raise ValueError(f"{BLIND} needs an info for each of {count} frames, got {len(infos)}")
        found = np.ones(count, bool)
        if self.info is not None:
            values = _column(infos, self.info)
            found &= values >= (-np.inf if self.low is None else self.low)
            found &= values < (np.inf if self.high is None else self.high)
        if self.share < 1.0:
            steps = [np.floor(_column(infos, name) / step) for name, step in SITUATION.items()]
            cells = np.minimum(np.stack(steps, 1), _MOST_STEPS).astype("<i8")  # (N, 3)
            key = self.seed.to_bytes(16, "little")
            found &= _evenly([cell.tobytes() for cell in cells], key) < self.share
        return found


class RandomScorer:
    """Scores drawn evenly from [0, 1] by a frame's content: no information, yet repeatable.

    The same frame gets the same score in every batch, process and run, and two seeds are two
    independent scorers.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = _seed(seed, "a control")

    @property
    def identity(self) -> dict[str, Any]:
        return {"name": "random", "seed": self.seed}

    def __call__(self, frames: Frames, infos: Infos | None = None) -> Scores:
        """Scores ``(N,)`` of ``frames (N, H, W, 3)`` uint8."""
        check_frames(frames)
        key = self.seed.to_bytes(16, "little")
        return _evenly([frame.tobytes() for frame in frames], key).astype(np.float32)


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
    """For ``"shuffled:<scorer>"``; options but those of the class go to the one inside."""
    own = {key: options.pop(key) for key in ("seed", "pool_size", "share") if key in options}
    return ShuffledScorer(make_scorer(argument or BUNDLED, **options), **own)


def make_negated_scorer(argument: str | None, **options: Any) -> NegatedScorer:
    """For ``"negated:<scorer>"``; options go to the one inside."""
    return NegatedScorer(make_scorer(argument or BUNDLED, **options))


def make_blind_scorer(argument: str | None, **options: Any) -> BlindScorer:
    """For ``"blind:<scorer>"``; options but those of the class go to the one inside."""
    names = ("share", "seed", "info", "low", "high")
    own = {key: options.pop(key) for key in names if key in options}
    return BlindScorer(make_scorer(argument or BUNDLED, **options), **own)


def _seed(seed: int, who: str) -> int:
    """A seed that keys a hash.

    Raises:
        ValueError: outside of what it holds.
    """
    if whole_number(seed, "seed", who, 0) >= 1 << 128:
        raise ValueError(f"seed must be below 2**128, got {seed}")
    return int(seed)


def _evenly(contents: Sequence[bytes], key: bytes) -> npt.NDArray[np.float64]:
    """A number in [0, 1] for each content, evenly drawn and the same for the same one."""
    digests = [hashlib.blake2b(one, digest_size=4, key=key).digest() for one in contents]
    return np.frombuffer(b"".join(digests), "<u4") / np.float64(2**32 - 1)


def _column(infos: Infos, name: str) -> npt.NDArray[np.float64]:
    """An info of each frame, ``(N,)``.

    Raises:
        KeyError: where it is missing.
        ValueError: where it is NaN.
    """
    missing = [number for number, info in enumerate(infos) if name not in info]
    if missing:
        raise KeyError(f"info {missing[0]} lacks {name!r}, which {BLIND} needs")
    values = np.array([float(info[name]) for info in infos])
    if np.isnan(values).any():
        raise ValueError(f"{BLIND}: info {name!r} is NaN at frame {np.isnan(values).argmax()}")
    return values


def _number(name: str, argument: str | None, kind: type[Number], example: str) -> Number:
    try:
        return kind(argument or "")
    except ValueError:
        raise ValueError(
            f"scorer {name}:{argument or ''} needs a number, for example '{name}:{example}'"
        ) from None
