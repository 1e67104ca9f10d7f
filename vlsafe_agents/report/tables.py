"""Tables and the headline: what is said in figures, each with its interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from vlsafe_agents.report.run_folder import AgentRun

THIN_SPACE = "\u2009"  # between thousands
ABSENT = "\u2013"  # stands where there is no value
# Of the expert's mean speed and arrivals: below it, a low collision rate is not marked.
PROGRESS_SHARE = 0.9
PROGRESS = ("mean_speed", "arrival_rate")


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
    """One line of a table."""

    label: str
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


def count(value: float) -> str:
    """A counted number, thousands apart."""
    return f"{round(value):,}".replace(",", THIN_SPACE) if math.isfinite(value) else ABSENT


# The collision rate never stands without what it was bought with: speed and distance beside it.
COLUMNS = (
    Column("collision_rate", "Collisions", "share of episodes", percent),
    Column("mean_speed", "Mean speed", "m/s", figure),
    Column("distance", "Distance", "m an episode", figure),
    Column("arrival_rate", "Arrivals", "share of episodes", percent),
    Column("off_route_rate", "Off the route", "share of episodes", percent),
    Column("waypoint_completion", "Waypoints", "completed", figure),
    Column("off_road_rate", "Off the road", "share of episodes", percent),
    Column("return", "Return", "an episode", figure),
    Column("env_cost", "Cost, truth", "an episode", figure),
    Column("vlm_cost", "Cost, judge", "an episode", figure),
    Column("collisions_per_km", "Collisions", "per km", figure),
    Column("collision_speed", "Collision speed", "m/s", figure),
)

_LEARNING = (
    ("env_steps", "Steps driven"),
    ("collisions_caused", "Collisions caused"),
    ("dataset_steps", "Steps in its data"),
    ("dataset_collisions", "Collisions in its data"),
    ("gradient_steps", "Gradient steps"),
)


def results_table(agents: Sequence[AgentRun]) -> tuple[list[Column], list[Row]]:
    """The table of evaluated agents; columns without any value are left out.

    The lowest collision rate is marked only among agents that drive at least ``PROGRESS_SHARE`` of
    the expert's mean speed and, where there is a goal, of its arrivals, and never without a known
    expert: standing still is safe, too, and so is leaving the route before the crossing.
    """
    shown = [a for a in agents if a.evaluation is not None]
    columns = [c for c in COLUMNS if any(a.summary(c.metric) for a in shown)]
    best = _safest(shown)
    rows = []
    for agent in shown:
        cells = [
            _cell(agent, c, marked=c.metric == "collision_rate" and agent.name in best)
            for c in columns
        ]
        rows.append(Row(agent.label, agent.colour, tuple(cells)))
    return columns, rows


def _cell(agent: AgentRun, column: Column, marked: bool) -> Cell:
    value = agent.summary(column.metric)
    if value is None:
        return Cell(ABSENT)
    low, high = column.show(value["low"]), column.show(value["high"])
    return Cell(column.show(value["mean"]), f"{low} to {high}", marked)


def _keeps_up(agent: AgentRun, expert: AgentRun) -> bool:
    """Whether it makes nearly as much progress as is known of the expert."""
    for metric in PROGRESS:
        own, wanted = agent.summary(metric), expert.summary(metric)
        if wanted and (own is None or own["mean"] < PROGRESS_SHARE * wanted["mean"]):
            return False
    return True


def _safest(agents: Sequence[AgentRun]) -> set[str]:
    expert = next((a for a in agents if a.is_expert), None)
    if expert is None or expert.summary("mean_speed") is None:
        return set()
    rates = {}
    for agent in agents:
        rate = agent.summary("collision_rate")
        if _keeps_up(agent, expert) and rate is not None and not agent.is_expert:
            rates[agent.name] = rate["mean"]
    lowest = min(rates.values(), default=None)
    return {name for name, rate in rates.items() if rate == lowest}


def learning_table(agents: Sequence[AgentRun]) -> tuple[list[str], list[Row]]:
    """What learning cost each agent that learned; rule-based drivers are left out."""
    rows = []
    for agent in agents:
        values = [agent.training(key) for key, _ in _LEARNING]
        if agent.is_expert or not any(values):
            continue
        cells = [Cell(ABSENT if v is None else count(v)) for v in values]
        seconds = agent.training("wall_s")
        cells.append(Cell(ABSENT if not seconds else _duration(seconds)))
        rows.append(Row(agent.label, agent.colour, tuple(cells)))
    return [title for _, title in _LEARNING] + ["Time"], rows


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"


def headline(agents: Sequence[AgentRun]) -> list[str]:
    """Sentences that say how the agents taught in imagination compare with PPO-Lag.

    They are computed from the evaluation and say so when it went the other way.
    """
    ours = [a for a in agents if a.is_vlsafe and a.summary("collision_rate")]
    rival = next((a for a in agents if a.is_ppo_lag and a.summary("collision_rate")), None)
    if not ours and rival is None:
        return ["No agent of interest has been evaluated in this run yet."]
    parts = [_drives(a) for a in [*ours, *([rival] if rival else [])]]
    sentences = ["; ".join(parts) + "."]
    if ours and rival is not None:
        sentences.append(_verdict(ours, rival))
        sentences.extend(_arrivals_compared(ours, rival))
    sentences.extend(_learning_sentences(ours, rival))
    return sentences


def _drives(agent: AgentRun) -> str:
    rate, speed = agent.summary("collision_rate"), agent.summary("mean_speed")
    arrival = agent.summary("arrival_rate")
    assert rate is not None
    pace = f" at {figure(speed['mean'])} m/s" if speed else ""
    goal = f" and arrived in {percent(arrival['mean'])}" if arrival else ""
    share = f"{percent(rate['mean'])} of {agent.episode_count} episodes"
    return f"{agent.label} collided in {share}{pace}{goal}"


def _verdict(ours: Sequence[AgentRun], rival: AgentRun) -> str:
    other = rival.summary("collision_rate")
    assert other is not None
    rates = [r for a in ours if (r := a.summary("collision_rate"))]
    if all(r["high"] < other["low"] for r in rates):
        return "Fewer collisions than PPO-Lag, and the 95% intervals do not overlap."
    if all(r["mean"] < other["mean"] for r in rates):
        return "Fewer collisions than PPO-Lag, but the 95% intervals overlap: a tendency, no proof."
    if any(r["mean"] < other["mean"] for r in rates):
        return "Only some of our policies collided less often than PPO-Lag."
    return "Here PPO-Lag collided no more often than our policies did."


def _arrivals_compared(ours: Sequence[AgentRun], rival: AgentRun) -> list[str]:
    """Who arrived less often, where no interval leaves a doubt: a collision rate alone flatters."""
    rates, other = [a.summary("arrival_rate") for a in ours], rival.summary("arrival_rate")
    known = [rate for rate in rates if rate]
    if other is None or not known:
        return []
    if all(rate["low"] > other["high"] for rate in known):
        return ["PPO-Lag arrived less often."]
    if all(rate["high"] < other["low"] for rate in known):
        return ["Our policies arrived less often."]
    return []


def _learning_sentences(ours: Sequence[AgentRun], rival: AgentRun | None) -> list[str]:
    sentences = []
    if rival is not None and (caused := rival.training("collisions_caused")) is not None:
        sentences.append(f"PPO-Lag caused {count(caused)} collisions while it learned.")
    learned = [a.training("collisions_caused") for a in ours]
    if ours and all(caused == 0 for caused in learned):
        inherited = ours[0].training("dataset_collisions")
        has = "" if inherited is None else f"; the data it learned from hold {count(inherited)}"
        sentences.append(f"VLSafe caused none{has}.")
    elif any(learned):
        sentences.append(f"VLSafe caused {count(sum(c or 0 for c in learned))} while it learned.")
    return sentences


def judge_table(judge: Any) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Titles and rows of the judge's held-out figures.

    ``judge.json`` is ``{scorer: {figure: number or {"mean", "low", "high"}}}``, the same under a
    key ``"auroc"``, or a list of flat objects.  Anything else gives an empty table.
    """
    if isinstance(judge, dict) and isinstance(judge.get("auroc"), dict):
        judge = judge["auroc"]
    if isinstance(judge, list):
        flat = [row for row in judge if isinstance(row, dict)]
        judge = {str(row.get("scorer", i)): _without(row, "scorer") for i, row in enumerate(flat)}
    if not isinstance(judge, dict):
        return [], []
    scorers = {str(name): row for name, row in judge.items() if isinstance(row, dict)}
    titles: list[str] = []
    for row in scorers.values():
        titles.extend(t for t, value in row.items() if t not in titles and not _is_bands(value))
    rows = [(name, [_judge_cell(row.get(t)) for t in titles]) for name, row in scorers.items()]
    return titles, rows


