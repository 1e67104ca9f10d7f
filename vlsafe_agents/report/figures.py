"""The figures of a run's report: charts, dreams beside the truth, and videos of drives."""

from __future__ import annotations

import base64
import math
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from vlsafe_agents.evaluation.metrics import METRICS
from vlsafe_agents.pages import ABSENT, decimal
from vlsafe_agents.pages.charts import INK, PALETTE, canvas, legend_of, literal, shortened, svg
from vlsafe_agents.pages.html import png_uri
from vlsafe_agents.report.agent_run import AgentRun, Arrays, Columns
from wrappers.scorer import Frames

VIDEO_SCALE = 2  # each frame pixel becomes 2 x 2 video pixels: crisp edges, even sizes
SLOWEST_FPS = 4  # of a video; rarer decisions are shown faster than they were made
MAX_STRIP = 20  # frames in a strip
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
_STYLES = {"imagined": "--", "validation": ":", "eval": ":"}  # by what a key begins with
_MULTIPLIER = r"lagrange_multiplier$"
_CLIMB = 0.05  # of the last value, in the last quarter of training

LineColours = dict[tuple[str, str], str]  # by panel and quantity


class Shown(Protocol):
    """Whoever has metrics to draw."""

    @property
    def title(self) -> str: ...

    @property
    def colour(self) -> str: ...

    @property
    def mark(self) -> str: ...

    def summary(self, metric: str) -> Mapping[str, Any] | None:
        """``{"mean", "low", "high"}``; None where it is not known."""


def draw_against(axes: Any, agents: Sequence[Shown], x: str, y: str) -> None:
    """One metric against another, one point with intervals for each agent that knows both."""
    scales = [100.0 if METRICS[metric].in_percent else 1.0 for metric in (x, y)]
    for agent in agents:
        across, up = agent.summary(x), agent.summary(y)
        if across is None or up is None:
            continue
        axes.errorbar(
            scales[0] * across["mean"],
            scales[1] * up["mean"],
            xerr=np.c_[spread(across, scales[0])],
            yerr=np.c_[spread(up, scales[1])],
            fmt=agent.mark,
            color=agent.colour,
            markersize=7,
            elinewidth=1.4,
            label=literal(shortened(agent.title)),
        )


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
    draw_against(axes, [agent for agent, _, _ in known], "mean_speed", "collision_rate")
    axes.set_xlabel("Mean speed [m/s]")
    axes.set_ylabel("Episodes with a collision [%]")
    top = max(10.0, axes.get_ylim()[1])
    axes.set_ylim(-0.03 * top, top)
    legend_of(figure, axes, (0.06, 0.0), ncols=side_by_side, fontsize=8.5)
    return svg(figure, "tradeoff")


def spread(value: Mapping[str, float | None] | None, scale: float = 1.0) -> list[float]:
    """How far an interval reaches below and above; nowhere where there is none."""
    mean, low, high = ((value or {}).get(key) for key in ("mean", "low", "high"))
    if mean is None or low is None or high is None:
        return [0.0, 0.0]
    return [scale * max(0.0, mean - low), scale * max(0.0, high - mean)]


def line_colours(logs: Sequence[Columns]) -> LineColours:
    """A colour for each quantity in each panel, the same for all agents."""
    found: LineColours = {}
    for title, pattern in _PANELS:
        names = {_quantity(title, k) for log in logs for k in log if re.search(pattern, k)}
        for place, name in enumerate(sorted(names)):
            found[title, name] = PALETTE[place % len(PALETTE)]
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
        corner = (place.x0 - 0.01, below / (2.5 + below))
        legend_of(figure, axes, corner, loc="upper left", fontsize=7, labelspacing=0.25)
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
    legend_of(figure, axes, (0.06, 0.0), ncols=2)
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


@dataclass(frozen=True)
class StripFrame:
    """One column of the strip: pictures as data URIs, figures as text."""

    step: int
    seen: bool  # context: the model saw this frame
    truth: str
    dream: str
    error: str
    safety_score: tuple[str, str]  # truth, predicted
    cost: tuple[str, str]


