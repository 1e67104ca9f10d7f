"""Charts as inline SVG that takes its text colour and font from the page, light or dark."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vlsafe_agents.report.run_folder import AgentRun, Arrays, Columns

INK = "#010203"  # stands for the page's text colour until the SVG is written
_MAX_LINES = 6  # in a panel
_TTC_SHOWN = 10.0  # [s], longer times to collision are drawn here

# Panels of learning curves: title and the logged keys that belong there.
_PANELS = (
    ("Return", r"(ep_rew_mean|mean_reward|(^|/)(?!cost)\w*return(_mean)?)$"),
    ("Cost", r"(ep_cost_mean|mean_cost|(^|/)\w*cost_return|^data/cost)$"),
    ("Multiplier, p, gate", r"(lagrange_multiplier|^imagined/(safety_score|gate))$"),
    ("Losses", r"^(train|validation)/(?!policy_gradient|actor)\w*loss$"),
)
_ONE_QUANTITY = ("Return", "Cost")  # panels whose lines differ in where they come from only
_LINE_COLOURS = (
    "#3b82d6", "#d9822b", "#1f9d8a", "#a371c9", "#c75d5d", "#a88b4c",
    "#6a8f3c", "#b85c9e", "#5fa8d3", "#7d8590", "#c9a227", "#3c8d93",
)  # fmt: skip
_STYLES = {"imagined": "--", "validation": ":", "eval": ":"}  # by what a key begins with
_MULTIPLIER = r"lagrange_multiplier$"
_CLIMB = 0.05  # of the last value, in the last quarter of training

LineColours = dict[tuple[str, str], str]  # by panel and quantity


def tradeoff_chart(agents: Sequence[AgentRun]) -> str | None:
    """Collision rate against mean speed, one point with intervals for each agent."""
    points = [(a, a.mean("mean_speed"), a.mean("collision_rate")) for a in agents]
    known = [(a, s, r) for a, s, r in points if s is not None and r is not None]
    if not known:
        return None
    titles = [shortened(agent.title) for agent, _, _ in known]
    side_by_side = 2 if max(map(len, titles)) <= 40 else 1  # in the legend
    below = 0.18 * -(-len(known) // side_by_side) + 0.1  # [inch]
    figure, axes = canvas(7.2, 3.1 + below, below=below)
    for (agent, speed, rate), title in zip(known, titles, strict=True):
        axes.errorbar(
            speed,
            100 * rate,
            xerr=_spread(agent.summary("mean_speed"), 1.0),
            yerr=_spread(agent.summary("collision_rate"), 100.0),
            fmt="o",
            color=agent.colour,
            markersize=7,
            elinewidth=1.4,
            label=literal(title),
        )
    axes.set_xlabel("Mean speed [m/s]")
    axes.set_ylabel("Episodes with a collision [%]")
    top = max(10.0, axes.get_ylim()[1])
    axes.set_ylim(-0.03 * top, top)
    figure.legend(
        *axes.get_legend_handles_labels(), loc="lower left", ncols=side_by_side, frameon=False,
        fontsize=8.5, labelcolor=INK, bbox_to_anchor=(0.06, 0.0), borderaxespad=0.0,
    )  # fmt: skip
    return svg(figure, "tradeoff")


def shortened(text: str, most: int = 80) -> str:
    """What a chart has room for of a name."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _spread(value: Mapping[str, float | None] | None, scale: float) -> list[list[float]]:
    """How far an interval reaches below and above; nowhere where there is none."""
    mean, low, high = ((value or {}).get(key) for key in ("mean", "low", "high"))
    if mean is None or low is None or high is None:
        return [[0.0], [0.0]]
    return [[scale * max(0.0, mean - low)], [scale * max(0.0, high - mean)]]


def line_colours(logs: Sequence[Columns]) -> LineColours:
    """A colour for each quantity in each panel, the same for all agents."""
    found: LineColours = {}
    for title, pattern in _PANELS:
        names = {_quantity(title, k) for log in logs for k in log if re.search(pattern, k)}
        for place, name in enumerate(sorted(names)):
            found[title, name] = _LINE_COLOURS[place % len(_LINE_COLOURS)]
    return found


def _quantity(panel: str, key: str) -> str:
    return panel if panel in _ONE_QUANTITY else key.rpartition("/")[2]


