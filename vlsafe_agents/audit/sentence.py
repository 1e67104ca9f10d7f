"""The verdict in words, with the figures that it follows from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vlsafe_agents.audit.resampling import Estimate
from vlsafe_agents.audit.results import Answers, Group, WarningPoint
from vlsafe_agents.audit.verdict import CHANCE, FEWEST_EPISODES, UNKNOWN, WORSE, interval


def sentence(
    answers: Answers,
    groups: Sequence[Group],
    warning: WarningPoint,
    warned_ahead: Mapping[str, Estimate],
    unlabelled: int,
) -> str:
    """A few sentences that say what a judge's verdict rests on."""
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
    """Where the judge is at its worst among the data sets, if there are several."""
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
