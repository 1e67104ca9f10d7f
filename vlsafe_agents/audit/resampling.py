"""Percentile bootstrap over whole episodes (Efron and Tibshirani 1993, chapter 13).

Frames of one episode resemble each other; ten thousand frames of twenty episodes know about as
much as twenty episodes.  So episodes are drawn, with all their frames.

Of a share of 0 or 1 a bootstrap makes an interval without width; there the exact one stands in, as
in evaluations, with every episode counted once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vlsafe_agents.evaluation.intervals import share_interval

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A figure with its interval; NaN where it is not defined."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, replicates: Floats, confidence: float) -> Estimate:
        """The percentile interval of replicates ``(B,)``, of those in which the figure exists."""
        known = replicates[~np.isnan(replicates)]
        if not len(known) or np.isnan(value):
            return cls(float(value), float("nan"), float("nan"))
        tail = 50.0 * (1.0 - confidence)
        low, high = np.percentile(known, [tail, 100.0 - tail])
        return cls(float(value), float(low), float(high))

    @classmethod
    def of_share(
        cls, value: float, replicates: Floats, confidence: float, episodes: int
    ) -> Estimate:
        """The same for a share, whose interval has a width also where it is 0 or 1."""
        if value in (0.0, 1.0) and episodes:
            return cls(value, *share_interval(value * episodes, episodes, confidence))
        return cls.of(value, replicates, confidence)


def episode_weights(group: npt.NDArray[np.int64], resamples: int, seed: int) -> Floats:
    """How often each episode is drawn in each resample, ``(B, E)``.

    Episodes are drawn within their ``group (E,)``, the data set that they come from, because how
    many come from each was decided, not found.
    """
    rng = np.random.default_rng(seed)
    weights = np.zeros((resamples, len(group)))
    for name in np.unique(group):
        members = np.flatnonzero(group == name)
        share = np.full(len(members), 1.0 / len(members))
        weights[:, members] = rng.multinomial(len(members), share, size=resamples)
    return weights


def weighted_share(
    hit: npt.NDArray[np.bool_], episode: npt.NDArray[np.int64], weights: Floats, confidence: float
) -> Estimate:
    """Share of frames with a hit ``(N,)``; its interval over ``weights (B, E)`` of episodes."""
    count = weights.shape[1]
    hits = np.bincount(episode, hit, count)
    frames = np.bincount(episode, minlength=count)
    if not len(hit):
        return Estimate(float("nan"), float("nan"), float("nan"))
    with np.errstate(invalid="ignore"):
        replicates = (weights @ hits) / (weights @ frames)
    value, episodes = float(hits.sum() / len(hit)), int((frames > 0).sum())
    return Estimate.of_share(value, replicates, confidence, episodes)