def learning_curves(agent: AgentRun, colours: LineColours) -> str | None:
    """What an agent logged while it learned; None when there is nothing to draw."""
    steps = agent.progress.get("time/total_timesteps")
    panels = []
    for title, pattern in _PANELS:
        keys = [k for k in agent.progress if re.search(pattern, k) and _drawable(agent, k)]
        if keys:
            panels.append((title, keys[:_MAX_LINES]))
    if not panels:
        return None
    below = 0.16 * max(len(keys) for _, keys in panels) + 0.12  # [inch], for legends
    # one scale for all agents
    figure, grid = canvas(12.0, 2.5 + below, top=0.3, columns=len(_PANELS), below=below)
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    for axes, (title, keys) in zip(grid, panels, strict=False):
        for key in keys:
            values = agent.progress[key]
            known = np.isfinite(values)
            x = np.arange(len(values), dtype=float) if steps is None else steps
            known &= np.isfinite(x)
            style = _STYLES.get(key.partition("/")[0], "-")
            label = key.removeprefix("rollout/").removeprefix("train/")
            colour = colours[title, _quantity(title, key)]
            axes.plot(x[known], values[known], style, color=colour, label=literal(label))
        if title == "Losses" and _spans_decades([agent.progress[key] for key in keys]):
            axes.set_yscale("log")
            axes.yaxis.set_minor_formatter("")
        else:
            axes.yaxis.get_major_formatter().set_powerlimits((-3, 4))
        axes.set_title(title, size=10, loc="left", color=INK)
        axes.set_xlabel("log entry" if steps is None else _unit_of_steps(agent))
        axes.xaxis.get_major_formatter().set_powerlimits((-3, 4))
        axes.yaxis.get_offset_text().set_x(-0.12)
        place = axes.get_position()
        figure.legend(
            *axes.get_legend_handles_labels(), loc="upper left", frameon=False, fontsize=7,
            labelcolor=INK, bbox_to_anchor=(place.x0 - 0.01, below / (2.5 + below)),
            borderaxespad=0.0, labelspacing=0.25,
        )  # fmt: skip
    return svg(figure, f"learning-{agent.name}")


def _spans_decades(lines: Sequence[npt.NDArray[np.float64]]) -> bool:
    """Whether a logarithmic axis shows more, and has at least two labels."""
    low = min(float(np.nanmin(line)) for line in lines)
    return 0.0 < 100.0 * low <= max(float(np.nanmax(line)) for line in lines)


