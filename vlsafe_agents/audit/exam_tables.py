"""Rows of the hazard exam side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vlsafe_agents.audit.exam_row import ChangedFrames, ExamRow
from vlsafe_agents.audit.examine import MAIN
from vlsafe_agents.audit.results import interval
from vlsafe_agents.pages import ABSENT, decimal
from wrappers.markdown import markdown_table


@dataclass(frozen=True)
class ExamTable:
    """A table as text."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def exam_tables(rows: Sequence[ExamRow]) -> list[ExamTable]:
    """What scorers of the same frames saw, on which roads, what changes did, what p is worth.

    Those with the highest AUROC of the first question come first.
    """
    ranked = sorted(rows, key=lambda row: (-np.nan_to_num(row.auroc[MAIN[0]].value), row.name))
    return [_seen(ranked), _roads(ranked), _changes(ranked), _worth(ranked)]


def markdown(tables: Sequence[ExamTable]) -> str:
    """The tables for a page."""
    parts = [f"{one.title}:\n\n{markdown_table(one.columns, one.rows)}" for one in tables]
    return "\n\n".join(parts) + "\n"


def _seen(rows: Sequence[ExamRow]) -> ExamTable:
    names = [rows[0].questions[key] for key in MAIN] if rows else []
    titles = ("scorer", *names, "verdict", "frames without a label")
    return ExamTable(
        "AUROC of 1 - p with 95% intervals",
        titles,
        [
            (
                row.name,
                *(interval(row.auroc[key]) for key in MAIN),
                row.verdict,
                f"{row.frames.unlabelled} of {row.frames.number}",
            )
            for row in rows
        ],
    )


def _roads(rows: Sequence[ExamRow]) -> ExamTable:
    names = list(dict.fromkeys(name for row in rows for name in row.roads))
    return ExamTable(
        "AUROC of the first question by road; few frames each: only large differences count",
        ("scorer", *names),
        [(row.name, *(_known(row.roads.get(name)) for name in names)) for row in rows],
    )


def _changes(rows: Sequence[ExamRow]) -> ExamTable:
    """AUROC of the first question on changed frames."""
    names = list(dict.fromkeys(name for row in rows for name in row.changed))
    shown = [name for name in names if not _is_erased(name)]
    erased = [name for name in names if _is_erased(name)]
    return ExamTable(
        "AUROC of the first question on changed frames, and with the question turned round (right "
        "below one half); the rise of p where a vehicle was near and is erased",
        ("scorer", "as it is", *shown, "question turned round", *(f"rise: {n}" for n in erased)),
        [
            (
                row.name,
                decimal(row.auroc[MAIN[0]].value),
                *(_auroc(row.changed.get(name)) for name in shown),
                _auroc(row.negated),
                *(_rise(row.changed.get(name)) for name in erased),
            )
            for row in rows
        ],
    )


def _worth(rows: Sequence[ExamRow]) -> ExamTable:
    return ExamTable(
        "p of a black frame, the share of frames whose p is the same, by how much p is lower in "
        "danger; calibration; and the price of 1,000 frames",
        (
            "scorer",
            "p, black",
            "as black",
            "lower in danger",
            "calibration error",
            "Brier score",
            "seconds",
            "processor seconds",
            "tokens",
        ),
        [
            (
                row.name,
                _known(row.blank.score),
                ABSENT if row.blank.unmoved is None else f"{100 * row.blank.unmoved:.0f}%",
                _known(row.blank.gap),
                decimal(row.calibration.error),
                interval(row.calibration.brier),
                *map(_amount, (row.price.seconds, row.price.processor_seconds, row.price.tokens)),
            )
            for row in rows
        ],
    )


def _is_erased(name: str) -> bool:
    return name.endswith("erased")


def _auroc(found: ChangedFrames | None) -> str:
    return ABSENT if found is None else decimal(found.auroc[MAIN[0]].value)


def _rise(found: ChangedFrames | None) -> str:
    return ABSENT if found is None else decimal(found.change_in_danger)


def _known(value: float | None) -> str:
    return ABSENT if value is None else decimal(value)


def _amount(value: float | None) -> str:
    """Three digits."""
    if value is None or np.isnan(value):
        return ABSENT
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
