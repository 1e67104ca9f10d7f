"""All figures of one judge, from everything that it said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from vlsafe_agents.audit.agreement import spearman
from vlsafe_agents.audit.candidates import Candidate
from vlsafe_agents.audit.examine import LEADS, MAIN, Examiner
from vlsafe_agents.audit.results import (
    Control,
    DataSetVerdict,
    Group,
    JudgeAudit,
    PromptPair,
    PromptResult,
)
from vlsafe_agents.audit.scoring import Looks
from vlsafe_agents.audit.sentence import reasons, sentence
from vlsafe_agents.audit.truth import Integers
from vlsafe_agents.labelling.protocols import Scores

UNCHANGED = "as it is"


def judge_audit(
    examiner: Examiner,
    judge: Candidate,
    looks: Looks,
    prompts: Sequence[PromptPair],
    probe: Integers,
) -> JudgeAudit:
    """Hold everything that a judge said against the truth; ``probe (P,)`` are rows."""
    score = looks.scores
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
    return JudgeAudit(
        name=judge.name,
        identity=judge.identity(stored),
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
        controls=_controls(examiner, looks, probe),
        prompts=_prompts(examiner, prompts, looks.worded, probe),
        mistakes=mistakes,
        verdict=answers[MAIN[0]].verdict,
        sentence=sentence(answers, groups, warning, warned, int((~labelled).sum())),
        data_sets=tuple(_on_data_sets(examiner, judge, groups)),
    )


def _controls(examiner: Examiner, looks: Looks, probe: Integers) -> tuple[Control, ...]:
    """The probe's frames as they are and changed, and all scores dealt to other frames."""
    score = looks.scores
    rng = np.random.default_rng(examiner.config.seed)
    mixed, within = rng.permutation(score), score.copy()
    for number in range(len(examiner.drives.sources)):
        span = examiner.drives.rows_of_source(number)
        within[span] = rng.permutation(score[span])
    seen = {UNCHANGED: score[probe], **looks.changed}
    variants = {name: _spread_out(values, probe, len(score)) for name, values in seen.items()}
    variants |= {"shuffled": mixed, "shuffled within each data set": within}
    return tuple(_control(examiner, name, values, score) for name, values in variants.items())


def _control(examiner: Examiner, name: str, values: Scores, score: Scores) -> Control:
    change = values - score
    danger = examiner.questions["time_to_collision"].positive
    return Control(
        name=name,
        answers=examiner.answers(values),
        mean_score=_mean(values),
        change_in_danger=_mean(change[danger]),
        change_in_calm=_mean(change[examiner.calm]),
        rank_correlation=spearman(values, score),
    )


def _prompts(
    examiner: Examiner, pairs: Sequence[PromptPair], worded: Sequence[Scores], probe: Integers
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
    examiner: Examiner, judge: Candidate, groups: Sequence[Group]
) -> Iterator[DataSetVerdict]:
    answers = {group.name: group.answers for group in groups if group.kind == "data set"}
    drives = examiner.drives
    for path, name, metadata in zip(drives.paths, drives.names, drives.metadata, strict=True):
        identity = judge.identity(metadata["scorer"])
        found = answers[name]
        verdict = found[MAIN[0]].verdict
        text = f"{judge.name}: {verdict}. {reasons(found)}"
        yield DataSetVerdict(str(path), identity, verdict, text)


def _mean(values: Scores) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _median(values: Scores) -> float:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else float("nan")
