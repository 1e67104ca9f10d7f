"""Charts of how scores are spread, what they mean, and how they fall before an event."""

from __future__ import annotations

from typing import Any

import numpy as np

from vlsafe_agents.audit.dot_plots import DASHES, colours, legend, legend_height, short
from vlsafe_agents.audit.examine import APPROACH
from vlsafe_agents.audit.results import Audit
from vlsafe_agents.audit.verdict import ABSENT
from vlsafe_agents.report.figures import INK, canvas, literal, shortened

_PER_ROW = 4  # small charts side by side


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
    """Histograms of p, calm frames (grey) against dangerous ones; one chart a judge."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    shade = colours(audit)
    dashes = {audit.questions[key]: style for key, style in DASHES.items()}
    kinds, count = list(audit.judges[0].spread.counts), len(audit.judges)
    figure, panels = _panels(count, legend=legend_height(kinds, _width(count)))
    for axes, judge in zip(panels, audit.judges, strict=True):
        edges = judge.spread.edges
        for name, counts in judge.spread.counts.items():
            share = counts / max(1, counts.sum())
            if name in dashes:
                axes.stairs(share, edges, color=shade[judge.name], lw=1.5, ls=dashes[name])
            else:
                axes.stairs(share, edges, color=INK, alpha=0.22, fill=True)
        _title(axes, judge.name)
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
    """How often frames with a given p turn out safe; one chart a judge."""
    figure, panels = _panels(len(audit.judges), height=1.8)
    shade = colours(audit)
    for axes, judge in zip(panels, audit.judges, strict=True):
        bins = [one for one in judge.reliability.bins if one.frames]
        frames = np.array([one.frames for one in bins], float)
        for one, share in zip(bins, frames / max(1.0, frames.max(initial=1.0)), strict=True):
            axes.bar(one.low, 0.16 * share, 0.1, align="edge", color=INK, alpha=0.13, lw=0)
        axes.plot([0, 1], [0, 1], ":", color=INK, lw=1.0, alpha=0.6)
        mean = np.array([one.mean_score for one in bins])
        safe = np.array([list(vars(one.safe_share).values()) for one in bins])  # value, low, high
        reach = np.abs(safe[:, 1:] - safe[:, :1]).T
        colour = shade[judge.name]
        axes.errorbar(
            mean, safe[:, 0], yerr=np.nan_to_num(reach), fmt="o-", color=colour, markersize=4
        )
        _title(axes, f"{shortened(judge.name, 22)}, ECE {judge.reliability.error:.2f}")
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.03)
        axes.set_xlabel("p")
    panels[0].set_ylabel("share that stays safe")
    return figure


def approaches(audit: Audit) -> Any:
    """P in the seconds before a collision or departure; one chart a judge."""
    figure, panels = _panels(len(audit.judges))
    shade = colours(audit)
    for axes, judge in zip(panels, audit.judges, strict=True):
        low, middle, high = judge.approach.T
        colour = shade[judge.name]
        axes.fill_between(-APPROACH, low, high, color=colour, alpha=0.2, lw=0)
        axes.plot(-APPROACH, middle, "o-", color=colour, markersize=3)
        axes.axhline(judge.warning.threshold, color=INK, lw=1.0, ls="--", alpha=0.6)
        axes.axhline(judge.calm_median, color=INK, lw=1.2, ls=":", alpha=0.8)
        _title(axes, judge.name)
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlabel("seconds before it happens")
        axes.set_xticks(-APPROACH[::2], [f"{t:g}" for t in APPROACH[::2]])
    panels[0].set_ylabel("p: median, quartiles")
    return figure


def lead_times(audit: Audit) -> Any:
    """Share of events that were warned of in time, by how long ahead."""
    from matplotlib.patches import Patch

    below = legend_height([judge.name for judge in audit.judges], 8.2)
    figure, axes = canvas(8.2, 2.7 + below, top=0.15, below=below)
    shade = colours(audit)
    leads = list(audit.judges[0].warned_ahead)
    step = 0.8 / len(audit.judges)
    for number, judge in enumerate(audit.judges):
        found = [judge.warned_ahead[lead] for lead in leads]
        values = np.nan_to_num([one.value for one in found])
        ends = np.nan_to_num([[one.low, one.high] for one in found])
        place = np.arange(len(leads)) - 0.4 + step * (number + 0.5)
        axes.bar(
            place,
            values,
            0.9 * step,
            yerr=np.abs(ends - values[:, None]).T,
            color=shade[judge.name],
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
    names = [short(judge.name) for judge in audit.judges]
    if len(names) < 2:
        return None
    places = {judge.name: place for place, judge in enumerate(audit.judges)}
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
    axes.imshow(np.nan_to_num(table), cmap="BrBG", vmin=-1, vmax=1, alpha=0.75)
    for row, column in np.ndindex(table.shape):
        value = table[row, column]
        text = "" if row == column else ABSENT if np.isnan(value) else f"{value:.2f}"
        text = "0.00" if text == "-0.00" else text
        axes.text(column, row, text, ha="center", va="center", size=8.5, color="#16191d")
    axes.set_xticks(range(len(names)), map(literal, names), rotation=40, ha="right")
    axes.set_yticks(range(len(names)), map(literal, names))
    axes.tick_params(length=0)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    return figure


def _percent(value: float, _: Any = None) -> str:
    return f"{100 * value:.0f}%"
