"""Putting the page together."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from vlsafe_agents.evaluation.comparison import SAME
from vlsafe_agents.report import figures, pictures, tables
from vlsafe_agents.report.run_folder import AgentRun, RunFolder, read_arrays, read_run_folder

_PACKAGES = (
    "vlsafe",
    "torch",
    "gymnasium",
    "highway-env",
    "stable-baselines3",
    "transformers",
    "minari",
    "numpy",
    "numba",
)

T = TypeVar("T")


@dataclass(frozen=True)
class Results:
    """The table of agents in one environment, and what its caption has to explain."""

    columns: list[tables.Column]
    rows: list[tables.Row]

    @property
    def marked(self) -> bool:
        """Whether an agent stands out."""
        return any(cell.marked for row in self.rows for cell in row.cells)

    @property
    def has_goal(self) -> bool:
        """Whether there is somewhere to arrive."""
        return any(column.metric == "arrival_rate" for column in self.columns)


@dataclass(frozen=True)
class Clip:
    """A recorded episode: its video and what happened in it."""

    title: str
    outcome: str
    video: str | None
    chart: str | None
    steps: int


@dataclass(frozen=True)
class Dream:
    """A real-versus-dreamed strip."""

    agent: AgentRun
    frames: list[pictures.StripFrame]
    chart: str | None
    sentence: str


def write_report(run_dir: Path, out: Path) -> Path:
    """Write everything known about a run into one HTML file that needs no other file.

    ``run_dir`` holds, all optional: ``data/`` (a Minari data set), ``judge.json`` (held-out AUROC,
    ``{scorer: {question: value}}``), ``run.json`` (``{"command": ...}``) and one folder for each
    agent with ``evaluation.json`` (and ``evaluation_density_1.5.json`` and the like, of other
    environments than trained in), ``progress.csv``, ``episodes/*.npz`` (``frames`` (T, H, W, 3)
    uint8 and signals (T,): ``speed`` [m/s], ``time_to_collision`` [s], ``safety_score``,
    ``reward``, ``cost``, ``collision``; ``fps`` in decisions a second) and ``open_loop.npz``
    (``truth``, ``dream`` (K, H, W, 3) uint8, ``safety_score_true``/``_pred``,
    ``cost_true``/``_pred``, ``pixel_error``, ``repeat_last_error`` (K,), ``context``).
    What is missing or broken is said on the page.

    Returns ``out``.  Raises ``FileNotFoundError`` when ``run_dir`` does not exist.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    run_dir, out = Path(run_dir), Path(out)
    run = read_run_folder(run_dir)
    environment = Environment(
        loader=PackageLoader("vlsafe_agents", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    folder = Path(__file__).parent
    page = environment.get_template("report.html.j2").render(
        style=(folder / "report.css").read_text(encoding="utf-8"),
        script=(folder / "report.js").read_text(encoding="utf-8"),
        **contents(run),
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_name(out.name + ".part")
    unfinished.write_text(page, encoding="utf-8")
    os.replace(unfinished, out)
    return out


def contents(run: RunFolder) -> dict[str, Any]:
    """Everything that the template shows."""
    notes = list(run.notes)
    learning_titles, learning_rows = tables.learning_table(run.agents)
    judge_titles, judge_rows = tables.judge_table(run.judge)
    curves = [(a, _try(notes, a, figures.learning_curves, a)) for a in run.agents]
    return {
        "name": run.path.resolve().name,
        "setting": _setting(run.agents),
        "headline": tables.headline(run.agents),
        "results": Results(*tables.results_table(run.agents)),
        "elsewhere": [
            (c.title, _setting(c.agents), Results(*tables.results_table(c.agents)))
            for c in run.elsewhere
        ],
        "progress_share": tables.percent(tables.PROGRESS_SHARE),
        "tradeoff": figures.tradeoff_chart(run.agents),
        "learning_titles": learning_titles,
        "learning_rows": learning_rows,
        "curves": [(agent, svg) for agent, svg in curves if svg is not None],
        "no_curves": [agent.label for agent, svg in curves if svg is None and not agent.is_expert],
        "dreams": [d for a in run.agents if (d := _dream(a, notes)) is not None],
        "drives": [(a, clips) for a in run.agents if (clips := _clips(a, notes))],
        "no_drives": [a.label for a in run.agents if not a.episodes and not a.model_only],
        "dataset": _dataset_card(run.dataset),
        "drivers": _drivers(run.dataset),
        "judge_titles": judge_titles,
        "judge_rows": judge_rows,
        "judge_bands": tables.judge_bands(run.judge),
        "commands": _commands(run),
        "versions": _versions(),
        "notes": notes,
    }


def _try(notes: list[str], agent: AgentRun, make: Callable[..., T], *args: Any) -> T | None:
    """``make(*args)``, or None and a note: one bad file must not cost the reader the page."""
    try:
        return make(*args)
    except Exception as error:
        notes.append(f"{agent.label}: {error}.")
        return None


def _setting(agents: Sequence[AgentRun]) -> str:
    """Which environment, how many episodes, which seeds."""
    known = [a.evaluation for a in agents if a.evaluation]
    if not known:
        return ""
    first = known[0]
    seeds = first.get("seeds") or []
    parts = [str(first.get("env_id", "unknown environment"))]
    settings = first.get("env_kwargs") or {}
    if settings:
        parts.append(", ".join(f"{k}={v}" for k, v in settings.items()))
    if seeds:
        parts.append(f"{len(seeds)} evaluation episodes, seeds {min(seeds)} to {max(seeds)}")
    if any(e.get(key) != first.get(key) for e in known for key in SAME):
        parts.append("caution: not all agents drove the same environment and seeds")
    return " · ".join(parts)


def _dream(agent: AgentRun, notes: list[str]) -> Dream | None:
    if agent.open_loop is None:
        return None
    frames = _try(notes, agent, pictures.strip, agent.open_loop)
    if not frames:
        return None
    chart = _try(notes, agent, figures.open_loop_chart, agent.open_loop, agent.name)
    return Dream(agent, frames, chart, _dream_sentence(agent))


def _dream_sentence(agent: AgentRun) -> str:
    arrays = agent.open_loop or {}
    context = int(arrays.get("context", 0))
    errors = [
        np.ravel(arrays[k])[context:] for k in ("pixel_error", "repeat_last_error") if k in arrays
    ]
    if len(errors) < 2 or not all(len(e) for e in errors):
        return ""
    dream, repeat = float(np.nanmean(errors[0])), float(np.nanmean(errors[1]))
    verdict = "below" if dream < repeat else "not below"
    return (
        f"Mean pixel error over the dreamed steps: {dream:.4f}, {verdict} "
        f"the {repeat:.4f} of repeating the last seen frame."
    )


def _clips(agent: AgentRun, notes: list[str]) -> list[Clip]:
    clips = []
    for stem, path in agent.episodes.items():
        arrays = read_arrays(path, notes)
        if arrays is None:
            continue
        frames = arrays.get("frames")
        video = None if frames is None else _try(notes, agent, pictures.drive_video, arrays)
        chart = _try(notes, agent, figures.episode_chart, arrays, f"{agent.name}-{stem}")
        kind, _, number = stem.partition("_")
        title = f"{kind.capitalize()} episode" + (f" {int(number) + 1}" if number > "0" else "")
        outcome = _try(notes, agent, _outcome, arrays) or ""
        clips.append(Clip(title, outcome, video, chart, 0 if frames is None else len(frames)))
    return clips


def _outcome(arrays: Mapping[str, Any]) -> str:
    parts = []
    if "seed" in arrays:
        parts.append(f"seed {int(arrays['seed'])}")
    if "reward" in arrays:
        reward = np.asarray(arrays["reward"], float)
        parts += [f"{len(reward) - 1} steps", f"return {tables.figure(float(np.nansum(reward)))}"]
    if "speed" in arrays:
        parts.append(
            f"{tables.figure(round(float(np.nanmean(arrays['speed'])), 1))} m/s on average"
        )
    if "collision" in arrays:
        hit = bool(np.nanmax(np.asarray(arrays["collision"], float)) > 0)
        parts.append("ends in a collision" if hit else "no collision")
    return ", ".join(parts)


def _dataset_card(data: dict[str, Any] | None) -> list[tuple[str, str]]:
    if data is None:
        return []
    inside = data.get("contents") or {}
    card = [
        ("Environment", str(data.get("env_id", "not recorded"))),
        ("Settings", _plain(data.get("env_kwargs"))),
        ("Episodes", _count(inside.get("episodes", data.get("total_episodes")))),
        ("Steps", _count(inside.get("steps", data.get("total_steps")))),
        ("Drivers, shares of episodes", _plain(data.get("mix"))),
        ("Unsafe steps, simulator truth", _share(inside.get("unsafe_share"))),
        ("Episodes with a collision", _count(inside.get("collisions"))),
        ("Size", f"{data['dataset_size']:.0f} MB" if data.get("dataset_size") else "not recorded"),
    ]
    scorer = data.get("scorer")
    if isinstance(scorer, Mapping):
        card += [(f"Judge: {key}", _plain(value)) for key, value in scorer.items()]
    else:
        card.append(("Judge", "not labelled yet"))
    return card


def _drivers(data: dict[str, Any] | None) -> list[tuple[str, list[str]]]:
    """Rows driver, [episodes, steps, unsafe share, collisions, mean return]."""
    drivers = ((data or {}).get("contents") or {}).get("drivers")
    rows = []
    for name, row in drivers.items() if isinstance(drivers, dict) else ():
        episodes, steps = row.get("episodes") or 0, row.get("steps") or 0
        unsafe = row.get("unsafe_steps", 0) / steps if steps else None
        mean = (
            tables.figure(row["return"] / episodes)
            if episodes and "return" in row
            else tables.ABSENT
        )
        collisions = _count(row.get("collisions"))
        rows.append(
            (str(name), [_count(episodes), _count(steps), _share(unsafe), collisions, mean])
        )
    return rows


def _plain(value: Any) -> str:
    if value in (None, {}, [], ""):
        return "none recorded"
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_plain(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return "; ".join(_plain(v) for v in value)
    return str(value)


def _count(value: Any) -> str:
    return tables.count(float(value)) if isinstance(value, int | float) else "not recorded"


def _share(value: Any) -> str:
    return tables.percent(float(value)) if isinstance(value, int | float) else "not recorded"


def _commands(run: RunFolder) -> str:
    """The commands that made the run, or how to make one like it."""
    recorded = run.run.get("commands") or run.run.get("command")
    if recorded:
        return "\n".join(recorded) if isinstance(recorded, list) else str(recorded)
    data = run.dataset or {}
    env_id = data.get("env_id") or "VLSafe-Highway-v0"
    steps = (data.get("contents") or {}).get("steps") or 100_000
    where = f"runs/{run.path.resolve().name}"
    lines = [
        f"vlsafe collect --env {env_id} --steps {steps} --out {where}/data",
        f"vlsafe label {where}/data",
        f"vlsafe train --algo vlsafe --update gated --data {where}/data --out {where}/vlsafe-gated",
        f"vlsafe evaluate {where}/vlsafe-gated --episodes 100",
        f"vlsafe report {where}",
    ]
    return "\n".join(lines)


def _versions() -> list[tuple[str, str]]:
    found = [("Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")]
    for package in _PACKAGES:
        try:
            found.append((package, metadata.version(package)))
        except metadata.PackageNotFoundError:
            continue
    return found
