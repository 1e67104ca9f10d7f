"""Does p mean what it says?  How often frames with a given p turn out safe."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vlsafe_agents.audit.resampling import Estimate, Floats, weighted_share

BINS = 10


@dataclass(frozen=True)
class ReliabilityBin:
    """Frames with p in one of ten equal bins."""

    low: float
    high: float
    frames: int
    mean_score: float  # NaN in an empty bin
    safe_share: Estimate  # of these frames, by simulator truth


@dataclass(frozen=True)
class Reliability:
    """Bins and the expected calibration error (Naeini et al., AAAI 2015).

    ``error = sum_b (frames_b / frames) |safe_share_b - mean_score_b|``.
    """

    bins: tuple[ReliabilityBin, ...]
    error: float  # NaN without frames


def bin_numbers(score: npt.NDArray[np.floating]) -> npt.NDArray[np.int64]:
    """Which of the ten bins each score in [0, 1] falls into; 1 belongs to the last."""
    return np.clip((np.asarray(score) * BINS).astype(np.int64), 0, BINS - 1)


def reliability(
    score: npt.NDArray[np.floating],
    safe: npt.NDArray[np.bool_],
    episode: npt.NDArray[np.int64],
    weights: Floats,
    confidence: float,
) -> Reliability:
    """Reliability of scores ``p (N,)`` as the chance that a frame is ``safe (N,)``.

    ``episode (N,)`` is each frame's and ``weights (B, E)`` those of a bootstrap over episodes.
    """
    place = bin_numbers(score)
    bins, error = [], 0.0
    for number in range(BINS):
        inside = place == number
        count = int(inside.sum())
        share = weighted_share(safe[inside], episode[inside], weights, confidence)
        mean = float(np.asarray(score, np.float64)[inside].mean()) if count else float("nan")
        edges = (number / BINS, (number + 1) / BINS)
        bins.append(ReliabilityBin(*edges, count, mean, share))
        if count:
            error += count / len(score) * abs(share.value - mean)
    return Reliability(tuple(bins), error if len(score) else float("nan"))
