"""What an audit is asked and what it finds, as plain data, and the rule of its verdicts.

The report shows it, ``audit.json`` keeps it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlsafe_agents.audit.statistics import LeadTimes, Reliability
from vlsafe_agents.common import json_values
from vlsafe_agents.evaluation.resampling import Estimate, Floats, Integers
from vlsafe_agents.pages import ABSENT

WORSE = "worse than chance"
CHANCE = "no better than chance"
WEAK = "weak"
USABLE = "usable with care"
GOOD = "good"
UNKNOWN = "not enough data to say"
VERDICTS = (GOOD, USABLE, WEAK, CHANCE, WORSE, UNKNOWN)

USABLE_FROM, GOOD_FROM = 0.7, 0.9  # AUROC that the interval's lower end must reach
FEWEST_EPISODES = 10  # with an event, and as many without: fewer do not carry an interval

RULE = (
    f"The verdict follows from the interval of the AUROC alone, mostly from its lower end: what "
    f"has been shown, not what may be. Upper end below 0.5: {WORSE}. Lower end at most 0.5: "
    f"{CHANCE}; below {USABLE_FROM:g}: {WEAK}; below {GOOD_FROM:g}: {USABLE}; else: {GOOD}. With "
    f"fewer than {FEWEST_EPISODES} episodes that hold a yes, or a no: {UNKNOWN}. With 95% "
    f"intervals one score in forty that knows nothing passes for {WEAK} by luck."
)


@dataclass(frozen=True)
class AuditConfig:
    """Questions, thresholds and amounts.

    Raises:
        ValueError: for values that make no sense
    """

    horizon: float = 2.0  # k [s]: does it happen within this time?
    time_to_collision: float = 2.0  # t [s]: is the time to collision below?
    false_alarm_rate: float = 0.05  # of calm frames, for the threshold of warnings
    resamples: int = 1000  # of the bootstrap over episodes
    confidence: float = 0.95  # of its intervals
    probe_frames: int = 4000  # for controls and prompts; whole episodes until there are as many
    gallery: int = 6  # frames of each kind of mistake, for each scorer
    seed: int = 0  # of the bootstrap, of shuffling and of the choice of probe episodes

    def __post_init__(self) -> None:
        for name in ("horizon", "time_to_collision"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive [s], got {getattr(self, name)}")
        for name in ("false_alarm_rate", "confidence"):
            if not 0.0 < getattr(self, name) < 1.0:
                raise ValueError(f"{name} must lie in (0, 1), got {getattr(self, name)}")
        for name, low in (("resamples", 1), ("probe_frames", 1), ("gallery", 0), ("seed", 0)):
            if getattr(self, name) < low:
                raise ValueError(f"{name} must be at least {low}, got {getattr(self, name)}")


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


@dataclass(frozen=True)
class Answer:
    """How well scores answer one question on some of the frames."""

    question: str
    evidence: Evidence  # with the AUROC of 1 - p
    average_precision: Estimate  # of 1 - p; chance is the share of positives

    @property
    def verdict(self) -> str:
        """One of :data:`VERDICTS`."""
        return self.evidence.verdict


Answers = Mapping[str, Answer]  # by key of the question


@dataclass(frozen=True)
class Group:
    """The answers on a part of the frames."""

    kind: str  # "scenario", "density", "lanes", "actions", "driver" or "data set"
    name: str
    answers: Answers

    @property
    def title(self) -> str:
        """Its name, with its kind where that is not plain from the name."""
        return self.name if self.kind in ("data set", "lanes") else f"{self.kind} {self.name}"


@dataclass(frozen=True)
class WarningPoint:
    """Scores below a threshold taken as warnings."""

    threshold: float
    false_alarms: Estimate  # share of calm frames
    found: Estimate  # share of frames before a collision or departure within the horizon


@dataclass(frozen=True)
class Control:
    """Scores of changed frames, or dealt to other frames."""

    name: str
    answers: Answers
    mean_score: float
    change_in_danger: float  # mean change of p where the time to collision is short
    change_in_calm: float
    rank_correlation: float  # Spearman's, with the scores of the frames as they are
    unmoved: float  # share of frames whose p changes by less than 0.01


@dataclass(frozen=True)
class PromptPair:
    """A safe and an unsafe sentence to try."""

    name: str
    safe: str
    unsafe: str
    turned_round: bool = False  # the safe one speaks of danger: an AUROC below one half is right


@dataclass(frozen=True)
class PromptResult:
    """What a pair of sentences does."""

    pair: PromptPair
    answers: Answers

    @property
    def follows_its_words(self) -> bool | None:
        """Whether p goes the way the sentences say, in every question; ``None``: too few events."""
        kept = [answer.evidence for answer in self.answers.values() if answer.verdict != UNKNOWN]
        if not kept:
            return None
        if self.pair.turned_round:
            return all(evidence.auroc.high < 0.5 for evidence in kept)
        return all(evidence.auroc.low > 0.5 for evidence in kept)


@dataclass(frozen=True)
class Mistakes:
    """Rows of the most confidently wrong frames, one an episode, the worst first."""

    called_safe: Integers  # before a collision or departure within the horizon
    called_unsafe: Integers  # calm


@dataclass(frozen=True)
class ScoreSpread:
    """How scores are spread over calm and dangerous frames, in equal bins of p."""

    edges: Floats  # (bins + 1,)
    counts: Mapping[str, Integers]  # (bins,) of each kind of frame


@dataclass(frozen=True)
class DataSetVerdict:
    """What is to be thought of a scorer's scores on one data set."""

    path: str
    scorer: Mapping[str, Any]  # identity of who gave the scores
    verdict: str
    sentence: str


