"""The scores of one scorer against the truth: every figure of an audit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar

import numpy as np

from vlsafe_agents.audit.drives import Drives, Examined, Target, calm, questions
from vlsafe_agents.audit.results import (
    Answer,
    AuditConfig,
    Control,
    DataSetVerdict,
    Evidence,
    Group,
    Mistakes,
    PromptPair,
    PromptResult,
    ScorerAudit,
    ScoreSpread,
    WarningPoint,
)
from vlsafe_agents.audit.scoring import NamedScorer, ScorerOutput
from vlsafe_agents.audit.statistics import (
    LeadTimes,
    Reliability,
    lead_times,
    reliability,
    scores_before,
    threshold_at,
)
from vlsafe_agents.audit.verdicts import reasons, sentence
from vlsafe_agents.evaluation.resampling import (
    Array,
    Bools,
    Estimate,
    Floats,
    Integers,
    Ranking,
    episode_weights,
    weighted_share,
)
from wrappers.ranking import spearman
from wrappers.scorer import Scores

UNCHANGED = "as it is"  # name of the control that is none
MAIN = ("event", "time_to_collision")  # questions asked of every group, control and prompt
SPREAD_BINS = 20
UNMOVED = 0.01  # change of p
APPROACH = np.arange(0.0, 9.0)  # [s] before an event
LEADS = (1.0, 2.0, 3.0)  # [s]


F = TypeVar("F", bound=Examined)


@dataclass(frozen=True)
class Examiner(Generic[F]):
    """The truth, ready to be held against any scores."""

    drives: F
    config: AuditConfig

    @cached_property
    def questions(self) -> dict[str, Target]:
        """See :func:`~.drives.questions`."""
        config = self.config
        return questions(self.drives.truth, config.horizon, config.time_to_collision)

    @cached_property
    def calm(self) -> Bools:
        """Frames ``(N,)`` in which there is nothing to warn of."""
        return calm(self.drives.truth, self.config.horizon, self.config.time_to_collision)

    @cached_property
    def weights(self) -> Floats:
        """How often each episode is drawn in each resample, ``(B, E)``; for all scorers."""
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
        for kind, names in self.drives.parts():
            different = list(dict.fromkeys(name for name in names if name))
            if len(different) > 1 or kind == "data set":
                of_frame = np.array(names)[self.drives.truth.episode]
                found += [(kind, name, of_frame == name) for name in different]
        return found

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
        """How early warnings below ``threshold`` come; see :func:`~.statistics.lead_times`."""
        truth, kept = self.drives.truth, ~np.isnan(score)
        return lead_times(score[kept] < threshold, truth.until_event[kept], truth.episode[kept])

    def approach(self, score: Scores) -> Floats:
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

    def _worst(self, order: Array, rows: Bools) -> Integers:
        found = np.flatnonzero(rows)
        found = found[np.argsort(order[found], kind="stable")]
        _, first = np.unique(self.drives.truth.episode[found], return_index=True)
        return np.asarray(found[np.sort(first)][: self.config.gallery], np.int64)


def scorer_audit(
    examiner: Examiner[Drives],
    named: NamedScorer,
    output: ScorerOutput,
    prompts: Sequence[PromptPair],
    probe: Integers,
) -> ScorerAudit:
    """Hold all scores of a scorer against the truth; ``probe (P,)`` are rows."""
    score = output.scores
    labelled = ~np.isnan(score)
    threshold = examiner.threshold(score)
    answers = examiner.answers(score, tuple(examiner.questions))
    groups = examiner.groups(score)
    leads = examiner.lead_times(score, threshold)
    confidence = examiner.config.confidence
    warned = {
        f"{lead:g}": leads.share_at_least(lead, examiner.weights, confidence) for lead in LEADS
    }
    warning = examiner.warning_at(score, threshold)
    shares = [0.05, 0.25, 0.5, 0.75, 0.95]
    quantiles = np.quantile(score[labelled], shares) if labelled.any() else [np.nan] * len(shares)
    mistakes = examiner.mistakes(score, threshold)
    stored = examiner.drives.metadata[0]["scorer"]
    return ScorerAudit(
        name=named.name,
        identity=named.identity(stored),
        frames=int(labelled.sum()),
        unlabelled=int((~labelled).sum()),
        quantiles=tuple(float(value) for value in quantiles),
        answers=answers,
        groups=groups,
        spread=examiner.spread(score),
        reliability=examiner.reliability(score),
        warning=warning,
        warning_at_half=examiner.warning_at(score, 0.5),
        lead_times=leads,
        warned_ahead=warned,
        approach=examiner.approach(score),
        calm_median=_median(score[examiner.calm]),
        controls=_controls(examiner, output, probe),
        prompts=_prompts(examiner, prompts, output.worded, probe),
        mistakes=mistakes,
        verdict=answers[MAIN[0]].verdict,
        sentence=sentence(answers, groups, warning, warned, int((~labelled).sum())),
        data_sets=tuple(_on_data_sets(examiner, named, groups)),
    )


def _controls(
    examiner: Examiner[Drives], output: ScorerOutput, probe: Integers
) -> tuple[Control, ...]:
    """The probe's frames as they are and changed, and all scores dealt to other frames."""
    score = output.scores
    rng = np.random.default_rng(examiner.config.seed)
    mixed, within = rng.permutation(score), score.copy()
    for number in range(len(examiner.drives.sources)):
        span = examiner.drives.rows_of_source(number)
        within[span] = rng.permutation(score[span])
    seen = {UNCHANGED: score[probe], **output.changed}
    variants = {name: _spread_out(values, probe, len(score)) for name, values in seen.items()}
    variants |= {"shuffled": mixed, "shuffled within each data set": within}
    return tuple(control(examiner, name, values, score) for name, values in variants.items())


