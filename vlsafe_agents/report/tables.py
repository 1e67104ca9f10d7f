"""Tables: what is said in figures, each with its interval, on a page or in a terminal."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vlsafe_agents.evaluation.metrics import METRICS
from vlsafe_agents.pages import ABSENT
from vlsafe_agents.report.agent_run import AgentRun
from vlsafe_agents.training.facts import add

THIN_SPACE = "\u2009"  # between thousands
NOT_KNOWN = "not known"  # stands where there is one that nobody wrote down
# Of the expert's mean speed and arrivals: below it, a low collision rate is not marked.
PROGRESS_SHARE = 0.9
PROGRESS = ("mean_speed", "arrival_rate")

Summary = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Column:
    """One metric of the table of agents."""

    metric: str
    title: str
    unit: str
    show: Callable[[float], str]


@dataclass(frozen=True)
class Cell:
    """One value as text; ``interval`` is empty where there is none."""

    text: str
    interval: str = ""
    marked: bool = False


@dataclass(frozen=True)
class Row:
    """One line of a table: what the agent is, and the name of its folder."""

    label: str
    name: str
    colour: str
    cells: tuple[Cell, ...]


def percent(value: float) -> str:
    """0.041 as "4.1%"; no decimals from 10% on or for whole per cent."""
    whole = abs(100 * value - round(100 * value)) < 1e-6
    return f"{100 * value:.0f}%" if whole or value >= 0.0995 else f"{100 * value:.1f}%"


def figure(value: float) -> str:
    """A measured number with about three significant figures."""
    if not math.isfinite(value):
        return ABSENT
    decimals = 0 if abs(value) >= 99.95 else 1 if abs(value) >= 9.995 else 2
    return f"{value:,.{decimals}f}".replace(",", THIN_SPACE)


def count(value: float | None) -> str:
    """A counted number, thousands apart."""
    if value is None or not math.isfinite(value):
        return NOT_KNOWN
    return f"{round(value):,}".replace(",", THIN_SPACE)


COLUMNS = tuple(
    Column(
        name,
        metric.title,
        "share of episodes" if metric.kind == "share" else metric.unit,
        percent if metric.in_percent else figure,
    )
    for name, metric in METRICS.items()
    if metric.title
)
NARROW = tuple(name for name, metric in METRICS.items() if metric.narrow)


def columns_of(summaries: Sequence[Summary], metrics: Sequence[str] | None = None) -> list[Column]:
    """The columns that have any value; collisions always, as not knowing them is worth saying."""
    return [
        column
        for column in COLUMNS
        if (metrics is None or column.metric in metrics)
        and (
            column.metric == "collision_rate"
            or any(summary[column.metric]["mean"] is not None for summary in summaries)
        )
    ]


def metric_cell(summary: Summary, column: Column, marked: bool = False) -> Cell:
    """A metric with its interval."""
    entry = summary[column.metric]
    if entry["mean"] is None:
        return Cell(ABSENT if _cannot_be(column.metric, summary) else NOT_KNOWN)
    return Cell(column.show(entry["mean"]), interval(entry, column.show), marked)


def interval(entry: Mapping[str, Any], show: Callable[[float], str]) -> str:
    """``"1% to 12%"``; empty where there is none."""
    low, high = entry["low"], entry["high"]
    return "" if low is None or high is None else f"{show(low)} to {show(high)}"


def _cannot_be(metric: str, summary: Summary) -> bool:
    """Whether there is nothing to know: no speed of a collision that did not happen, no shield."""
    if metric == "replaced":
        return True  # or else there would have been a shield
    needed = {"collision_speed": "collision_rate", "collisions_per_km": "distance"}
    return metric in needed and summary[needed[metric]]["mean"] == 0.0


def results_table(agents: Sequence[AgentRun]) -> tuple[list[Column], list[Row]]:
    """The table of evaluated agents; columns without any value are left out.

    Marked are the fewest collisions, see :func:`safest`.
    """
    shown = [(a, a.evaluation.summary) for a in agents if a.evaluation is not None]
    columns = columns_of([summary for _, summary in shown])
    best = safest([agent for agent, _ in shown])
    rows = []
    for agent, summary in shown:
        cells = [
            metric_cell(summary, c, marked=c.metric == "collision_rate" and agent.name in best)
            for c in columns
        ]
        rows.append(_row(agent, cells))
    return columns, rows


def _row(agent: AgentRun, cells: Sequence[Cell]) -> Row:
    return Row(agent.role.explained, agent.name, agent.colour, tuple(cells))


def narrow_title(column: Column) -> str:
    """A column's title in a terminal."""
    return f"{column.title} [{column.unit}]" if column.unit == "m/s" else column.title


