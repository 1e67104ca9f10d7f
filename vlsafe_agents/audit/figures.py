"""The charts of an audit: figures with intervals, distributions of scores, warnings, agreement.

A colour is one scorer's in all charts; questions are told apart by marks and dashes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from vlsafe_agents.audit.examine import APPROACH, MAIN
from vlsafe_agents.audit.results import (
    GOOD_FROM,
    USABLE_FROM,
    Audit,
    Control,
    PromptResult,
    ScorerAudit,
)
from vlsafe_agents.evaluation.resampling import Estimate
from vlsafe_agents.pages import decimal
from vlsafe_agents.pages.charts import (
    INK,
    PALETTE,
    canvas,
    legend,
    legend_height,
    literal,
    readable_on,
    short,
    shortened,
)

_PER_ROW = 4  # small charts side by side
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
    """A colour for each scorer."""
    return {
        scorer.name: PALETTE[place % len(PALETTE)] for place, scorer in enumerate(audit.scorers)
    }


def overview(audit: Audit) -> Any:
    """AUROC of every scorer on the two main questions."""
    series = _main_questions(audit.scorers, list(colours(audit).values()))
    return dot_plot([scorer.name for scorer in audit.scorers], series)


def _main_questions(
    rows: Sequence[ScorerAudit] | Sequence[PromptResult] | Sequence[Control],
    colour: str | Sequence[str],
) -> list[Series]:
    """AUROC of each row on the two main questions."""
    return [
        Series(
            rows[0].answers[key].question,
            colour,
            [row.answers[key].evidence.auroc for row in rows],
            MARKS[key],
        )
        for key in MAIN
    ]


def by_group(audit: Audit, key: str) -> Any | None:
    """AUROC on each part of the frames, for one question; empty controls are left out."""
    shown = [scorer for scorer in audit.scorers if not scorer.is_empty_control]
    if not shown:
        return None
    groups = shown[0].groups
    labels: list[str] = []
    breaks: list[int] = []
    for _, members in groupby(groups, lambda group: group.kind):
        if labels:
            breaks.append(len(labels))
        labels += [group.title for group in members]
    if len(labels) < 2:
        return None
    shade = colours(audit)
    series = [
        Series(
            scorer.name,
            shade[scorer.name],
            [group.answers[key].evidence.auroc for group in scorer.groups],
        )
        for scorer in shown
    ]
    return dot_plot(labels, series, breaks)


def by_prompt(scorer: ScorerAudit, colour: str) -> Any | None:
    """AUROC with each pair of sentences, in the scorer's colour."""
    if not scorer.prompts:
        return None
    labels = [
        f"{result.pair.name}{' (turned)' if result.pair.turned_round else ''}"
        for result in scorer.prompts
    ]
    return dot_plot(labels, _main_questions(scorer.prompts, colour))


def by_control(scorer: ScorerAudit, colour: str) -> Any:
    """AUROC on changed frames and with scores dealt to other frames, in the scorer's colour."""
    labels = [control.name for control in scorer.controls]
    return dot_plot(labels, _main_questions(scorer.controls, colour))


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


