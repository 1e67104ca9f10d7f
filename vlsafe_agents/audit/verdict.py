"""From an interval to a word: what a score has shown that it can tell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vlsafe_agents.audit.resampling import Estimate

WORSE = "worse than chance"
CHANCE = "no better than chance"
WEAK = "weak"
USABLE = "usable with care"
GOOD = "good"
UNKNOWN = "not enough data to say"
VERDICTS = (GOOD, USABLE, WEAK, CHANCE, WORSE, UNKNOWN)

USABLE_FROM, GOOD_FROM = 0.7, 0.9  # AUROC that the interval's lower end must reach
FEWEST_EPISODES = 10  # with an event, and as many without: fewer do not carry an interval

ABSENT = "\u2013"  # stands where there is no value

RULE = (
    f"The verdict follows from the interval of the AUROC alone, mostly from its lower end: what "
    f"has been shown, not what may be. Upper end below 0.5: {WORSE}. Lower end at most 0.5: "
    f"{CHANCE}; below {USABLE_FROM:g}: {WEAK}; below {GOOD_FROM:g}: {USABLE}; else: {GOOD}. With "
    f"fewer than {FEWEST_EPISODES} episodes that hold a yes, or a no: {UNKNOWN}. With 95% "
    f"intervals one score in forty that knows nothing passes for {WEAK} by luck."
)


@dataclass(frozen=True)
class Evidence:
    """What a verdict rests on."""

    auroc: Estimate
    frames: int  # with a label and a known answer
    positives: int  # frames of these whose answer is yes
    positive_episodes: int  # that hold a yes
    negative_episodes: int  # that hold a no

    @property
    def verdict(self) -> str:
        """One of :data:`VERDICTS`, by :data:`RULE`."""
        if min(self.positive_episodes, self.negative_episodes) < FEWEST_EPISODES:
            return UNKNOWN
        low, high = self.auroc.low, self.auroc.high
        if np.isnan(low):
            return UNKNOWN
        if high < 0.5:
            return WORSE
        if low <= 0.5:
            return CHANCE
        if low < USABLE_FROM:
            return WEAK
        return USABLE if low < GOOD_FROM else GOOD


def passed(verdict: str) -> bool | None:
    """Whether labels with this verdict may be trained on; ``None`` where it is not known.

    Raises ``ValueError`` for a word that is no verdict.
    """
    if verdict not in VERDICTS:
        raise ValueError(f"{verdict!r} is no verdict; they are {', '.join(VERDICTS)}")
    return None if verdict == UNKNOWN else verdict in (GOOD, USABLE)


def interval(estimate: Estimate) -> str:
    """``"0.91 (0.90 to 0.93)"``; a dash where there is none."""
    if np.isnan(estimate.value):
        return ABSENT
    if np.isnan(estimate.low):
        return f"{estimate.value:.2f}"
    return f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"
