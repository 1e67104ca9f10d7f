"""Judges that know nothing, to be run beside a real one: does its judgement matter at all?"""

from __future__ import annotations

from typing import Any

import numpy as np

from .scorer import Frames, Infos, SafetyScorer, Scores, check_frames


class ConstantScorer:
    """Gives every frame the same score."""

    def __init__(self, value: float) -> None:
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"a safety score lies in [0, 1], got {value}")
        self.value = float(value)

    @property
    def identity(self) -> dict[str, Any]:
        return {"name": "constant", "value": self.value}

    def __call__(self, frames: Frames, infos: Infos | None = None) -> Scores:
        return np.full(len(check_frames(frames)), self.value, np.float32)


class ShuffledScorer:
    """Another scorer's scores, given to the wrong frames: same distribution, no information.

    A call with at least ``pool_size`` frames returns a permutation of their scores.  Smaller calls
    (one frame at a time in an environment) draw from a uniform sample of all scores seen so far,
    because a permutation of a few neighbouring frames would hardly change anything.
    """

    def __init__(self, scorer: SafetyScorer, seed: int = 0, pool_size: int = 4096) -> None:
        if pool_size < 1:
            raise ValueError(f"pool_size must be at least 1, got {pool_size}")
        self.scorer = scorer
        self.seed = seed
        self.pool_size = pool_size
        self._rng = np.random.default_rng(seed)
        self._pool = np.zeros(pool_size, np.float32)
        self._seen = 0

    @property
    def identity(self) -> dict[str, Any]:
        return {"name": "shuffled", "seed": self.seed, "of": self.scorer.identity}

    def __call__(self, frames: Frames, infos: Infos | None = None) -> Scores:
        scores = np.asarray(self.scorer(frames, infos), np.float32)
        if len(scores) >= self.pool_size:
            return self._rng.permutation(scores)
        for score in scores:  # reservoir sampling: every score seen so far is equally likely kept
            slot = self._seen if self._seen < self.pool_size else self._rng.integers(self._seen + 1)
            if slot < self.pool_size:
                self._pool[slot] = score
            self._seen += 1
        filled = self._pool[: min(self._seen, self.pool_size)]
        return self._rng.choice(filled, len(scores)).astype(np.float32)
