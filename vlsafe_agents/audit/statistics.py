"""Statistics of scores: ranking, intervals over episodes, agreement, reliability, warnings.

Everything here is about arrays: N frames, E episodes, B resamples.

Intervals are those of a percentile bootstrap over whole episodes (Efron and Tibshirani 1993,
chapter 13).  Frames of one episode resemble each other; ten thousand frames of twenty episodes
know about as much as twenty episodes.  So episodes are drawn, with all their frames.  Of a share of
0 or 1 a bootstrap makes an interval without width; there the exact one stands in, as in
evaluations, with every episode counted once.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from vlsafe_agents.evaluation.intervals import share_interval
from wrappers.scorer import Scores

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]

BINS = 10  # of reliability
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
