"""The audit: scores of all judges on all frames, held against what truly happened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from vlsafe_agents.audit.agreement import kappa, spearman
from vlsafe_agents.audit.candidates import Candidate
from vlsafe_agents.audit.config import AuditConfig
from vlsafe_agents.audit.controls import CONTROLS
from vlsafe_agents.audit.drives import Drives, Source
from vlsafe_agents.audit.examine import MAIN, Examiner
from vlsafe_agents.audit.judge_audit import judge_audit
from vlsafe_agents.audit.resampling import Estimate
from vlsafe_agents.audit.results import Agreement, Audit, DataSetFacts, JudgeAudit, PromptPair
from vlsafe_agents.audit.scoring import Bench, Looks, judge_scores
from vlsafe_agents.audit.truth import Integers
from vlsafe_agents.common.progress import ProgressReport
from vlsafe_agents.labelling.protocols import Scores, ScoreStore


@dataclass(frozen=True)
class Findings:
    """An audit with what it was made from."""

    audit: Audit
    drives: Drives
    probe: Integers  # (P,), rows of the frames that were changed and put into other words
    looks: dict[str, Looks]  # all that each judge said


def audit(
    sources: Sequence[Source],
    judges: Sequence[Candidate],
    config: AuditConfig | None = None,
    prompts: Sequence[PromptPair] = (),
    cache: ScoreStore | None = None,
    batch_size: int = 64,
    progress: bool = True,
) -> Findings:
    """Audit judges on recorded drives.

    Frames without a label (NaN) are counted and left out, never given a number.  ``prompts`` are
    tried on judges that compare frames with sentences.  With a ``cache`` no frame is scored that
    was scored before.

    Raises ``ValueError`` without judges, for two of one name, and for data without scenes or
    simulator truth.
    """
    names = [judge.name for judge in judges]
    if not judges:
        raise ValueError("nobody to audit: name a scorer")
    if len(set(names)) < len(names):
        raise ValueError(f"a scorer is given twice: {', '.join(names)}")
    config = config or AuditConfig()
    examiner = Examiner(Drives(sources), config)
    drives = examiner.drives
    probe = drives.some_rows(config.probe_frames, config.seed)
    total = _frames_to_score(judges, len(drives), len(probe), bool(prompts))
    with ProgressReport("score", total, "frames", progress) as report:
        done = 0

        def advance(frames: int) -> None:
            nonlocal done
            done += frames
            report.update(done)

        bench = Bench(drives, cache, batch_size, advance)
        looks = [
            Looks(score, _changed(bench, judge, probe), _worded(bench, judge, prompts, probe))
            for judge, score in zip(judges, judge_scores(bench, judges), strict=True)
        ]
    with ProgressReport("examine", len(judges), "scorers", progress) as report:
        found: list[JudgeAudit] = []
        for judge, look in zip(judges, looks, strict=True):
            report.update(len(found), judge.name)
            found.append(judge_audit(examiner, judge, look, prompts, probe))
        report.update(len(found))
    result = Audit(
        config=config,
        questions={key: question.name for key, question in examiner.questions.items()},
        data_sets=tuple(_facts(examiner, number) for number in range(len(drives.sources))),
        calm_frames=int(examiner.calm.sum()),
        probe_frames=len(probe),
        probe_episodes=len(np.unique(drives.truth.episode[probe])),
        judges=tuple(found),
        agreement=tuple(_agreement(examiner, found, [look.scores for look in looks])),
    )
    return Findings(result, drives, probe, dict(zip(names, looks, strict=True)))


def _frames_to_score(judges: Sequence[Candidate], frames: int, probe: int, prompts: bool) -> int:
    scorers = {id(judge.scorer) for judge in judges if judge.scorer is not None}
    looking = sum(judge.looks_at_frames for judge in judges)
    reading = sum(judge.takes_prompts for judge in judges) if prompts else 0
    return frames * len(scorers) + probe * (len(CONTROLS) * looking + reading)


def _changed(bench: Bench, judge: Candidate, probe: Integers) -> dict[str, Scores]:
    """Scores ``(P,)`` of the probe's frames, changed in each way."""
    if not judge.looks_at_frames:
        return {}
    assert judge.scorer is not None
    return {name: bench.scores(judge.scorer, redraw, probe) for name, redraw in CONTROLS.items()}


def _worded(
    bench: Bench, judge: Candidate, prompts: Sequence[PromptPair], probe: Integers
) -> list[Scores]:
    """Scores ``(P,)`` of the probe's frames, by each pair of sentences."""
    if not judge.takes_prompts or not prompts:
        return []
    return bench.with_prompts(judge, [(pair.safe, pair.unsafe) for pair in prompts], probe)


def _agreement(
    examiner: Examiner, judges: Sequence[JudgeAudit], scores: Sequence[Scores]
) -> list[Agreement]:
    replicates = [examiner.ranking(MAIN[0], score) for score in scores]
    aurocs = [ranking(examiner.weights)[0] for ranking in replicates]
    found = []
    for (one, first), (other, second) in combinations(enumerate(judges), 2):
        both = ~np.isnan(scores[one]) & ~np.isnan(scores[other])
        warns = [
            scores[place][both] < judge.warning.threshold
            for place, judge in ((one, first), (other, second))
        ]
        values = [judge.answers[MAIN[0]].evidence.auroc.value for judge in (first, second)]
        difference = Estimate.of(
            values[0] - values[1], aurocs[one] - aurocs[other], examiner.config.confidence
        )
        rank = spearman(scores[one], scores[other])
        found.append(Agreement(first.name, second.name, rank, kappa(*warns), difference))
    return found


def _facts(examiner: Examiner, number: int) -> DataSetFacts:
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