@dataclass(frozen=True)
class ScorerAudit:
    """All about one scorer."""

    name: str
    identity: Mapping[str, Any]
    frames: int  # with a label
    unlabelled: int  # left out everywhere
    quantiles: tuple[float, ...]  # of p at 5, 25, 50, 75 and 95%
    answers: Answers
    groups: tuple[Group, ...]
    spread: ScoreSpread
    reliability: Reliability
    warning: WarningPoint  # at the stated rate of false alarms
    warning_at_half: WarningPoint  # at p < 0.5, where the cost of labels begins
    lead_times: LeadTimes
    warned_ahead: Mapping[str, Estimate]  # share of events, by least lead time [s]
    approach: Floats  # (T, 3), quartiles of p in the seconds before an event
    calm_median: float  # of p
    controls: tuple[Control, ...]
    prompts: tuple[PromptResult, ...]
    mistakes: Mistakes
    verdict: str
    sentence: str  # what the verdict rests on
    data_sets: tuple[DataSetVerdict, ...]

    @property
    def summary(self) -> str:
        """Name, verdict and what it rests on."""
        return f"{self.name}: {self.verdict}. {self.sentence}"

    @property
    def is_empty_control(self) -> bool:
        """Whether it is known beforehand that its scores tell nothing."""
        return self.identity.get("name") in ("constant", "random", "shuffled")


@dataclass(frozen=True)
class Agreement:
    """Two scorers side by side, on the frames that both have a label for."""

    first: str
    second: str
    rank_correlation: float  # Spearman's
    kappa: float  # Cohen's, of their warnings at the stated rate of false alarms
    auroc_difference: Estimate  # first minus second, of the first question


@dataclass(frozen=True)
class DataSetFacts:
    """A data set in figures."""

    name: str
    path: str
    episodes: int
    frames: int
    seconds: float  # between frames
    events: Mapping[str, int]  # episodes that hold a yes, by key of the question
    cut: int  # episodes that the time limit ended


@dataclass(frozen=True)
class Audit:
    """The whole."""

    config: AuditConfig
    questions: Mapping[str, str]  # names by key
    data_sets: tuple[DataSetFacts, ...]
    calm_frames: int
    probe_frames: int
    probe_episodes: int
    scorers: tuple[ScorerAudit, ...]
    agreement: tuple[Agreement, ...]


def passed(verdict: str) -> bool | None:
    """Whether labels with this verdict may be trained on; ``None`` where it is not known.

    Raises:
        ValueError: for a word that is no verdict
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


_TOLD_TOO = ("verdict", "follows_its_words")  # properties that are written down as well
_KEYS = {"scorers": "judges"}  # in JSON, where another name than the field's is kept


def plain(value: Any) -> Any:
    """A result of the audit as JSON: see :func:`~vlsafe_agents.common.json_values.plain`."""
    return json_values.plain(value, _parts)


def _parts(value: Any) -> dict[str, Any]:
    told = [name for name in _TOLD_TOO if isinstance(getattr(type(value), name, None), property)]
    found = json_values.fields_of(value) | {name: getattr(value, name) for name in told}
    return {_KEYS.get(name, name): part for name, part in found.items()}
