"""One judge's scores against the truth: every figure but those of changed frames and sentences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from vlsafe_agents.audit.alarms import LeadTimes, lead_times, scores_before, threshold_at
from vlsafe_agents.audit.config import AuditConfig
from vlsafe_agents.audit.drives import Drives
from vlsafe_agents.audit.reliability import Reliability, reliability
from vlsafe_agents.audit.resampling import Estimate, Floats, episode_weights, weighted_share
from vlsafe_agents.audit.results import Answer, Group, Mistakes, ScoreSpread, WarningPoint
from vlsafe_agents.audit.truth import Bools, Integers, Question, calm, questions
from vlsafe_agents.audit.verdict import Evidence
from vlsafe_agents.common.ranking import Ranking
from vlsafe_agents.labelling.protocols import Scores

MAIN = ("event", "time_to_collision")  # questions asked of every group, control and prompt
SPREAD_BINS = 20
APPROACH = np.arange(0.0, 9.0)  # [s] before an event
LEADS = (1.0, 2.0, 3.0)  # [s]


@dataclass(frozen=True)
class Examiner:
    """The truth, ready to be held against any scores."""

    drives: Drives
    config: AuditConfig

    @cached_property
    def questions(self) -> dict[str, Question]:
        """See :func:`~.truth.questions`."""
        config = self.config
        return questions(self.drives.truth, config.horizon, config.time_to_collision)

    @cached_property
    def calm(self) -> Bools:
        """Frames ``(N,)`` in which there is nothing to warn of."""
        return calm(self.drives.truth, self.config.horizon, self.config.time_to_collision)

    @cached_property
    def weights(self) -> Floats:
        """How often each episode is drawn in each resample, ``(B, E)``; the same for all judges."""
        drives, config = self.drives, self.config
        return episode_weights(drives.source_of_episode, config.resamples, config.seed)

    def ranking(self, key: str, score: Scores, rows: Any = slice(None)) -> Ranking:
        """The frames among ``rows`` with a label and a known answer, ranked by 1 - p."""
        question, episode = self.questions[key], self.drives.truth.episode
        kept = question.known[rows] & ~np.isnan(score[rows])
        positive = question.positive[rows][kept]
        return Ranking(-score[rows][kept], positive, episode[rows][kept])

    def answer(self, key: str, score: Scores, rows: Any = slice(None)) -> Answer:
        """How well ``score (N,)`` answers a question on some rows (all, a mask or numbers)."""
        question, episode = self.questions[key], self.drives.truth.episode[rows]
        kept = question.known[rows] & ~np.isnan(score[rows])
        positive = question.positive[rows]
        ranking = self.ranking(key, score, rows)
        (auroc,), (precision,) = ranking()
        aurocs, precisions = ranking(self.weights)
        confidence = self.config.confidence
        evidence = Evidence(
            auroc=Estimate.of(auroc, aurocs, confidence),
            frames=int(kept.sum()),
            positives=int((kept & positive).sum()),
            positive_episodes=len(np.unique(episode[kept & positive])),
            negative_episodes=len(np.unique(episode[kept & ~positive])),
        )
        return Answer(question.name, evidence, Estimate.of(precision, precisions, confidence))

    def answers(
        self, score: Scores, keys: Any = MAIN, rows: Any = slice(None)
    ) -> dict[str, Answer]:
        """Answers by key of the question."""
        return {key: self.answer(key, score, rows) for key in keys}

    def groups(self, score: Scores) -> tuple[Group, ...]:
        """Answers on parts of the frames; kinds that have one part only are left out."""
        return tuple(
            Group(kind, name, self.answers(score, rows=rows)) for kind, name, rows in self._parts
        )

    @cached_property
    def _parts(self) -> list[tuple[str, str, Bools]]:
        found = []
        for kind, names in self._names_of_episodes():
            different = list(dict.fromkeys(name for name in names if name))
            if len(different) > 1 or kind == "data set":
                of_frame = np.array(names)[self.drives.truth.episode]
                found += [(kind, name, of_frame == name) for name in different]
        return found

    def _names_of_episodes(self) -> Iterator[tuple[str, list[str]]]:
        numbers = self.drives.source_of_episode
        sources = [self.drives.sources[number] for number in numbers]
        yield "scenario", [source.scenario for source in sources]
        yield "density", [f"{source.density:g}" for source in sources]
        yield "lanes", [f"{s.scenario}, {s.lanes} lanes" if s.lanes else "" for s in sources]
        yield "actions", [source.action for source in sources]
        yield "driver", [str(name) for name in self.drives.drivers]
        yield "data set", [self.drives.names[number] for number in numbers]

    def spread(self, score: Scores) -> ScoreSpread:
        """Histograms of p over calm frames and over those that the main questions are about."""
        kinds = {"calm": self.calm} | {
            self.questions[key].name: self.questions[key].positive for key in MAIN
        }
        edges = np.linspace(0.0, 1.0, SPREAD_BINS + 1)
        labelled = ~np.isnan(score)
        counts = {
            name: np.histogram(score[rows & labelled], edges)[0] for name, rows in kinds.items()
        }
        return ScoreSpread(edges, counts)

    def reliability(self, score: Scores) -> Reliability:
        """Of p as the chance that neither a collision nor a departure follows."""
        question = self.questions["event"]
        kept = question.known & ~np.isnan(score)
        safe, episode = ~question.positive[kept], self.drives.truth.episode[kept]
        return reliability(score[kept], safe, episode, self.weights, self.config.confidence)

    def warning_at(self, score: Scores, threshold: float) -> WarningPoint:
        """What warnings at p below ``threshold`` find, and how often they are false."""
        ahead = self.questions["ahead"]
        return WarningPoint(
            threshold=threshold,
            false_alarms=self._share_below(score, threshold, self.calm),
            found=self._share_below(score, threshold, ahead.positive & ahead.known),
        )

    def threshold(self, score: Scores) -> float:
        """The highest one whose warnings in calm frames are no more than the stated rate."""
        return threshold_at(score, self.calm, self.config.false_alarm_rate)

    def _share_below(self, score: Scores, threshold: float, rows: Bools) -> Estimate:
        kept = rows & ~np.isnan(score)
        episode = self.drives.truth.episode[kept]
        return weighted_share(
            score[kept] < threshold, episode, self.weights, self.config.confidence
        )

    def lead_times(self, score: Scores, threshold: float) -> LeadTimes:
        """How early warnings below ``threshold`` come; see :func:`~.alarms.lead_times`."""
        truth, kept = self.drives.truth, ~np.isnan(score)
        return lead_times(score[kept] < threshold, truth.until_event[kept], truth.episode[kept])

    def approach(self, score: Scores) -> npt.NDArray[np.float64]:
        """Quartiles of p in the seconds before an event, ``(len(APPROACH), 3)``."""
        return scores_before(score, self.drives.truth.until_event, APPROACH)

    def mistakes(self, score: Scores, threshold: float) -> Mistakes:
        """Dangerous frames with the highest p, and calm ones with the lowest.

        Only frames on the wrong side of the threshold, and one of each episode.
        """
        ahead = self.questions["ahead"]
        with np.errstate(invalid="ignore"):
            missed = ahead.positive & ahead.known & (score >= threshold)
            false = self.calm & (score < threshold)
        return Mistakes(self._worst(-score, missed), self._worst(score, false))

    def _worst(self, order: npt.NDArray[Any], rows: Bools) -> Integers:
        found = np.flatnonzero(rows)
        found = found[np.argsort(order[found], kind="stable")]
        _, first = np.unique(self.drives.truth.episode[found], return_index=True)
        return np.asarray(found[np.sort(first)][: self.config.gallery], np.int64)
