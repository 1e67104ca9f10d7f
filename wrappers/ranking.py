"""How well scores rank frames, and how alike two of them do."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def mid_ranks(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Ranks ``(N,)`` from 1, equal values sharing the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse], np.float64)


def auroc(risk: npt.ArrayLike, positive: npt.ArrayLike) -> float:
    """Chance that a random positive has a higher risk than a random negative (ties count half).

    ``risk (N,)`` and ``positive (N,)`` boolean; computed from mid-ranks (Mann-Whitney U).  Raises
    ``ValueError`` unless there are positives and negatives, or when a risk is NaN.
    """
    values, labels = np.asarray(risk, np.float64), np.asarray(positive, bool)
    if values.shape != labels.shape or values.ndim != 1:
        raise ValueError(f"risk {values.shape} and positive {labels.shape} must be equal, (N,)")
    if np.isnan(values).any():
        raise ValueError("a risk is NaN")
    positives = int(labels.sum())
    negatives = len(labels) - positives
    if positives == 0 or negatives == 0:
        raise ValueError(f"AUROC needs both kinds, got {positives} positives of {len(labels)}")
    u = mid_ranks(values)[labels].sum() - positives * (positives + 1) / 2
    return float(u / (positives * negatives))


def spearman(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Spearman's rank correlation over the entries ``(N,)`` that are NaN in neither.

    NaN with fewer than two of them, or where one of the two is constant.
    """
    pairs = np.stack((np.asarray(first, np.float64), np.asarray(second, np.float64)))
    pairs = pairs[:, ~np.isnan(pairs).any(0)]
    if pairs.shape[1] < 2 or not np.ptp(pairs, axis=1).all():
        return float("nan")
    return float(np.corrcoef([mid_ranks(row) for row in pairs])[0, 1])
