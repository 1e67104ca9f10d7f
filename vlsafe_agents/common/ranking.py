"""How well a risk ranks what happened above what did not: AUROC and average precision.

Both count frames by the weight of the episode that they belong to.  With whole-number weights that
is the same as repeating episodes, so a bootstrap over episodes is one call with many weightings.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

_AT_ONCE = 2_000_000  # numbers held while weighing


class Ranking:
    """Frames sorted by risk once, to be weighed many times.

    Args:
        risk: ``(N,)``, higher is thought riskier; no NaN.
        positive: ``(N,)`` boolean, what truly happened.
        episode: ``(N,)`` integers, the episode of each frame.

    Raises ``ValueError`` for other shapes and for NaN.
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


def auroc(risk: Array, positive: Array) -> float:
    """Chance that a positive has a higher risk than a negative, ties counted half.

    The Mann-Whitney U statistic; NaN with one kind only.  ``risk`` and ``positive`` are ``(N,)``.
    """
    return float(Ranking(risk, positive, np.zeros(len(risk), np.int64))()[0][0])


def average_precision(risk: Array, positive: Array) -> float:
    """Precision averaged over recall, ``sum (R_n - R_n-1) P_n`` from the highest risk down.

    Frames of equal risk are taken together; NaN with one kind only.  Chance is the share of
    positives.
    """
    return float(Ranking(risk, positive, np.zeros(len(risk), np.int64))()[1][0])


def mid_ranks(values: Array) -> Floats:
    """Ranks ``(N,)`` from 1, equal values sharing the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse], np.float64)
