"""How well scores foretell danger: area under the ROC curve on held-out frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from ..scorer import SafetyScorer
from .facts import Facts

HORIZON = 2.0  # [s], of both questions


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
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    rank = (last - (counts - 1) / 2)[inverse]  # mid-rank, from 1
    u = rank[labels].sum() - positives * (positives + 1) / 2
    return float(u / (positives * negatives))


def questions(facts: Facts) -> dict[str, npt.NDArray[np.bool_]]:
    """What is asked of a score, with the true answers ``(N,)``."""
    return {
        "collision or off-road within 2 s": facts.time_to_event <= HORIZON,
        "time to collision under 2 s": facts.time_to_collision < HORIZON,
    }


def evaluate(
    scorers: Mapping[str, SafetyScorer], frames: npt.NDArray[np.uint8], facts: Facts
) -> dict[str, dict[str, Any]]:
    """AUROC of 1 - p for both questions and quantiles of p, for each named scorer.

    Questions with one kind of answer only give ``None``.
    """
    table = {}
    for name, scorer in scorers.items():
        score = scorer(frames)
        row: dict[str, Any] = {}
        for question, positive in questions(facts).items():
            mixed = 0 < positive.sum() < len(positive)
            row[question] = round(auroc(1 - score, positive), 4) if mixed else None
        row["quantiles of p"] = quantiles(score)
        row["mean p by time to collision"] = by_time(score, facts)
        table[name] = row
    return table


def quantiles(score: npt.NDArray[np.floating]) -> list[float]:
    """p at 5, 25, 50, 75 and 95%."""
    return [round(float(q), 3) for q in np.quantile(score, [0.05, 0.25, 0.5, 0.75, 0.95])]


def by_time(
    score: npt.NDArray[np.floating],
    facts: Facts,
    edges: Sequence[float] = (0.0, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, np.inf),
) -> dict[str, float | None]:
    """Mean p in bands of time to collision [s], over frames without a collision and on the road."""
    clear = (facts.collision == 0) & (facts.off_road == 0)
    table: dict[str, float | None] = {}
    for low, high in pairwise(edges):
        upper = (
            facts.time_to_collision <= high if np.isinf(high) else facts.time_to_collision < high
        )
        band = clear & (facts.time_to_collision >= low) & upper
        table[f"{low:g} to {high:g} s"] = (
            round(float(score[band].mean()), 3) if band.any() else None
        )
    return table
