"""Intervals over whole episodes: of shares of their steps, and of how steps are ranked by risk.

Everything here is about arrays: N steps (or frames), E episodes, B resamples.

Intervals are those of a percentile bootstrap over whole episodes (Efron and Tibshirani 1993,
chapter 13).  Frames of one episode resemble each other; ten thousand frames of twenty episodes
know about as much as twenty episodes.  So episodes are drawn, with all their frames.  Of a share of
0 or 1 a bootstrap makes an interval without width; there the exact one stands in, as in
evaluations, with every episode counted once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vlsafe_agents.evaluation.intervals import share_interval

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]

_AT_ONCE = 2_000_000  # numbers held while weighing


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


def episode_weights(group: Integers, resamples: int, seed: int) -> Floats:
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


def weighted_share(hit: Bools, episode: Integers, weights: Floats, confidence: float) -> Estimate:
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


class Ranking:
    """Frames sorted by risk once, to be weighed many times.

    Args:
        risk: ``(N,)``, higher is thought riskier; no NaN.
        positive: ``(N,)`` boolean, what truly happened.
        episode: ``(N,)`` integers, the episode of each frame.

    Raises:
        ValueError: for other shapes and for NaN
    """

    def __init__(self, risk: Array, positive: Array, episode: Array) -> None:
        risk, positive = np.asarray(risk, np.float64), np.asarray(positive, bool)
        episode = np.asarray(episode, np.int64)
        if risk.ndim != 1 or not risk.shape == positive.shape == episode.shape:
            shapes = f"{risk.shape}, {positive.shape} and {episode.shape}"
            raise ValueError(f"risk, positive and episode must all be (N,), got {shapes}")
        if np.isnan(risk).any():
            raise ValueError("a risk is NaN; leave frames without one out")
        order = np.argsort(-risk, kind="stable")
        risk, positive, episode = risk[order], positive[order], episode[order]
        self.positives, self.negatives = int(positive.sum()), int((~positive).sum())
        self._positive_episode = episode[positive]
        self._negative_episode = episode[~positive]
        # Only risks that some positive has matter: all else follows from how many negatives lie
        # above each of them, and how many are equal to it.
        falling = -risk[positive]
        self._first = np.flatnonzero(np.diff(falling, prepend=-np.inf) != 0)  # of equal positives
        values = falling[self._first]
        self._above = np.searchsorted(-risk[~positive], values, "left")
        self._not_below = np.searchsorted(-risk[~positive], values, "right")

    def __call__(self, weights: Array | None = None) -> tuple[Floats, Floats]:
        """AUROC and average precision ``(B,)`` for weights of all episodes ``(B, E)``.

        Without weights every frame counts once, and both are ``(1,)``.  NaN where a weighting
        leaves no positive or no negative.
        """
        if weights is None:
            episodes = np.concatenate((self._positive_episode, self._negative_episode, [-1]))
            weights = np.ones((1, int(episodes.max()) + 1))
        weights = np.asarray(weights, np.float64)
        auroc, precision = np.full((2, len(weights)), np.nan)
        if self.positives and self.negatives:
            share = max(1, _AT_ONCE // (self.positives + self.negatives))
            for begin in range(0, len(weights), share):
                part = slice(begin, begin + share)
                auroc[part], precision[part] = self._weigh(weights[part])
        return auroc, precision

    def _weigh(self, weights: Floats) -> tuple[Floats, Floats]:
        negatives = np.zeros((len(weights), self.negatives + 1))
        np.cumsum(weights[:, self._negative_episode], axis=1, out=negatives[:, 1:])
        above, not_below = negatives[:, self._above], negatives[:, self._not_below]  # (B, V)
        found = weights[:, self._positive_episode]
        found = np.add.reduceat(found, self._first, axis=1)  # (B, V), positives of each risk
        all_found, all_negatives = found.sum(1), negatives[:, -1]
        known = (all_found > 0) & (all_negatives > 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            below = all_negatives[:, None] - (above + not_below) / 2  # equal ones count half
            auroc = (found * below).sum(1) / (all_found * all_negatives)
            hits = found.cumsum(1)
            precision = np.where(found > 0, hits / (hits + not_below), 0.0)
            average = (found * precision).sum(1) / all_found
        return np.where(known, auroc, np.nan), np.where(known, average, np.nan)