def spaced(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """The rows with an empty line between them, as their cells have several lines."""
    between = [""] * len(rows[0]) if rows else []
    return [list(line) for row in rows for line in (row, between)][:-1]


def safest(agents: Sequence[AgentRun]) -> set[str]:
    """Names of the learners with the fewest collisions, and of those not set apart from them.

    Only among learners that drive at least ``PROGRESS_SHARE`` of the expert's mean speed and,
    where there is a goal, of its arrivals, and never without a known expert: standing still is
    safe, too, and so is leaving the route before the crossing.  Who drove elsewhere than the expert
    is not compared.  Nobody stands out where the intervals set no other such learner apart from the
    best, or where the best always collides.
    """
    expert = next((a for a in agents if a.role.key == "expert" and not a.shielded), None)
    if expert is None or expert.summary("mean_speed") is None:
        return set()
    rates = {
        agent.name: rate
        for agent in agents
        if not agent.is_driver
        and agent.drove_where(expert)
        and (rate := agent.summary("collision_rate")) is not None
        and _keeps_up(agent, expert)
    }
    best = min(rates.values(), key=lambda rate: (rate["mean"], rate["high"]), default=None)
    if best is None or best["mean"] == 1.0:
        return set()
    alike = {name for name, rate in rates.items() if not apart(best, rate)}
    return alike if len(alike) < len(rates) else set()


def apart(lower: Mapping[str, float | None], higher: Mapping[str, float | None]) -> bool:
    """Whether the first interval lies below the second; never where one is not known."""
    high, low = lower["high"], higher["low"]
    return high is not None and low is not None and high < low


def _keeps_up(agent: AgentRun, expert: AgentRun) -> bool:
    """Whether it makes nearly as much progress as is known of the expert."""
    for metric in PROGRESS:
        own, wanted = agent.mean(metric), expert.mean(metric)
        if wanted is not None and (own is None or own < PROGRESS_SHARE * wanted):
            return False
    return True


_LEARNING = (
    ("env_steps", "Steps driven"),
    ("collisions_caused", "Collisions caused"),
    ("dataset_steps", "Steps in its data"),
    ("dataset_collisions", "Collisions in its data"),
)


def learning_table(agents: Sequence[AgentRun]) -> tuple[list[str], list[Row]]:
    """What learning cost each agent that has learned, with the world model that it shares.

    Drivers that came with the environments are left out, and agents of which nothing is known.
    """
    rows = []
    for agent in agents:
        if agent.is_driver or not any(value is not None for value in agent.costs.values()):
            continue
        cells = [Cell(count(agent.training(key))) for key, _ in _LEARNING]
        if lost := agent.training("env_steps_lost"):
            cells[0] = replace(cells[0], interval=f"{count(lost)} lost to kills")
        cells.append(_with_shared(agent, "gradient_steps", count))
        cells.append(_with_shared(agent, "wall_s", time_taken))
        rows.append(_row(agent, cells))
    return [*(title for _, title in _LEARNING), "Gradient steps", "Time"], rows


def _with_shared(agent: AgentRun, key: str, show: Callable[[float | None], str]) -> Cell:
    """An agent's own costs and those of the world model that it shares, together."""
    own, shared = agent.training(key), agent.training(f"world_model_{key}")
    if agent.world_model is None and not shared:
        return Cell(show(own))
    return Cell(show(add(own, shared)), f"{show(own)} + {show(shared)} shared")


def time_taken(seconds: float | None) -> str:
    """A time [s] in the unit that suits it."""
    if seconds is None:
        return NOT_KNOWN
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"


def scorer_table(figures: Any) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Titles and rows of the held-out figures of scorers.

    ``scorer.json`` is ``{scorer: {figure: number or {"mean", "low", "high"}}}``, the same under a
    key ``"auroc"``, or a list of flat objects.  Anything else gives an empty table.
    """
    if isinstance(figures, dict) and isinstance(figures.get("auroc"), dict):
        figures = figures["auroc"]
    if isinstance(figures, list):
        flat = [row for row in figures if isinstance(row, dict)]
        figures = {str(row.get("scorer", i)): _without(row, "scorer") for i, row in enumerate(flat)}
    if not isinstance(figures, dict):
        return [], []
    scorers = {str(name): row for name, row in figures.items() if isinstance(row, dict)}
    titles: list[str] = []
    for row in scorers.values():
        titles.extend(t for t, value in row.items() if t not in titles and not _is_bands(value))
    rows = [(name, [_scorer_cell(row.get(t)) for t in titles]) for name, row in scorers.items()]
    return titles, rows


def scorer_bands(figures: Any) -> list[tuple[str, list[str], list[tuple[str, list[str]]]]]:
    """Further tables (caption, titles, rows): figures that scorers have for several bands."""
    if not isinstance(figures, dict):
        return []
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for scorer, row in figures.items():
        for name, value in row.items() if isinstance(row, dict) else ():
            if _is_bands(value):
                found.setdefault(str(name), {})[str(scorer)] = value
    tables = []
    for name, by_scorer in found.items():
        titles = list(dict.fromkeys(title for bands in by_scorer.values() for title in bands))
        rows = [(k, [_scorer_cell(bands.get(t)) for t in titles]) for k, bands in by_scorer.items()]
        tables.append((name, titles, rows))
    return tables


def _is_bands(value: Any) -> bool:
    return isinstance(value, dict) and "mean" not in value


def _without(row: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != key}


def _scorer_cell(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return NOT_KNOWN if value is None else str(value)
    if isinstance(value, int | float):
        return f"{value:.3f}" if isinstance(value, float) else f"{value:,}".replace(",", THIN_SPACE)
    if isinstance(value, dict) and isinstance(value.get("mean"), int | float):
        text = f"{value['mean']:.3f}"
        if isinstance(value.get("low"), float) and isinstance(value.get("high"), float):
            text += f" ({value['low']:.3f} to {value['high']:.3f})"
        return text
    if isinstance(value, list):
        return ", ".join(_scorer_cell(entry) for entry in value)
    return str(value)
