"""What a report shows of an agent's foresight: a chart, a sentence and a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlsafe_agents.evaluation.resampling import Estimate
from vlsafe_agents.foresight import Foresight, words
from vlsafe_agents.foresight.measure import SHARES
from vlsafe_agents.pages.charts import INK, PALETTE, canvas, legend, legend_height, literal, svg
from vlsafe_agents.report.run_folder import AgentRun

_RULE = f"safest {100 * SHARES[0]:g}%"  # that is drawn
_DASHES, _MARKS = ("-", "--", ":", "-."), ("o", "D", "s", "^")  # of traffic
_WIDTH = 11.0  # [inch]


@dataclass(frozen=True)
class Shown:
    """The foresight of one agent."""

    agent: AgentRun
    svg: str
    sentence: str
    about: str  # what the table is of
    titles: list[str]
    rows: list[tuple[str, list[str]]]


def shown(agent: AgentRun) -> Shown | None:
    """What there is to show; None where nothing has been measured."""
    found = agent.foresight
    if found is None:
        return None
    titles, rows = words.safe_rows(found)
    _, aurocs = words.auroc_rows(found)
    place = words.main_horizon(found)
    by_signal = {(row[0], row[1]): row[2 + place] for row in aurocs}
    cells = [
        (f"{name}, {traffic}", [by_signal.get((traffic, name), words.NONE), *rates])
        for traffic, name, *rates in rows
    ]
    horizon = f"{found.horizons[place]:g} s"
    about = (
        f"A crash within {horizon}: AUROC of each signal, and how often it came after decisions "
        "that the signal calls safe"
    )
    return Shown(
        agent, chart(found, agent.name), words.sentence(found), about, ["AUROC", *titles[2:]], cells
    )


def chart(found: Foresight, name: str) -> str:
    """AUROC by horizon, and crashes where each signal says "safe", in each traffic."""
    signals = [signal.name for signal in found.traffics[0].measured.signals]
    titles = [traffic.title for traffic in found.traffics]
    below = legend_height([*signals, *titles], _WIDTH)
    height = 3.0 + below
    figure, (left, right) = canvas(_WIDTH, height, columns=2, top=0.3, below=below)
    figure.subplots_adjust(wspace=0.3)
    _draw_auroc(left, found)
    _draw_crashes(right, found)
    from matplotlib.lines import Line2D

    colours = [
        Line2D([], [], color=_colour(place), label=literal(signal))
        for place, signal in enumerate(signals)
    ]
    styles = [
        Line2D([], [], color=INK, ls=_of(_DASHES, i), marker=_of(_MARKS, i), ms=4.5, label=title)
        for i, title in enumerate(titles)
    ]
    legend(figure, [*colours, *styles])
    return svg(figure, f"foresight-{name}")


def _draw_auroc(axes: Any, found: Foresight) -> None:
    places = np.arange(len(found.horizons), dtype=float)
    count = max(1, sum(len(traffic.measured.signals) for traffic in found.traffics))
    drawn = 0
    for number, traffic in enumerate(found.traffics):
        for place, signal in enumerate(traffic.measured.signals):
            shift = 0.3 * (drawn / count - 0.5)  # so that intervals do not hide each other
            drawn += 1
            values = np.array([estimate.value for estimate in signal.auroc])
            axes.errorbar(
                places + shift,
                values,
                yerr=_reach(signal.auroc, 1.0),
                color=_colour(place),
                ls=_of(_DASHES, number),
                marker=_of(_MARKS, number),
                markersize=4,
                lw=1.2,
                elinewidth=0.8,
            )
    axes.axhline(0.5, color=INK, lw=0.9, alpha=0.5)
    axes.set_xticks(places, [f"{horizon:g} s" for horizon in found.horizons])
    axes.set_xlim(-0.3, len(places) - 0.7)
    axes.set_xlabel("a crash comes within")
    axes.set_ylabel("AUROC")
    axes.set_ylim(min(0.45, axes.get_ylim()[0]), 1.02)
    axes.set_title("How well a signal orders decisions", size=10, loc="left", color=INK)


def _draw_crashes(axes: Any, found: Foresight) -> None:
    where = words.main_horizon(found)
    names = [signal.name for signal in found.traffics[0].measured.signals]
    for number, traffic in enumerate(found.traffics):
        shift = 0.5 * ((number + 0.5) / len(found.traffics) - 0.5)
        for place, signal in enumerate(traffic.measured.signals):
            rate = words.safe_of(signal, _RULE).rates[where].estimate
            axes.errorbar(
                100 * rate.value,
                place + shift,
                xerr=_reach([rate], 100.0),
                color=_colour(place),
                fmt=_of(_MARKS, number),
                markersize=4.5,
                elinewidth=1.4,
            )
        base = traffic.measured.base[where].rate.estimate.value
        axes.axvline(100 * base, color=INK, lw=0.9, alpha=0.5, ls=_of(_DASHES, number))
    axes.set_yticks(range(len(names)), map(literal, names))
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(left=0.0)
    axes.grid(False, axis="y")
    axes.set_xlabel(f"crash within {found.horizons[where]:g} s [% of decisions] (lines: of all)")
    title = f"Crashes where it says “safe” ({_RULE} of recorded decisions)"
    axes.set_title(title, size=10, loc="left", color=INK)


def _reach(estimates: Sequence[Estimate], scale: float) -> Any:
    """How far intervals ``(2, n)`` reach below and above; 0 where there is none."""
    ends = [(e.value - e.low, e.high - e.value) for e in estimates]
    return scale * np.clip(np.nan_to_num(np.array(ends)), 0.0, None).T


def _colour(place: int) -> str:
    return PALETTE[place % len(PALETTE)]


def _of(styles: Sequence[str], number: int) -> str:
    return styles[number % len(styles)]