def strip(arrays: Arrays) -> list[StripFrame]:
    """Columns of the real-versus-dreamed strip.

    ``arrays`` holds ``truth`` and ``dream`` ``(K, H, W, 3)`` uint8, ``context``, and perhaps
    ``safety_score_true``, ``safety_score_pred``, ``cost_true``, ``cost_pred`` ``(K,)``.

    Raises:
        ValueError: when pictures are missing or do not fit together
    """
    if "truth" not in arrays or "dream" not in arrays:
        raise ValueError("truth or dream is missing (a model of vectors dreams no pictures)")
    truth, dream = np.asarray(arrays["truth"]), np.asarray(arrays["dream"])
    if truth.shape != dream.shape or truth.ndim != 4 or truth.shape[-1] != 3:
        raise ValueError(f"truth {truth.shape} and dream {dream.shape} must be (K, H, W, 3)")
    context = int(arrays.get("context", 0))
    columns = []
    for k in range(min(len(truth), MAX_STRIP)):
        error = np.abs(truth[k].astype(np.int16) - dream[k]).mean(-1) / 255.0  # (H, W)
        columns.append(
            StripFrame(
                step=k,
                seen=k < context,
                truth=png_uri(truth[k].astype(np.uint8)),
                dream=png_uri(dream[k].astype(np.uint8)),
                error=png_uri(_heat(error)),
                safety_score=_pair(arrays, "safety_score", k),
                cost=_pair(arrays, "cost", k),
            )
        )
    return columns


def _pair(arrays: Arrays, name: str, k: int) -> tuple[str, str]:
    values = (arrays.get(f"{name}_true"), arrays.get(f"{name}_pred"))
    true, pred = (ABSENT if v is None or len(v) <= k else decimal(float(v[k])) for v in values)
    return true, pred


def _heat(error: npt.NDArray[np.floating[Any]]) -> Frames:
    """Errors from black (none) over orange to white (half of the range and more)."""
    level = np.clip(2.0 * error, 0.0, 1.0)[..., None]  # (H, W, 1)
    ramp = np.clip(level * np.array([2.4, 1.5, 1.2]) - np.array([0.0, 0.25, 0.6]), 0.0, 1.0)
    return np.asarray(np.round(255 * ramp), np.uint8)


def drive_video(arrays: Arrays) -> str:
    """A recorded episode as a video as fast as was driven, but at least at ``SLOWEST_FPS``."""
    driven = float(arrays.get("fps", math.nan))  # recordings of before lack it
    return video_uri(arrays["frames"], max(driven, SLOWEST_FPS) if driven > 0 else SLOWEST_FPS)


def video_uri(frames: Frames, fps: float = SLOWEST_FPS) -> str:
    """Frames ``(T, H, W, 3)`` uint8 as a ``data:video/mp4`` URI (H.264, yuv420p).

    Raises:
        ValueError: for arrays of another shape
        RuntimeError: when no encoder works
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or len(frames) == 0:
        raise ValueError(f"frames must be (T, H, W, 3) with T >= 1, got {frames.shape}")
    import imageio_ffmpeg

    height, width = frames.shape[1:3]
    raw = f"-f rawvideo -pix_fmt rgb24 -s {width}x{height} -r {fps:g} -i -".split()
    filters = f"scale={VIDEO_SCALE}*iw:{VIDEO_SCALE}*ih:flags=neighbor"
    coding = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "24", "-preset", "fast"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "drive.mp4"
        try:
            encoder = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *raw, "-vf", filters]
            subprocess.run(
                [*encoder, *coding, "-movflags", "+faststart", str(path)],
                input=np.ascontiguousarray(frames, np.uint8).tobytes(),
                capture_output=True,
                check=True,
            )
            content = path.read_bytes()
        except subprocess.CalledProcessError as error:
            raise RuntimeError(f"no video: {error.stderr.decode(errors='replace')}") from error
        except (OSError, RuntimeError) as error:
            raise RuntimeError(f"no video: {error}") from error
    return "data:video/mp4;base64," + base64.b64encode(content).decode("ascii")