def control(examiner: Examiner[Any], name: str, values: Scores, score: Scores) -> Control:
    """What became of scores ``(N,)`` of the frames as they are: ``values (N,)``, of changed ones.

    NaN in ``values`` for frames that were not changed.
    """
    change = values - score
    danger = examiner.questions["time_to_collision"].positive
    return Control(
        name=name,
        answers=examiner.answers(values),
        mean_score=_mean(values),
        change_in_danger=_mean(change[danger]),
        change_in_calm=_mean(change[examiner.calm]),
        rank_correlation=spearman(values, score),
        unmoved=_mean(np.where(np.isnan(change), np.nan, np.abs(change) < UNMOVED)),
    )


def _prompts(
    examiner: Examiner[Drives],
    pairs: Sequence[PromptPair],
    worded: Sequence[Scores],
    probe: Integers,
) -> tuple[PromptResult, ...]:
    results = []
    for pair, values in zip(pairs, worded, strict=False):
        whole = _spread_out(values, probe, len(examiner.drives))
        results.append(PromptResult(pair, examiner.answers(whole)))
    return tuple(results)


def _spread_out(values: Scores, rows: Integers, count: int) -> Scores:
    """Scores of some rows as scores of all ``(count,)``, NaN for the others."""
    whole = np.full(count, np.nan, np.float32)
    whole[rows] = values
    return whole


def _on_data_sets(
    examiner: Examiner[Drives], named: NamedScorer, groups: Sequence[Group]
) -> Iterator[DataSetVerdict]:
    answers = {group.name: group.answers for group in groups if group.kind == "data set"}
    drives = examiner.drives
    for path, name, metadata in zip(drives.paths, drives.names, drives.metadata, strict=True):
        identity = named.identity(metadata["scorer"])
        found = answers[name]
        verdict = found[MAIN[0]].verdict
        text = f"{named.name}: {verdict}. {reasons(found)}"
        yield DataSetVerdict(str(path), identity, verdict, text)


def _mean(values: Scores) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _median(values: Scores) -> float:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else float("nan")
