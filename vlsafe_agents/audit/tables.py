"""The report's tables, as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vlsafe_agents.audit.examine import MAIN, UNCHANGED, UNMOVED
from vlsafe_agents.audit.results import Audit, ScorerAudit, interval
from vlsafe_agents.evaluation.resampling import Estimate
from vlsafe_agents.pages import ABSENT, decimal

_EXPECTED = {
    UNCHANGED: "",
    "mirrored": "nearly the same p: danger has no side",
    "other vehicles erased": "p rises where a vehicle was the danger",
    "blank": "0.50: there is nothing to see; frames whose p stays were judged by the words alone",
    "shuffled": "0.50: the check of this table",
    "shuffled within each data set": "what knowing the road and the traffic alone is worth",
}


@dataclass(frozen=True)
class Table:
    """Rows of text; a folded one is shown on demand."""

    caption: str
    first: str  # title of the first column
    titles: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str]]]
    folded: bool = False
    title: str = ""  # of a folded one


def percent(estimate: Estimate) -> str:
    """``"59% (51% to 67%)"``; a dash where there is none."""
    if np.isnan(estimate.value):
        return ABSENT
    numbers = [f"{100 * x:.0f}%" for x in (estimate.value, estimate.low, estimate.high)]
    return numbers[0] if np.isnan(estimate.low) else f"{numbers[0]} ({numbers[1]} to {numbers[2]})"


def ranking_table(audit: Audit) -> Table:
    """AUROC of every scorer on every question."""
    caption = (
        f"AUROC of 1 - p with its {audit.config.confidence:.0%} interval: the chance that a "
        "dangerous frame gets a lower p than another. 0.5 is chance."
    )
    rows = [
        (
            scorer.name,
            [*(interval(a.evidence.auroc) for a in scorer.answers.values()), scorer.verdict],
        )
        for scorer in audit.scorers
    ]
    return Table(caption, "Scorer", [*audit.questions.values(), "verdict"], rows)


def precision_table(audit: Audit) -> Table:
    """Average precision of every scorer on every question, and what chance would give."""
    rows = [
        (scorer.name, [interval(a.average_precision) for a in scorer.answers.values()])
        for scorer in audit.scorers
    ]
    evidence = [answer.evidence for answer in audit.scorers[0].answers.values()]
    rows.append(("chance", [decimal(e.positives / max(1, e.frames)) for e in evidence]))
    caption = (
        "Average precision of 1 - p: of the frames that are called riskiest, how many are "
        "dangerous. Chance is the share of dangerous frames."
    )
    return Table(caption, "Scorer", list(audit.questions.values()), rows)


def group_table(audit: Audit, key: str) -> Table:
    """AUROC and verdict on each part of the frames; empty controls are left out."""
    shown = [scorer for scorer in audit.scorers if not scorer.is_empty_control] or audit.scorers
    first = shown[0].groups
    rows = []
    for place, group in enumerate(first):
        evidence = group.answers[key].evidence
        cells = [f"{evidence.frames:,}", f"{evidence.positive_episodes:,}"]
        for scorer in shown:
            answer = scorer.groups[place].answers[key]
            cells.append(f"{interval(answer.evidence.auroc)}, {answer.verdict}")
        rows.append((group.title, cells))
    titles = ["frames", "episodes with one", *[scorer.name for scorer in shown]]
    return Table(f"AUROC for {audit.questions[key]}", "Part", titles, rows, folded=True)


def warning_table(audit: Audit) -> Table:
    """What scores find as warnings, and at what price."""
    rows = []
    for scorer in audit.scorers:
        best, half = scorer.warning, scorer.warning_at_half
        cells = [decimal(best.threshold), percent(best.false_alarms), percent(best.found)]
        cells += [percent(estimate) for estimate in scorer.warned_ahead.values()]
        cells += [percent(half.false_alarms), percent(half.found)]
        rows.append((scorer.name, cells))
    leads = [f"events warned of {lead} s ahead" for lead in audit.scorers[0].warned_ahead]
    titles = ["threshold", "false in calm", "frames found", *leads]
    titles += ["p < 0.5: false in calm", "p < 0.5: frames found"]
    caption = (
        f"Warnings are scores below a threshold that lets at most "
        f"{audit.config.false_alarm_rate:.0%} of calm frames bring one; frames found are those "
        f"with a {audit.questions['ahead']}. At p below 0.5 the cost of labels begins."
    )
    return Table(caption, "Scorer", titles, rows)


def prompt_table(scorer: ScorerAudit) -> Table:
    """Every pair of sentences with what it does."""
    rows = []
    for result in scorer.prompts:
        follows = result.follows_its_words
        aurocs = [interval(result.answers[key].evidence.auroc) for key in MAIN]
        answer = ABSENT if follows is None else "yes" if follows else "no"
        turned = "below 0.5" if result.pair.turned_round else "above 0.5"
        cells = [result.pair.safe, result.pair.unsafe, *aurocs, turned, answer]
        rows.append((result.pair.name, cells))
    titles = ["safe sentence", "unsafe sentence", *[scorer.answers[k].question for k in MAIN]]
    titles += ["should be", "is so"]
    return Table(f"{scorer.name}: AUROC with other sentences", "Pair", titles, rows, folded=True)


def control_table(scorer: ScorerAudit) -> Table:
    """What a scorer makes of changed frames."""
    rows = []
    for control in scorer.controls:
        cells = [interval(control.answers[key].evidence.auroc) for key in MAIN]
        cells += [decimal(control.mean_score)]
        if control.name == UNCHANGED:
            cells += [ABSENT] * 4
        else:
            cells += [
                f"{value:+.2f}" if value == value else ABSENT
                for value in (control.change_in_danger, control.change_in_calm)
            ]
            cells += [decimal(control.rank_correlation), decimal(control.unmoved)]
        rows.append((control.name, [*cells, _EXPECTED.get(control.name, "")]))
    titles = [scorer.answers[key].question for key in MAIN]
    titles += ["mean p", "change in danger", "change in calm", "rank correlation"]
    titles += [f"share whose p stays within {UNMOVED:g}", "expected"]
    return Table(f"{scorer.name}: AUROC and p", "Frames", titles, rows)


def agreement_table(audit: Audit) -> Table:
    """Pairs of scorers."""
    rows = [
        (
            f"{pair.first} and {pair.second}",
            [decimal(pair.rank_correlation), decimal(pair.kappa), interval(pair.auroc_difference)],
        )
        for pair in audit.agreement
    ]
    titles = ["rank correlation", "kappa of warnings", "difference of AUROC"]
    caption = (
        "Spearman's rank correlation of p; Cohen's kappa of warnings, each at its own threshold; "
        f"first AUROC minus second for {audit.questions['event']}, on the same resamples."
    )
    return Table(caption, "Scorers", titles, rows, folded=True, title="agreement of every pair")


def data_table(audit: Audit) -> Table:
    """The data sets."""
    keys = ("collision", "off_road", "time_to_collision")
    rows = [
        (
            facts.name,
            [
                f"{facts.episodes:,}",
                f"{facts.frames:,}",
                f"{facts.seconds:g} s",
                *[f"{facts.events[key]:,}" for key in keys],
                f"{facts.cut:,}",
            ],
        )
        for facts in audit.data_sets
    ]
    titles = ["episodes", "frames", "between frames", "with a collision", "off the road"]
    titles += [f"with a {audit.questions['time_to_collision']}", "cut by the time limit"]
    return Table("What was recorded", "Data set", titles, rows)


def score_table(audit: Audit) -> Table:
    """How many labels there are and how they are spread."""
    rows = [
        (
            scorer.name,
            [f"{scorer.frames:,}", f"{scorer.unlabelled:,}", *map(decimal, scorer.quantiles),
             decimal(scorer.reliability.error)],
        )
        for scorer in audit.scorers
    ]  # fmt: skip
    titles = ["frames with a label", "without", "p at 5%", "25%", "50%", "75%", "95%", "ECE"]
    caption = "Labels, quantiles of p, and the expected calibration error"
    return Table(caption, "Scorer", titles, rows, folded=True)