def _panels(count: int, height: float = 1.5, legend: float = 0.0) -> tuple[Any, list[Any]]:
    """A grid of small charts, the places left over hidden; ``legend`` [inch] of room below."""
    columns = min(count, _PER_ROW)
    rows = -(-count // columns)
    width, gap = _width(count), 0.85  # [inch]
    tall = (height + gap) * rows + legend
    figure, grid = canvas(width, tall, rows, columns, top=0.3)
    figure.subplots_adjust(hspace=gap / height, wspace=0.28, bottom=(0.5 + legend) / tall)
    axes = list(np.ravel(np.atleast_1d(grid)))
    for one in axes[count:]:
        one.set_visible(False)
    return figure, axes[:count]


def _width(count: int) -> float:
    """Width [inch] of a grid of small charts."""
    return 1.0 + 2.75 * min(count, _PER_ROW)


def _title(axes: Any, text: str) -> None:
    axes.set_title(literal(shortened(text, 34)), size=9.5, loc="left", color=INK)


def spreads(audit: Audit) -> Any:
    """Histograms of p, calm frames (grey) against dangerous ones; one chart a scorer."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    shade = colours(audit)
    dashes = {audit.questions[key]: style for key, style in DASHES.items()}
    kinds, count = list(audit.scorers[0].spread.counts), len(audit.scorers)
    figure, panels = _panels(count, legend=legend_height(kinds, _width(count)))
    for axes, scorer in zip(panels, audit.scorers, strict=True):
        edges = scorer.spread.edges
        for name, counts in scorer.spread.counts.items():
            share = counts / max(1, counts.sum())
            if name in dashes:
                axes.stairs(share, edges, color=shade[scorer.name], lw=1.5, ls=dashes[name])
            else:
                axes.stairs(share, edges, color=INK, alpha=0.22, fill=True)
        _title(axes, scorer.name)
        axes.set_xlim(0, 1)
        axes.yaxis.set_major_formatter(_percent)
        axes.set_xlabel("p, safe to the right")
    panels[0].set_ylabel("share of frames")
    names = [name for name in kinds if name not in dashes]
    samples: list[Any] = [Patch(color=INK, alpha=0.22, label=literal(name)) for name in names]
    samples += [Line2D([], [], color=INK, ls=s, label=literal(n)) for n, s in dashes.items()]
    legend(figure, samples)
    return figure


def reliabilities(audit: Audit) -> Any:
    """How often frames with a given p turn out safe; one chart a scorer."""
    figure, panels = _panels(len(audit.scorers), height=1.8)
    shade = colours(audit)
    for axes, scorer in zip(panels, audit.scorers, strict=True):
        bins = [one for one in scorer.reliability.bins if one.frames]
        frames = np.array([one.frames for one in bins], float)
        for one, share in zip(bins, frames / max(1.0, frames.max(initial=1.0)), strict=True):
            axes.bar(one.low, 0.16 * share, 0.1, align="edge", color=INK, alpha=0.13, lw=0)
        axes.plot([0, 1], [0, 1], ":", color=INK, lw=1.0, alpha=0.6)
        mean = np.array([one.mean_score for one in bins])
        shares = [one.safe_share for one in bins]  # none where a scorer has no label
        safe = np.array([[s.value, s.low, s.high] for s in shares]).reshape(-1, 3)
        reach = np.abs(safe[:, 1:] - safe[:, :1]).T
        colour = shade[scorer.name]
        axes.errorbar(
            mean, safe[:, 0], yerr=np.nan_to_num(reach), fmt="o-", color=colour, markersize=4
        )
        _title(axes, f"{shortened(scorer.name, 22)}, ECE {scorer.reliability.error:.2f}")
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.03)
        axes.set_xlabel("p")
    panels[0].set_ylabel("share that stays safe")
    return figure


def approaches(audit: Audit) -> Any:
    """P in the seconds before a collision or departure; one chart a scorer."""
    figure, panels = _panels(len(audit.scorers))
    shade = colours(audit)
    for axes, scorer in zip(panels, audit.scorers, strict=True):
        low, middle, high = scorer.approach.T
        colour = shade[scorer.name]
        axes.fill_between(-APPROACH, low, high, color=colour, alpha=0.2, lw=0)
        axes.plot(-APPROACH, middle, "o-", color=colour, markersize=3)
        axes.axhline(scorer.warning.threshold, color=INK, lw=1.0, ls="--", alpha=0.6)
        axes.axhline(scorer.calm_median, color=INK, lw=1.2, ls=":", alpha=0.8)
        _title(axes, scorer.name)
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlabel("seconds before it happens")
        axes.set_xticks(-APPROACH[::2], [f"{t:g}" for t in APPROACH[::2]])
    panels[0].set_ylabel("p: median, quartiles")
    return figure


def lead_times(audit: Audit) -> Any:
    """Share of events that were warned of in time, by how long ahead."""
    from matplotlib.patches import Patch

    below = legend_height([scorer.name for scorer in audit.scorers], 8.2)
    figure, axes = canvas(8.2, 2.7 + below, top=0.15, below=below)
    shade = colours(audit)
    leads = list(audit.scorers[0].warned_ahead)
    step = 0.8 / len(audit.scorers)
    for number, scorer in enumerate(audit.scorers):
        found = [scorer.warned_ahead[lead] for lead in leads]
        values = np.nan_to_num([one.value for one in found])
        ends = np.nan_to_num([[one.low, one.high] for one in found])
        place = np.arange(len(leads)) - 0.4 + step * (number + 0.5)
        axes.bar(
            place,
            values,
            0.9 * step,
            yerr=np.abs(ends - values[:, None]).T,
            color=shade[scorer.name],
            ecolor=INK,
            error_kw={"elinewidth": 0.9, "alpha": 0.6},
        )
    chance = audit.config.false_alarm_rate
    axes.axhline(chance, color=INK, lw=0.9, ls=":", alpha=0.7)
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(_percent)
    axes.set_xticks(range(len(leads)), [f"{lead} s or more ahead" for lead in leads])
    axes.set_ylabel("collisions and departures")
    if below:
        legend(figure, [Patch(color=c, label=literal(short(n))) for n, c in shade.items()])
    return figure


def agreement(audit: Audit) -> Any | None:
    """Rank correlation above the diagonal, kappa of warnings below it."""
    names = [short(scorer.name) for scorer in audit.scorers]
    if len(names) < 2:
        return None
    places = {scorer.name: place for place, scorer in enumerate(audit.scorers)}
    table = np.full((len(names), len(names)), np.nan)
    for pair in audit.agreement:
        one, other = places[pair.first], places[pair.second]
        table[one, other], table[other, one] = pair.rank_correlation, pair.kappa
    left = 0.2 + 0.075 * max(map(len, names))
    side = 0.62 * len(names)
    width, height = left + side + 0.3, side + left
    figure, axes = canvas(width, height)
    figure.subplots_adjust(
        left=left / width, right=(left + side) / width, bottom=(left - 0.15) / height, top=0.99
    )
    shown = np.nan_to_num(table)
    cells = axes.imshow(shown, cmap="BrBG", vmin=-1, vmax=1)
    for row, column in np.ndindex(table.shape):
        text = "" if row == column else decimal(float(table[row, column]))
        colour = readable_on(cells.to_rgba(shown[row, column]))
        axes.text(column, row, text, ha="center", va="center", size=8.5, color=colour)
    axes.set_xticks(range(len(names)), map(literal, names), rotation=40, ha="right")
    axes.set_yticks(range(len(names)), map(literal, names))
    axes.tick_params(length=0)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    return figure


def _percent(value: float, _: Any = None) -> str:
    return f"{100 * value:.0f}%"
