"""Return and cost of one agent against the cost limit that it is asked to keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlsafe_agents.evaluation.stored import StoredEvaluation
from vlsafe_agents.pages.charts import INK, canvas, legend_height, legend_of, literal, short, svg
from vlsafe_agents.report.agent_run import AgentRun
from vlsafe_agents.report.figures import spread
from vlsafe_agents.report.tables import COLUMNS, metric_cell

_SHOWN = ("return", "cost", "collision_rate")
_WIDTH = 9.0  # [inch]


@dataclass(frozen=True)
class Point:
    """An agent under one limit."""

    agent: AgentRun
    limit: float
    evaluation: StoredEvaluation


@dataclass(frozen=True)
class Frontier:
    """A chart and a table of agents under several limits."""

    svg: str
    titles: list[str]
    rows: list[tuple[str, list[str]]]


def shown(agents: Sequence[AgentRun]) -> Frontier | None:
    """What there is to show; None where no agent knows a range of limits."""
    found = points(agents)
    if not any(_has_range(point.agent) for point in found):
        return None
    titles = [column.title for column in COLUMNS if column.metric in _SHOWN]
    return Frontier(chart(found), ["Limit", *titles], [_row(point) for point in found])


def points(agents: Sequence[AgentRun]) -> list[Point]:
    """Agents for a range of limits under each limit that they drove under, and those for one.

    Only what drove the same environment on the same seeds as the first of them; nobody behind a
    shield.
    """
    found: list[Point] = []
    for agent in agents:
        if agent.shielded:
            continue
        own = [agent.evaluation] if agent.evaluation is not None else []
        by_limit: dict[float, Point] = {}
        for evaluation in (*own, *agent.at_limits):
            limit = evaluation.cost_limit if _has_range(agent) else _one_limit(agent)
            if limit is not None:
                by_limit.setdefault(limit, Point(agent, limit, evaluation))
        found += [by_limit[limit] for limit in sorted(by_limit)]
    return [p for p in found if p.evaluation.differs_in(found[0].evaluation) is None]


def _has_range(agent: AgentRun) -> bool:
    """Whether it was trained for a range of limits, ``"0.5:2"`` in its settings."""
    return isinstance((agent.settings or {}).get("cost_limit"), str)


def _one_limit(agent: AgentRun) -> float | None:
    """The limit that it was trained for; None where there is none."""
    limit = (agent.settings or {}).get("cost_limit")
    if isinstance(limit, bool) or not isinstance(limit, int | float):
        return None
    return None if agent.role.key == "cost_blind" else float(limit)


def _row(point: Point) -> tuple[str, list[str]]:
    cells = [
        metric_cell(point.evaluation.summary, column)
        for column in COLUMNS
        if column.metric in _SHOWN
    ]
    texts = [f"{cell.text} ({cell.interval})" if cell.interval else cell.text for cell in cells]
    return point.agent.title, [f"{point.limit:g}", *texts]


def chart(found: Sequence[Point]) -> str:
    """Return and cost against the limit: lines of agents for a range, marks of those for one."""
    agents = list({point.agent.name: point.agent for point in found}.values())
    titles = [short(agent.title) for agent in agents]
    below = legend_height([*titles, "cost = limit"], _WIDTH)
    figure, grid = canvas(_WIDTH, 2.7 + below, columns=2, below=below)
    for axes, metric in zip(grid, ("return", "cost"), strict=True):
        for agent, title in zip(agents, titles, strict=True):
            own = [point for point in found if point.agent is agent]
            _draw(axes, metric, own, agent.colour, literal(title), _has_range(agent))
        axes.set_xlabel("Limit on the cost of an episode")
        axes.set_ylabel(f"{metric.capitalize()} of an episode")
    limits = sorted(point.limit for point in found)
    ends = [limits[0], limits[-1]]
    grid[1].plot(ends, ends, ":", color=INK, alpha=0.6, lw=1.0, label="cost = limit")
    legend_of(figure, grid[1], (0.06, 0.0), ncols=2)
    return svg(figure, "frontier")


def _draw(
    axes: Any, metric: str, own: Sequence[Point], colour: str, title: str, joined: bool
) -> None:
    entries = [(p.limit, p.evaluation.summary[metric]) for p in own]
    known = [(limit, e) for limit, e in entries if e["mean"] is not None]
    if not known:
        return
    axes.errorbar(
        [limit for limit, _ in known],
        [e["mean"] for _, e in known],
        yerr=np.transpose([spread(e) for _, e in known]),
        fmt="o-" if joined else "s",
        color=colour,
        markersize=5,
        elinewidth=1.2,
        label=title,
    )