def judge_bands(judge: Any) -> list[tuple[str, list[str], list[tuple[str, list[str]]]]]:
    """Further tables (caption, titles, rows): figures that the judge gives for several bands."""
    if not isinstance(judge, dict):
        return []
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for scorer, row in judge.items():
        for name, value in row.items() if isinstance(row, dict) else ():
            if _is_bands(value):
                found.setdefault(str(name), {})[str(scorer)] = value
    tables = []
    for name, by_scorer in found.items():
        titles = list(dict.fromkeys(title for bands in by_scorer.values() for title in bands))
        rows = [(k, [_judge_cell(bands.get(t)) for t in titles]) for k, bands in by_scorer.items()]
        tables.append((name, titles, rows))
    return tables


def _is_bands(value: Any) -> bool:
    return isinstance(value, dict) and "mean" not in value


def _without(row: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != key}


def _judge_cell(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return ABSENT if value is None else str(value)
    if isinstance(value, int | float):
        return f"{value:.3f}" if isinstance(value, float) else f"{value:,}".replace(",", THIN_SPACE)
    if isinstance(value, dict) and isinstance(value.get("mean"), int | float):
        text = f"{value['mean']:.3f}"
        if isinstance(value.get("low"), float) and isinstance(value.get("high"), float):
            text += f" ({value['low']:.3f} to {value['high']:.3f})"
        return text
    if isinstance(value, list):
        return ", ".join(_judge_cell(entry) for entry in value)
    return str(value)
