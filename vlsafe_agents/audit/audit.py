"""The audit: scores of all scorers on all frames, held against what truly happened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from vlsafe_agents.audit.drives import Drives, Source
from vlsafe_agents.audit.examine import MAIN, Examiner, scorer_audit
from vlsafe_agents.audit.results import (
    Agreement,
    Audit,
    AuditConfig,
    DataSetFacts,
    PromptPair,
    ScorerAudit,
)
from vlsafe_agents.audit.scoring import (
    FrameScoring,
    NamedScorer,
    ScorerOutput,
    all_scores,
    frames_to_score,
)
from vlsafe_agents.audit.statistics import kappa
from vlsafe_agents.common.progress import ProgressReport
from vlsafe_agents.evaluation.resampling import Estimate, Integers
from wrappers.ranking import spearman
from wrappers.score_cache import ScoreCache
from wrappers.scorer import Scores


@dataclass(frozen=True)
class Findings:
    """An audit with what it was made from."""

    audit: Audit
    drives: Drives
    probe: Integers  # (P,), rows of the frames that were changed and put into other words
    outputs: dict[str, ScorerOutput]  # all scores of each scorer


def audit(
    sources: Sequence[Source],
    scorers: Sequence[NamedScorer],
    config: AuditConfig | None = None,
    prompts: Sequence[PromptPair] = (),
    cache: ScoreCache | None = None,
    batch_size: int = 64,
    progress: bool = True,
) -> Findings:
    """Audit scorers on recorded drives.

    Frames without a label (NaN) are counted and left out, never given a number.

    Args:
        sources: the data sets
        scorers: who is audited
        config: questions, thresholds and amounts
        prompts: pairs of sentences to try on scorers that compare frames with sentences
        cache: what is known there is not scored again
        batch_size: frames scored at once
        progress: whether to show how far it is

    Raises:
        ValueError: without scorers, for two of one name, and for data without scenes or simulator
            truth
    """
    names = [named.name for named in scorers]
    if not scorers:
        raise ValueError("nobody to audit: name a scorer")
    if len(set(names)) < len(names):
        raise ValueError(f"a scorer is given twice: {', '.join(names)}")
    config = config or AuditConfig()
    examiner = Examiner(Drives(sources), config)
    drives = examiner.drives
    probe = drives.some_rows(config.probe_frames, config.seed)
    pairs = [(pair.safe, pair.unsafe) for pair in prompts]
    total = frames_to_score(scorers, len(drives), len(probe), bool(pairs))
    with ProgressReport("score", total, "frames", progress) as report:
        scoring = FrameScoring(drives, cache, batch_size, report.update)
        outputs = all_scores(scoring, scorers, pairs, probe)
    with ProgressReport("examine", len(scorers), "scorers", progress) as report:
        found: list[ScorerAudit] = []
        for named, output in zip(scorers, outputs, strict=True):
            report.update(len(found), named.name)
            found.append(scorer_audit(examiner, named, output, prompts, probe))
        report.update(len(found))
    result = Audit(
        config=config,
        questions={key: question.name for key, question in examiner.questions.items()},
        data_sets=tuple(_facts(examiner, number) for number in range(len(drives.sources))),
        calm_frames=int(examiner.calm.sum()),
        probe_frames=len(probe),
        probe_episodes=len(np.unique(drives.truth.episode[probe])),
        scorers=tuple(found),
        agreement=tuple(_agreement(examiner, found, [output.scores for output in outputs])),
    )
    return Findings(result, drives, probe, dict(zip(names, outputs, strict=True)))


def _agreement(
    examiner: Examiner[Drives], scorers: Sequence[ScorerAudit], scores: Sequence[Scores]
) -> list[Agreement]:
    replicates = [examiner.ranking(MAIN[0], score) for score in scores]
    aurocs = [ranking(examiner.weights)[0] for ranking in replicates]
    found = []
    for (one, first), (other, second) in combinations(enumerate(scorers), 2):
        both = ~np.isnan(scores[one]) & ~np.isnan(scores[other])
        warns = [
            scores[place][both] < scorer.warning.threshold
            for place, scorer in ((one, first), (other, second))
        ]
        values = [scorer.answers[MAIN[0]].evidence.auroc.value for scorer in (first, second)]
        difference = Estimate.of(
            values[0] - values[1], aurocs[one] - aurocs[other], examiner.config.confidence
        )
        rank = spearman(scores[one], scores[other])
        found.append(Agreement(first.name, second.name, rank, kappa(*warns), difference))
    return found


def _facts(examiner: Examiner[Drives], number: int) -> DataSetFacts:
    drives, span = examiner.drives, examiner.drives.rows_of_source(number)
    episode = drives.truth.episode[span]
    return DataSetFacts(
        name=drives.names[number],
        path=str(drives.paths[number]),
        episodes=len(np.unique(episode)),
        frames=len(episode),
        seconds=drives.sources[number].seconds,
        events={
            key: len(np.unique(episode[question.positive[span]]))
            for key, question in examiner.questions.items()
        },
        cut=int((drives.truth.until_cut[span] == 0).sum()),
    )
