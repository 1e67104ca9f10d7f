"""Charts of a suite: return against cost, and profiles of returns."""

from __future__ import annotations

from typing import Any

import numpy as np

from vlsafe_agents.bench.summary import SuiteResults, Task
from vlsafe_agents.evaluation.run_statistics import profile_of_episodes
from vlsafe_agents.pages.charts import (
    canvas,
    legend_height,
    legend_of,
    literal,
    short,
    svg,
    svg_file,
)
from vlsafe_agents.report.figures import draw_against, spread

_WIDTH, _COLUMNS = 9.0, 2  # [inch]
_LEVELS = 120  # thresholds of a profile


def frontier(found: SuiteResults) -> Any:
    """Return against cost, one panel a task: a figure; see :func:`drawn`."""

    def draw(axes: Any, task: Task) -> None:
        cost = "env_cost" if any(e.summary("env_cost") for e in task.entries) else "cost"
        draw_against(axes, task.entries, cost, "return")
        axes.set_xlabel("Cost of an episode" + (", truth" if cost == "env_cost" else ""))
        axes.set_ylabel("Return of an episode")

    return _panels(found, draw)


def safety(found: SuiteResults) -> Any:
    """Collisions against mean speed, one panel a task."""

    def draw(axes: Any, task: Task) -> None:
        draw_against(axes, task.entries, "mean_speed", "collision_rate")
        axes.set_xlabel("Mean speed [m/s]")
        axes.set_ylabel("Drives with a collision [%]")

    return _panels(found, draw)


def efficiency(found: SuiteResults) -> Any:
    """Collisions against the crashes that learning has caused, one panel a task."""

    def draw(axes: Any, task: Task) -> None:
        for entry in task.entries:
            rate, caused = entry.summary("collision_rate"), entry.costs("collisions_caused")
            if rate is None or not entry.has_learned or None in caused:
                continue
            counts = [float(value or 0) for value in caused]
            mean = sum(counts) / len(counts)
            axes.errorbar(
                mean,
                100 * rate["mean"],
                xerr=[[mean - min(counts)], [max(counts) - mean]],
                yerr=np.c_[spread(rate, 100.0)],
                fmt=entry.mark,
                color=entry.colour,
                markersize=7,
                elinewidth=1.4,
                label=literal(short(entry.title)),
            )
        axes.set_xscale("symlog", linthresh=1.0)  # offline agents cause none
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlim(left=-0.3)
        axes.set_xlabel("Crashes caused while learning")
        axes.set_ylabel("Drives with a collision [%]")

    return _panels(found, draw)


def profiles(found: SuiteResults) -> Any:
    """Share of drives that earn more than a return, one panel a task."""

    def draw(axes: Any, task: Task) -> None:
        returns = {
            entry.name: [
                np.array([record.episode_return for record in run.evaluation.records])
                for run in entry.runs
            ]
            for entry in task.entries
        }
        every = np.concatenate([run for runs in returns.values() for run in runs])
        levels = np.linspace(every.min(), every.max(), _LEVELS)
        for entry in task.entries:
            share, low, high = profile_of_episodes(returns[entry.name], levels)
            axes.fill_between(levels, 100 * low, 100 * high, color=entry.colour, alpha=0.15, lw=0)
            label = literal(short(entry.title))
            axes.plot(levels, 100 * share, entry.dashes, color=entry.colour, lw=1.6, label=label)
        axes.set_xlabel("Return of a drive")
        axes.set_ylabel("Drives that earn more [%]")
        axes.set_ylim(-3, 103)

    return _panels(found, draw)


def _panels(found: SuiteResults, draw: Any) -> Any:
    """One panel a task, and one legend."""
    titles = [short(found.entry(name).title) for name in found.names]
    columns = min(_COLUMNS, len(found.tasks))
    rows = -(-len(found.tasks) // columns)
    width = _WIDTH if columns > 1 else 6.0
    below = legend_height(titles, width) + 0.1
    figure, grid = canvas(width, 2.9 * rows + below, rows, columns, top=0.3, below=below)
    figure.subplots_adjust(hspace=0.42)
    panels = list(np.ravel(np.atleast_1d(grid)))
    for axes, task in zip(panels, found.tasks, strict=False):
        draw(axes, task)
        axes.set_title(literal(task.name), size=9.5, loc="left", color=axes.xaxis.label.get_color())
    for axes in panels[len(found.tasks) :]:
        axes.set_visible(False)
    most = max(panels, key=lambda axes: len(axes.get_legend_handles_labels()[0]))
    if most.get_legend_handles_labels()[0]:
        legend_of(figure, most, (0.06, 0.01), ncols=min(2, len(titles)))
    return figure


def drawn(figure: Any, name: str) -> str:
    """A figure as SVG for a page."""
    return svg(figure, f"suite-{name}")


def drawn_alone(figure: Any, name: str) -> str:
    """A figure as an SVG file by itself."""
    return svg_file(figure, f"suite-{name}")
