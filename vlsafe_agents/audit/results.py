"""What an audit finds, as plain data: the report draws it and ``audit.json`` keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vlsafe_agents.audit.alarms import LeadTimes
from vlsafe_agents.audit.config import AuditConfig
from vlsafe_agents.audit.reliability import Reliability
from vlsafe_agents.audit.resampling import Estimate
from vlsafe_agents.audit.truth import Integers
from vlsafe_agents.audit.verdict import UNKNOWN, Evidence


@dataclass(frozen=True)
class Answer:
    """How well scores answer one question on some of the frames."""

    question: str
    evidence: Evidence  # with the AUROC of 1 - p
    average_precision: Estimate  # of 1 - p; chance is the share of positives

    @property
    def verdict(self) -> str:
        """One of ``verdict.VERDICTS``."""
        return self.evidence.verdict


Answers = Mapping[str, Answer]  # by key of the question


@dataclass(frozen=True)
class Group:
    """The answers on a part of the frames."""

    kind: str  # "scenario", "density", "lanes", "actions", "driver" or "data set"
    name: str
    answers: Answers


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

    edges: npt.NDArray[np.float64]  # (bins + 1,)
    counts: Mapping[str, Integers]  # (bins,) of each kind of frame


@dataclass(frozen=True)
class DataSetVerdict:
    """What is to be thought of a judge's scores on one data set."""

    path: str
    scorer: Mapping[str, Any]  # identity of who gave the scores
    verdict: str
    sentence: str


@dataclass(frozen=True)
class JudgeAudit:
    """All about one judge."""

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
    approach: npt.NDArray[np.float64]  # (T, 3), quartiles of p in the seconds before an event
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
    """Two judges side by side, on the frames that both have a label for."""

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
    judges: tuple[JudgeAudit, ...]
    agreement: tuple[Agreement, ...]


_TOLD_TOO = ("verdict", "follows_its_words")  # properties that are written down as well


def plain(value: Any) -> Any:
    """A result as JSON: dataclasses become objects, arrays lists, NaN and infinity null."""
    if is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in fields(value)]
        names += [
            name for name in _TOLD_TOO if isinstance(getattr(type(value), name, None), property)
        ]
        return {name: plain(getattr(value, name)) for name in names}
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(inner) for inner in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return value
