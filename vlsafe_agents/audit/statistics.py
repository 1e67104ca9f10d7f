"""Statistics of scores: agreement, reliability, warnings and how early they come.

Everything here is about arrays: N frames, E episodes, B resamples.  Intervals are those of
:mod:`~vlsafe_agents.evaluation.resampling`, over whole episodes.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from vlsafe_agents.evaluation.resampling import (
    Bools,
    Estimate,
    Floats,
    Integers,
    weighted_share,
)
from wrappers.scorer import Scores

BINS = 10  # of reliability


def kappa(first: Bools, second: Bools) -> float:
    """Cohen's kappa of two yes-or-no answers ``(N,)``: agreement beyond chance, 1 when perfect.

    ``(p_o - p_e) / (1 - p_e)`` with the observed share of equal answers and the one expected from
    how often each says yes.  NaN without frames, or where both always give the same one answer.
    """
    if not len(first):
        return float("nan")
    yes = np.array([first.mean(), second.mean()])
    expected = float(yes.prod() + (1 - yes).prod())
    if expected >= 1.0:
        return float("nan")
    return (float((first == second).mean()) - expected) / (1.0 - expected)


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


def bin_numbers(score: npt.NDArray[np.floating]) -> Integers:
    """Which of the ten bins each score in [0, 1] falls into; 1 belongs to the last."""
    return np.clip((np.asarray(score) * BINS).astype(np.int64), 0, BINS - 1)


def reliability(
    score: npt.NDArray[np.floating],
    safe: Bools,
    episode: Integers,
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


@dataclass(frozen=True)
class LeadTimes:
    """How long before each event the warning that lasted up to it began.

    ``seconds (M,)`` has one entry an episode with an event: the time from the first frame of the
    unbroken run of warnings that reaches the last frame before the event, to the event; 0 where
    that last frame brought no warning.  The event's own frame plays no part.
    """

    seconds: Floats
    episode: Integers  # (M,)

    def share_at_least(self, lead: float, weights: Floats, confidence: float) -> Estimate:
        """Share of events warned of at least ``lead`` [s] ahead, over ``weights (B, E)``."""
        early = self.seconds >= lead - 1e-9
        drawn = weights[:, self.episode]  # (B, M)
        with np.errstate(invalid="ignore"):
            replicates = (drawn * early).sum(1) / drawn.sum(1)
        share = float(early.mean()) if len(early) else float("nan")
        return Estimate.of_share(share, replicates, confidence, len(early))


def threshold_at(score: Scores, calm: Bools, false_alarm_rate: float) -> float:
    """The highest threshold below which at most this share of the calm frames' scores lies.

    ``score`` and ``calm`` are ``(N,)``; frames without a label (NaN) do not count.  A warning is a
    score strictly below the threshold, so a scorer that gives all frames the same score never
    warns.  NaN without calm frames.
    """
    values = np.sort(score[calm & ~np.isnan(score)])
    if not len(values):
        return float("nan")
    return float(values[int(np.floor(false_alarm_rate * len(values)))])


def lead_times(warning: Bools, until_event: Floats, episode: Integers) -> LeadTimes:
    """Lead times of the first event of every episode that has one and a frame before it.

    All ``(N,)``, frames in order of time: whether a frame brings a warning, the time [s] to the
    episode's next event (infinite: none follows), and the episode.
    """
    seconds, found = [], []
    starts = np.flatnonzero(np.diff(episode, prepend=-1) != 0)
    for begin, end in pairwise([*starts, len(episode)]):
        events = np.flatnonzero(until_event[begin:end] <= 0)
        if not len(events) or events[0] == 0:
            continue
        first = begin + events[0]
        silent = np.flatnonzero(~warning[begin:first])
        start = begin + silent[-1] + 1 if len(silent) else begin
        seconds.append(until_event[start] if start < first else 0.0)
        found.append(episode[begin])
    return LeadTimes(np.array(seconds, np.float64), np.array(found, np.int64))


def scores_before(score: Scores, until_event: Floats, seconds: npt.NDArray[np.floating]) -> Floats:
    """Quartiles of p at given times before events: ``(len(seconds), 3)``, NaN where nobody is.

    A frame belongs to the nearest of ``seconds``, within half a second.
    """
    table = np.full((len(seconds), 3), np.nan)
    for row, moment in enumerate(seconds):
        near = np.isfinite(until_event) & (np.abs(until_event - moment) <= 0.5) & ~np.isnan(score)
        if near.any():
            table[row] = np.percentile(score[near], [25, 50, 75])
    return table


def weighted_mean(
    values: Floats, episode: Integers, weights: Floats, confidence: float
) -> Estimate:
    """Mean of ``values (N,)``; its interval over ``weights (B, E)`` of episodes."""
    if not len(values):
        return Estimate(float("nan"), float("nan"), float("nan"))
    count = weights.shape[1]
    sums = np.bincount(episode, values, count)
    frames = np.bincount(episode, minlength=count)
    with np.errstate(invalid="ignore"):
        replicates = (weights @ sums) / (weights @ frames)
    return Estimate.of(float(values.mean()), replicates, confidence)
