"""Scores used as warnings: a threshold at a stated false-alarm rate, and how early it warns."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from vlsafe_agents.audit.resampling import Estimate, Floats
from vlsafe_agents.audit.truth import Bools, Integers

Scores = npt.NDArray[np.float32]


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


def scores_before(
    score: Scores, until_event: Floats, seconds: npt.NDArray[np.floating]
) -> npt.NDArray[np.float64]:
    """Quartiles of p at given times before events: ``(len(seconds), 3)``, NaN where nobody is.

    A frame belongs to the nearest of ``seconds``, within half a second.
    """
    table = np.full((len(seconds), 3), np.nan)
    for row, moment in enumerate(seconds):
        near = np.isfinite(until_event) & (np.abs(until_event - moment) <= 0.5) & ~np.isnan(score)
        if near.any():
            table[row] = np.percentile(score[near], [25, 50, 75])
    return table
