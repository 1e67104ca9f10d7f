"""Charts of figures with intervals: one dot each, on a ground that shows the verdicts' zones.

In all charts of an audit a colour is a judge's; questions are told apart by marks and dashes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from vlsafe_agents.audit.examine import MAIN
from vlsafe_agents.audit.resampling import Estimate
from vlsafe_agents.audit.results import Audit, Group, JudgeAudit
from vlsafe_agents.audit.verdict import GOOD_FROM, USABLE_FROM
from vlsafe_agents.report.figures import INK, canvas, literal, shortened

PALETTE = (
    "#3b82d6", "#d9822b", "#1f9d8a", "#a371c9", "#c75d5d",
    "#a88b4c", "#5fa8d3", "#7d8590", "#b85c9e", "#6a8f3c",
)  # fmt: skip
MARKS = {"event": "o", "time_to_collision": "D"}  # of questions
DASHES = {"event": "-", "time_to_collision": "--"}
_ROW = 0.3  # [inch]
_ZONES = ((0.5, USABLE_FROM, "weak"), (USABLE_FROM, GOOD_FROM, "usable"), (GOOD_FROM, 1.0, "good"))


@dataclass(frozen=True)
class Series:
    """Dots with one mark, one a row, in one colour or each in its own; some may have no value."""

    label: str
    colour: str | Sequence[str]
    estimates: Sequence[Estimate]
    mark: str = "o"

    @property
    def colours(self) -> Sequence[str]:
        """The colour of each row."""
        return [self.colour] * len(self.estimates) if isinstance(self.colour, str) else self.colour


def colours(audit: Audit) -> dict[str, str]:
    """A colour for each judge."""
    return {judge.name: PALETTE[place % len(PALETTE)] for place, judge in enumerate(audit.judges)}


def overview(audit: Audit) -> Any:
    """AUROC of every judge on the two main questions."""
    shade = list(colours(audit).values())
    series = [
        Series(
            audit.questions[key],
            shade,
            [judge.answers[key].evidence.auroc for judge in audit.judges],
            MARKS[key],
        )
        for key in MAIN
    ]
    return dot_plot([judge.name for judge in audit.judges], series)


def by_group(audit: Audit, key: str) -> Any | None:
    """AUROC of the judges on each part of the frames, for one question; empty controls left out."""
    shown = [judge for judge in audit.judges if not judge.is_empty_control]
    if not shown:
        return None
    groups = shown[0].groups
    labels: list[str] = []
    breaks: list[int] = []
    for kind, members in groupby(groups, lambda group: group.kind):
        if labels:
            breaks.append(len(labels))
        names = [group.name for group in members]
        labels += names if kind in ("data set", "lanes") else [f"{kind} {name}" for name in names]
    if len(labels) < 2:
        return None
    shade = colours(audit)
    series = [
        Series(judge.name, shade[judge.name], [_auroc(group, key) for group in judge.groups])
        for judge in shown
    ]
    return dot_plot(labels, series, breaks)


def _auroc(group: Group, key: str) -> Estimate:
    return group.answers[key].evidence.auroc


def by_prompt(judge: JudgeAudit, colour: str) -> Any | None:
    """AUROC with each pair of sentences, in the judge's colour."""
    if not judge.prompts:
        return None
    labels = [
        f"{result.pair.name}{' (turned)' if result.pair.turned_round else ''}"
        for result in judge.prompts
    ]
    series = [
        Series(
            judge.answers[key].question,
            colour,
            [result.answers[key].evidence.auroc for result in judge.prompts],
            MARKS[key],
        )
        for key in MAIN
    ]
    return dot_plot(labels, series)


def by_control(judge: JudgeAudit, colour: str) -> Any:
    """AUROC on changed frames and with scores dealt to other frames, in the judge's colour."""
    series = [
        Series(
            judge.answers[key].question,
            colour,
            [control.answers[key].evidence.auroc for control in judge.controls],
            MARKS[key],
        )
        for key in MAIN
    ]
    return dot_plot([control.name for control in judge.controls], series)