def still_climbing(log: Columns) -> str:
    """A sentence about a multiplier that had not settled when training ended; else empty."""
    for key, values in log.items():
        if re.search(_MULTIPLIER, key):
            known = values[np.isfinite(values)]
            if len(known) < 4:
                return ""
            few = max(1, len(known) // 20)  # entries, as logs are noisy
            before = known[: -(len(known) // 4)][-few:].mean()
            last = known[-few:].mean()
            if last > 0 and last - before > _CLIMB * last:
                return (
                    f"The Lagrange multiplier still climbs: from {before:.3g} to {last:.3g} over "
                    "the last quarter of the log. Training ended before it had settled."
                )
    return ""


def _drawable(agent: AgentRun, key: str) -> bool:
    return int(np.isfinite(agent.progress[key]).sum()) >= 2


def _unit_of_steps(agent: AgentRun) -> str:
    offline = agent.training("env_steps") == 0
    return "gradient updates" if offline else "timesteps"


def open_loop_chart(arrays: Arrays, name: str) -> str | None:
    """Pixel error of the dream beside that of repeating the last seen frame."""
    lines = (
        ("pixel_error", "dream", "#3b82d6"),
        ("repeat_last_error", "repeating the last frame", "#d9822b"),
    )
    known = [(np.ravel(arrays[k]), label, c) for k, label, c in lines if k in arrays]
    if not known:
        return None
    figure, axes = canvas(7.2, 2.5, below=0.22)
    for values, label, colour in known:
        axes.plot(values, color=colour, label=label)
    if "context" in arrays:
        axes.axvspan(-0.5, float(arrays["context"]) - 0.5, color=INK, alpha=0.07, lw=0)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("step (shaded: frames that the model saw)")
    axes.set_ylabel("pixel error")
    figure.legend(
        *axes.get_legend_handles_labels(), loc="lower left", ncols=2, frameon=False, fontsize=8,
        labelcolor=INK, bbox_to_anchor=(0.06, 0.0), borderaxespad=0.0,
    )  # fmt: skip
    return svg(figure, f"open-loop-{name}")


def episode_chart(arrays: Arrays, name: str) -> str | None:
    """P over time above the simulator's time-to-collision and the speed.

    The plot spans 17% to 97% of the width, so that a page can lay a cursor over it.
    """
    rows = [
        ("safety_score", "p", "#3b82d6", (-0.05, 1.05)),
        ("time_to_collision", "TTC [s]", "#d9822b", (-0.5, _TTC_SHOWN + 0.5)),
        ("speed", "v [m/s]", "#7d8590", None),
    ]
    rows = [row for row in rows if row[0] in arrays and _any_number(arrays[row[0]])]
    if not rows:
        return None
    figure, grid = canvas(3.7, 0.55 + 0.85 * len(rows), rows=len(rows), sharex=True)
    figure.subplots_adjust(left=0.17, right=0.97)
    for axes, (key, label, colour, limits) in zip(np.atleast_1d(grid), rows, strict=True):
        values = np.asarray(arrays[key], np.float64)
        if key == "time_to_collision":
            values = np.where(np.isnan(values), np.nan, np.minimum(values, _TTC_SHOWN))
        axes.plot(values, color=colour)
        if key == "safety_score":
            axes.axhline(0.5, color=INK, lw=0.6, alpha=0.4, ls=":")
        axes.set_ylabel(label, size=7.5)
        axes.set_xlim(0, max(1, len(values) - 1))
        if limits is not None:
            axes.set_ylim(*limits)
    last = np.atleast_1d(grid)[-1]
    last.set_xlabel("step")
    last.xaxis.get_major_locator().set_params(integer=True)
    return svg(figure, f"episode-{name}")


def _any_number(values: npt.NDArray[Any]) -> bool:
    return bool(np.size(values)) and not bool(np.isnan(np.asarray(values, np.float64)).all())


def canvas(
    width: float,
    height: float,
    rows: int = 1,
    columns: int = 1,
    sharex: bool = False,
    top: float = 0.08,
    right: float = 0.1,
    below: float = 0.0,
) -> tuple[Any, Any]:
    """A transparent figure without pyplot's global state, and its axes; sizes in inches.

    Margins are fixed: automatic layout takes longer than drawing.  ``below`` is room for a legend
    under the labels of the axes.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    axes = figure.subplots(rows, columns, sharex=sharex)
    figure.subplots_adjust(
        left=0.6 / width,
        right=1 - right / width,
        bottom=(0.45 + below) / height,
        top=1 - top / height,
        hspace=0.18,
        wspace=0.24,
    )
    figure.patch.set_alpha(0.0)
    for one in np.ravel(np.atleast_1d(axes)):
        one.patch.set_alpha(0.0)
        one.spines[["top", "right"]].set_visible(False)
        one.spines[["left", "bottom"]].set_color(INK)
        one.spines[["left", "bottom"]].set_alpha(0.35)
        one.tick_params(colors=INK, labelsize=8, width=0.6)
        one.xaxis.label.set(color=INK, size=8.5)
        one.yaxis.label.set(color=INK, size=8.5)
        one.grid(True, color=INK, alpha=0.10, lw=0.6)
        one.set_axisbelow(True)
    return figure, axes


def literal(text: str) -> str:
    """Text that a chart shows as it is: no formula, and no label that a legend leaves out."""
    escaped = text.replace("$", r"\$")
    return f"\u200b{escaped}" if escaped.startswith("_") else escaped


def svg(figure: Any, name: str) -> str:
    """SVG text to put into a page: no prolog, ids unique to ``name``, ink as ``currentColor``."""
    from matplotlib import rc_context

    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # two names may differ in other signs only
    prefix = re.sub(r"[^a-zA-Z0-9]+", "-", name) + f"-{zlib.crc32(name.encode()):08x}"
    return re.sub(r"<[^>]*>", lambda tag: _in_page(tag[0], prefix), text)


def _in_page(tag: str, prefix: str) -> str:
    """A tag of a chart as the page needs it; what stands between tags is left alone."""
    if tag.startswith("<svg"):
        tag = re.sub(r' (width|height)="[^"]*"', "", tag)
        tag = tag.replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1)
    tag = re.sub(r'\bid="', f'id="{prefix}-', tag)
    tag = re.sub(r'(xlink:href=")#', rf"\1#{prefix}-", tag)
    tag = tag.replace("url(#", f"url(#{prefix}-")
    tag = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", tag)
    return tag.replace(INK, "currentColor")
