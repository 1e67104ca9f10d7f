"""Verdicts in words, and where they are kept: ``audit.json`` and the labels' own metadata."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vlsafe_agents.audit.results import (
    CHANCE,
    FEWEST_EPISODES,
    RULE,
    UNKNOWN,
    WORSE,
    Answers,
    Audit,
    DataSetVerdict,
    Group,
    WarningPoint,
    interval,
    passed,
    plain,
)
from vlsafe_agents.data.audits import AUDITS, audit_entries
from vlsafe_agents.data.storage import read_metadata, update_metadata
from vlsafe_agents.evaluation.resampling import Estimate


def sentence(
    answers: Answers,
    groups: Sequence[Group],
    warning: WarningPoint,
    warned_ahead: Mapping[str, Estimate],
    unlabelled: int,
) -> str:
    """A few sentences that say what a scorer's verdict rests on."""
    parts = [reasons(answers)]
    if answers["event"].verdict not in (UNKNOWN, CHANCE, WORSE):
        parts += [_weakest(groups), _warning(warning, warned_ahead)]
    if unlabelled:
        parts.append(f"{unlabelled:,} frames have no label and were left out.")
    return " ".join(part for part in parts if part)


def reasons(answers: Answers) -> str:
    """The intervals that a verdict follows from, or what is lacking."""
    main, near = answers["event"], answers["time_to_collision"]
    evidence = main.evidence
    if main.verdict == UNKNOWN:
        return (
            f"Only {evidence.positive_episodes} episodes with a {main.question} and "
            f"{evidence.negative_episodes} with frames before none; {FEWEST_EPISODES} of each are "
            "needed."
        )
    turned = " Its scores point the wrong way: are the prompts turned round?"
    return (
        f"AUROC {interval(evidence.auroc)} for {main.question} "
        f"({evidence.positive_episodes:,} episodes hold one), {interval(near.evidence.auroc)} for "
        f"{near.question}." + (turned if main.verdict == WORSE else "")
    )


def _weakest(groups: Sequence[Group]) -> str:
    """Where the scorer is at its worst among the data sets, if there are several."""
    known = [
        (group.name, group.answers["event"])
        for group in groups
        if group.kind == "data set" and group.answers["event"].verdict != UNKNOWN
    ]
    if len(known) < 2:
        return ""
    name, answer = min(known, key=lambda item: item[1].evidence.auroc.value)
    return f"Weakest on {name}: {interval(answer.evidence.auroc)}, {answer.verdict}."


def _warning(warning: WarningPoint, warned_ahead: Mapping[str, Estimate]) -> str:
    early = warned_ahead.get("1")
    if early is None or early.value != early.value:
        return ""
    return (
        f"With warnings at p below {warning.threshold:.2f}, false in "
        f"{warning.false_alarms.value:.1%} of calm frames, {early.value:.0%} of collisions and "
        "departures are warned of at least 1 s ahead."
    )


def write_verdicts(audit: Audit) -> None:
    """Keep each scorer's verdict on each data set in that data set's metadata.

    An earlier verdict on the same scorer is replaced; labels of other scorers are not touched by
    it.
    """
    found: dict[str, list[DataSetVerdict]] = {}
    for scorer in audit.scorers:
        for verdict in scorer.data_sets:
            found.setdefault(verdict.path, []).append(verdict)
    for path, verdicts in found.items():
        _write(Path(path), [_entry(audit, verdict) for verdict in verdicts])


def as_json(audit: Audit) -> dict[str, Any]:
    """All of an audit as JSON, with the rule that its verdicts follow."""
    return {"rule": RULE, "date": _today(), **plain(audit)}


def _entry(audit: Audit, verdict: DataSetVerdict) -> dict[str, Any]:
    return {
        "scorer": plain(verdict.scorer),
        "verdict": verdict.verdict,
        "passed": passed(verdict.verdict),
        "sentence": verdict.sentence,
        "question": audit.questions["event"],
        "date": _today(),
    }


def _write(data_path: Path, entries: list[dict[str, Any]]) -> None:
    audited = [entry["scorer"] for entry in entries]
    kept = [e for e in audit_entries(read_metadata(data_path)) if e["scorer"] not in audited]
    update_metadata(data_path, {AUDITS: [*kept, *entries]})


def _today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()