def dot_plot(labels: Sequence[str], series: Sequence[Series], breaks: Sequence[int] = ()) -> Any:
    """AUROCs in rows, the first on top, with a thin line before the rows ``breaks``."""
    row = _ROW + 0.06 * max(0, len(series) - 3)
    labels = [short(label) for label in labels]
    left = 0.15 + 0.072 * max(map(len, labels))
    width = left + 6.2
    height = row * len(labels) + 0.7 + legend_height([one.label for one in series], width)
    figure, axes = canvas(width, height, top=0.22)
    figure.subplots_adjust(left=left / width, bottom=1 - (row * len(labels) + 0.22) / height)
    low = min([0.4, *(e.low for s in series for e in s.estimates if not np.isnan(e.low))])
    axes.set_xlim(max(-0.02, low - 0.03), 1.015)
    axes.set_ylim(len(labels) - 0.45, -0.55)
    _zones(axes)
    step = 0.62 / max(1, len(series) - 1)
    for number, one in enumerate(series):
        shift = 0.0 if len(series) == 1 else -0.31 + step * number
        _dots(axes, one, np.arange(len(labels)) + shift)
    for place in breaks:
        axes.axhline(place - 0.5, color=INK, lw=0.6, alpha=0.35)
    axes.set_yticks(range(len(labels)), map(literal, labels))
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    axes.set_xlabel("AUROC of 1 - p")
    if len(series) > 1:
        legend(figure, [_sample(one) for one in series])
    return figure


def _sample(series: Series) -> Any:
    """A dot for the legend, without a colour where the colours are the rows'."""
    from matplotlib.lines import Line2D

    colour = series.colour if isinstance(series.colour, str) else INK
    return Line2D(
        [], [], color=colour, marker=series.mark, label=literal(short(series.label)), ms=4.5
    )


def legend(figure: Any, handles: Sequence[Any]) -> None:
    """What colours, marks and dashes mean, in lines along the bottom."""
    figure.legend(
        handles=handles, loc="lower center", frameon=False, fontsize=8, labelcolor=INK,
        ncols=_side_by_side([handle.get_label() for handle in handles], figure.get_figwidth()),
        borderaxespad=0.1, columnspacing=1.2, handletextpad=0.4,
    )  # fmt: skip


def legend_height(names: Sequence[str], width: float) -> float:
    """Room that a legend takes on a figure of some width [inch]; none for a single entry."""
    rows = -(-len(names) // _side_by_side(names, width))
    return 0.0 if len(names) < 2 else 0.12 + 0.18 * rows


def _side_by_side(names: Sequence[str], width: float) -> int:
    """How many entries of a legend fit into a line."""
    longest = max(len(short(name)) for name in names)
    return max(1, min(len(names), int(width / (0.45 + 0.07 * longest))))


def short(name: str) -> str:
    """As much of a name as charts have room for."""
    return shortened(name, 50)


def _dots(axes: Any, series: Series, rows: Any) -> None:
    values = np.array([estimate.value for estimate in series.estimates])
    ends = np.array([[estimate.low, estimate.high] for estimate in series.estimates]).reshape(-1, 2)
    reach = np.nan_to_num(np.abs(ends - values[:, None]))
    for place in np.flatnonzero(~np.isnan(values)).tolist():
        axes.errorbar(
            values[place],
            rows[place],
            xerr=reach[place][:, None],
            fmt=series.mark,
            color=series.colours[place],
            markersize=4.5,
            elinewidth=1.4,
        )


def _zones(axes: Any) -> None:
    axes.axvline(0.5, color=INK, lw=0.9, alpha=0.5)
    for place, (low, high, name) in enumerate(_ZONES):
        axes.axvspan(low, high, color=INK, alpha=0.03 + 0.03 * place, lw=0)
        axes.text(
            (low + high) / 2, 1.01, name, size=7, ha="center", va="bottom", color=INK, alpha=0.65,
            transform=axes.get_xaxis_transform(),
        )  # fmt: skip
    axes.text(
        0.497, 1.01, "chance", size=7, ha="right", va="bottom", color=INK, alpha=0.65,
        transform=axes.get_xaxis_transform(),
    )  # fmt: skip
