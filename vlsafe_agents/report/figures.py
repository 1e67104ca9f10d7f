"""Charts as inline SVG that takes its text colour and font from the page, light or dark."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vlsafe_agents.report.run_folder import AgentRun, Arrays

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
_LINE_COLOURS = ("#3b82d6", "#d9822b", "#1f9d8a", "#a371c9", "#c75d5d", "#a88b4c")


def tradeoff_chart(agents: Sequence[AgentRun]) -> str | None:
    """Collision rate against mean speed, one point with intervals for each agent."""
    points = [(a, a.summary("mean_speed"), a.summary("collision_rate")) for a in agents]
    known = [(a, s, r) for a, s, r in points if s is not None and r is not None]
    if not known:
        return None
    figure, axes = canvas(7.2, 3.4, right=1.9)
    for agent, speed, rate in known:
        x, y = speed["mean"], 100 * rate["mean"]
        axes.errorbar(
            x,
            y,
            xerr=_spread(speed, 1.0),
            yerr=_spread(rate, 100.0),
            fmt="o",
            color=agent.colour,
            markersize=7,
            elinewidth=1.4,
            label=agent.label,
        )
    axes.set_xlabel("Mean speed [m/s]")
    axes.set_ylabel("Episodes with a collision [%]")
    top = max(10.0, axes.get_ylim()[1])
    axes.set_ylim(-0.03 * top, top)
    axes.legend(
        loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, fontsize=9, labelcolor=INK
    )
    return svg(figure, "tradeoff")


def _spread(value: dict[str, float], scale: float) -> list[list[float]]:
    below = max(0.0, value["mean"] - value["low"])
    above = max(0.0, value["high"] - value["mean"])
    return [[scale * below], [scale * above]]


def learning_curves(agent: AgentRun) -> str | None:
    """What an agent logged while it learned; None when there is nothing to draw."""
    steps = agent.progress.get("time/total_timesteps")
    panels = []
    for title, pattern in _PANELS:
        keys = [k for k in agent.progress if re.search(pattern, k) and _drawable(agent, k)]
        if keys:
            panels.append((title, keys[:_MAX_LINES]))
    if not panels:
        return None
    figure, grid = canvas(12.0, 2.6, top=0.3, columns=len(_PANELS))  # one scale for all agents
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    for axes, (title, keys) in zip(grid, panels, strict=False):
        for colour, key in zip(_LINE_COLOURS, keys, strict=False):
            values = agent.progress[key]
            known = np.isfinite(values)
            x = np.arange(len(values), dtype=float) if steps is None else steps
            known &= np.isfinite(x)
            dashed = key.startswith("imagined/")
            label = key.removeprefix("rollout/").removeprefix("train/")
            axes.plot(x[known], values[known], "--" if dashed else "-", color=colour, label=label)
        if title == "Losses" and all(np.nanmin(agent.progress[key]) > 0 for key in keys):
            axes.set_yscale("log")
        axes.set_title(title, size=10, loc="left", color=INK)
        axes.set_xlabel("log entry" if steps is None else _unit_of_steps(agent))
        axes.xaxis.get_major_formatter().set_powerlimits((-3, 4))
        axes.legend(frameon=False, fontsize=7, labelcolor=INK)
    return svg(figure, f"learning-{agent.name}")


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
    figure, axes = canvas(7.2, 2.3)
    for values, label, colour in known:
        axes.plot(values, color=colour, label=label)
    if "context" in arrays:
        axes.axvspan(-0.5, float(arrays["context"]) - 0.5, color=INK, alpha=0.07, lw=0)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("step (shaded: frames that the model saw)")
    axes.set_ylabel("pixel error")
    axes.legend(frameon=False, fontsize=8, labelcolor=INK)
    return svg(figure, f"open-loop-{name}")


def episode_chart(arrays: Arrays, name: str) -> str | None:
    """p over time above the simulator's time-to-collision and the speed.

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
    np.atleast_1d(grid)[-1].set_xlabel("step")
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
) -> tuple[Any, Any]:
    """A transparent figure without pyplot's global state, and its axes; sizes in inches.

    Margins are fixed: automatic layout takes longer than drawing.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    axes = figure.subplots(rows, columns, sharex=sharex)
    figure.subplots_adjust(
        left=0.6 / width,
        right=1 - right / width,
        bottom=0.45 / height,
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


def svg(figure: Any, name: str) -> str:
    """SVG text to put into a page: no prolog, ids unique to ``name``, ink as ``currentColor``."""
    from matplotlib import rc_context

    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    prefix = re.sub(r"[^a-zA-Z0-9]+", "-", name)
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = re.sub(r'(xlink:href=")#', rf"\1#{prefix}-", text)
    text = text.replace("url(#", f"url(#{prefix}-")
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", text)
    text = text.replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1)
    return text.replace(INK, "currentColor")
