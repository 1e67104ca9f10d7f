"""Putting the page together."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from vlsafe_agents.common.version import versions
from vlsafe_agents.pages.html import render
from vlsafe_agents.report import figures, foresight, frontier, tables
from vlsafe_agents.report.agent_run import AgentRun
from vlsafe_agents.report.commands import commands
from vlsafe_agents.report.headline import headline
from vlsafe_agents.report.run_folder import (
    SCORER_FILE,
    Notes,
    RunFolder,
    read_arrays,
    read_run_folder,
)
from vlsafe_agents.report.side_by_side import gif_uri
from wrappers.files import write_text

_ABSENT = "not recorded"

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
class Curves:
    """What an agent logged while it learned."""

    agent: AgentRun
    svg: str
    sentence: str  # what the curves do not show by themselves


@dataclass(frozen=True)
class Dream:
    """A real-versus-dreamed strip of one world model."""

    agent: AgentRun
    shared_by: list[str]  # titles of others that share the model
    frames: list[figures.StripFrame]
    chart: str | None
    sentence: str


def write_report(run_dir: Path, out: Path) -> Path:
    """Write everything known about a run into one HTML file that needs no other file.

    ``run_dir`` holds, all optional: ``data/`` (a Minari data set), ``scorer.json`` (held-out AUROC,
    ``{scorer: {question: value}}``), ``run.json`` (``{"command": ...}``) and one folder for each
    agent with ``settings.json``, ``training.json``, ``evaluation.json`` (and
    ``evaluation_density_1.5.json`` and the like, of other environments than trained in, behind
    shields or under other cost limits),
    ``progress.csv``, ``episodes/*.npz`` (``frames`` (T, H, W, 3)
    uint8 and signals (T,): ``speed`` [m/s], ``time_to_collision`` [s], ``safety_score``,
    ``reward``, ``cost``, ``collision``; ``fps`` in decisions a second) and ``open_loop.npz``
    (``truth``, ``dream`` (K, H, W, 3) uint8, ``safety_score_true``/``_pred``,
    ``cost_true``/``_pred``, ``pixel_error``, ``repeat_last_error`` (K,), ``context``) and
    ``foresight.json``, as ``vlsafe foresight`` writes it.
    What is missing or broken is said on the page, and what is not recorded is not guessed.

    Returns:
        ``out``

    Raises:
        FileNotFoundError: when ``run_dir`` does not exist
    """
    run_dir, out = Path(run_dir), Path(out)
    run = read_run_folder(run_dir)
    folder = Path(__file__).parent
    script = (folder / "report.js").read_text(encoding="utf-8")
    page = render(folder, "report.html.j2", script=script, **contents(run))
    # a file's name, or JSON, may hold what is no character
    write_text(out, page.encode("utf-8", "backslashreplace").decode("utf-8"))
    return out


def contents(run: RunFolder) -> dict[str, Any]:
    """Everything that the template shows; what fails is noted and left out."""
    notes = Notes(run.path)
    for note in run.notes:
        notes.add(note)
    agents = run.agents
    lines = figures.line_colours([agent.progress for agent in agents])

    def curves_of(agent: AgentRun) -> Curves | None:
        svg = _try(notes, agent.title, figures.learning_curves, agent, lines)
        return None if svg is None else Curves(agent, svg, figures.still_climbing(agent.progress))

    curves = [found for agent in agents if (found := curves_of(agent)) is not None]
    learning_titles, learning_rows = tables.learning_table(agents)
    foreseen = [_try(notes, f"Foresight of {a.title}", foresight.shown, a) for a in agents]
    held_out = _try(notes, SCORER_FILE, tables.scorer_table, run.scorer)
    scorer_titles, scorer_rows = held_out or ([], [])
    return {
        "name": run.path.resolve().name,
        "setting": _setting(agents),
        "headline": headline(agents),
        "results": Results(*tables.results_table(agents)),
        "elsewhere": [
            (c.title, _setting(c.agents), Results(*tables.results_table(c.agents)))
            for c in run.elsewhere
        ],
        "progress_share": tables.percent(tables.PROGRESS_SHARE),
        "tradeoff": _try(notes, "Collisions against speed", figures.tradeoff_chart, agents),
        "frontier": _try(notes, "Return and cost by limit", frontier.shown, agents),
        "learning_titles": learning_titles,
        "learning_rows": learning_rows,
        "curves": curves,
        "no_curves": _titles_without(agents, {found.agent.name for found in curves}),
        "dreams": _dreams(agents, notes),
        "foresight": [one for one in foreseen if one is not None],
        "side_by_side": _try(notes, "Side by side", gif_uri, run.path),
        "drives": [(a, clips) for a in agents if (clips := _clips(a, notes))],
        "no_drives": [a.title for a in agents if not a.episodes and not a.is_model_only],
        "dataset": _try(notes, "The data set's card", _dataset_card, run.dataset),
        "drivers": _try(notes, "Who drove", _drivers, run.dataset),
        "scorer_titles": scorer_titles,
        "scorer_rows": scorer_rows,
        "scorer_bands": _try(notes, SCORER_FILE, tables.scorer_bands, run.scorer) or [],
        "commands": _try(notes, "Do it again", commands, run) or "",
        "versions": versions(),
        "notes": notes,  # last: the others add to them
    }


def _titles_without(agents: Sequence[AgentRun], shown: set[str]) -> list[str]:
    """Who has learned and shows no curves."""
    return [a.title for a in agents if a.name not in shown and not (a.is_driver or a.shielded)]


def _try(notes: Notes, what: str, make: Callable[..., T], *args: Any) -> T | None:
    """``make(*args)``, or a note: one odd file costs its place on the page, not the page."""
    try:
        return make(*args)
    except Exception as error:
        notes.add(f"{what}: {error or type(error).__name__}")
        return None


def _setting(agents: Sequence[AgentRun]) -> str:
    """Which environment, how many episodes, which seeds."""
    known = [a.evaluation for a in agents if a.evaluation]
    if not known:
        return ""
    first = known[0]
    parts = [first.env_id]
    if first.env_kwargs:
        parts.append(", ".join(f"{k}={v}" for k, v in first.env_kwargs.items()))
    seeds = first.seeds
    parts.append(f"{len(seeds)} evaluation episodes, seeds {min(seeds)} to {max(seeds)}")
    if any(evaluation.differs_in(first) for evaluation in known):
        parts.append("caution: not all agents drove the same environment and seeds")
    return " · ".join(parts)


def _dreams(agents: Sequence[AgentRun], notes: Notes) -> list[Dream]:
    """One dream for each world model: policies that share one dream the same."""
    groups: dict[Path, list[AgentRun]] = {}
    for agent in agents:
        if agent.open_loop is not None:
            groups.setdefault(agent.model_folder, []).append(agent)
    found = []
    for folder, members in groups.items():
        # the model's own folder, where it is here, else that of the first who shares it
        agent = next((a for a in members if a.folder.resolve() == folder), members[0])
        arrays = agent.open_loop or {}
        frames = _try(notes, f"The dream of {agent.title}", figures.strip, arrays)
        if frames:
            what = f"Dream's errors of {agent.title}"
            chart = _try(notes, what, figures.open_loop_chart, arrays, agent.name)
            sentence = _try(notes, what, _dream_sentence, arrays) or ""
            others = [a.title for a in members if a is not agent]
            found.append(Dream(agent, others, frames, chart, sentence))
    return found


def _dream_sentence(arrays: Mapping[str, Any]) -> str:
    if "context" not in arrays:  # so it is not known which steps were dreamed
        return ""
    context = int(arrays["context"])
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


def _clips(agent: AgentRun, notes: Notes) -> list[Clip]:
    clips = []
    for stem, path in agent.episodes.items():
        arrays = read_arrays(path, notes)
        if arrays is None:
            continue
        what = f"{agent.folder.name}/{path.parent.name}/{path.name}"
        frames = arrays.get("frames")
        video = None
        if frames is not None:
            video = _try(notes, what, figures.drive_video, arrays)
        chart = _try(notes, what, figures.episode_chart, arrays, f"{agent.name}-{stem}")
        outcome = _try(notes, what, _outcome, arrays) or ""
        steps = 0 if frames is None else len(np.atleast_1d(frames))
        clips.append(Clip(_episode_title(stem), outcome, video, chart, steps))
    return clips


def _episode_title(stem: str) -> str:
    """``best_0`` as "Best episode", ``worst_1`` as "Worst episode 2"; another name as it is."""
    known = re.fullmatch(r"(best|worst)_([0-9]{1,6})", stem)
    if known is None:
        return stem
    number = int(known[2])
    return f"{known[1].capitalize()} episode" + (f" {number + 1}" if number else "")


def _outcome(arrays: Mapping[str, Any]) -> str:
    parts = []
    if "seed" in arrays:
        parts.append(f"seed {int(arrays['seed'])}")
    if "reward" in arrays:
        reward = np.asarray(arrays["reward"], float)
        parts += [f"{len(reward) - 1} steps", f"return {tables.figure(float(np.nansum(reward)))}"]
    if (speed := _signal(arrays, "speed")) is not None:
        parts.append(f"{tables.figure(round(float(np.nanmean(speed)), 1))} m/s on average")
    collision = _signal(arrays, "collision")
    if collision is None:
        parts.append("collision not known")
    else:
        parts.append("ends in a collision" if np.nanmax(collision) > 0 else "no collision")
    return ", ".join(parts)


def _signal(arrays: Mapping[str, Any], name: str) -> Any | None:
    """A signal (T,), None where it was not reported: then it is missing, or NaN throughout."""
    values = np.asarray(arrays.get(name, np.nan), float)
    return None if values.size == 0 or np.isnan(values).all() else values


def _dataset_card(data: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    if data is None:
        return []
    found = data.get("contents")
    inside = found if isinstance(found, Mapping) else {}
    card = [
        ("Environment", str(data.get("env_id", _ABSENT))),
        ("Settings", _plain(data.get("env_kwargs"))),
        ("Episodes", _count(inside.get("episodes", data.get("total_episodes")))),
        ("Steps", _count(inside.get("steps", data.get("total_steps")))),
        ("Drivers, shares of episodes", _plain(data.get("mix"))),
        ("Unsafe steps, simulator truth", _share(inside.get("unsafe_share"))),
        ("Episodes with a collision", _count(inside.get("collisions"))),
        ("Size", f"{size} MB" if (size := _count(data.get("dataset_size"))) != _ABSENT else size),
    ]
    branches = inside.get("branches")
    if isinstance(branches, Mapping):
        card += [
            ("Branches of these episodes, apart", _count(branches.get("episodes"))),
            ("Steps in branches", _count(branches.get("steps"))),
            ("Steps simulated for branches", _count(branches.get("simulated_steps"))),
            ("Branches with a collision", _count(branches.get("collisions"))),
        ]
    scorer = data.get("scorer")
    if isinstance(scorer, Mapping):
        card += [(f"Scorer: {key}", _plain(value)) for key, value in scorer.items()]
    else:
        card.append(("Scorer", _ABSENT))
    return card


def _drivers(data: Mapping[str, Any] | None) -> list[tuple[str, list[str]]]:
    """Rows driver, [episodes, steps, unsafe share, collisions, mean return]."""
    drivers = ((data or {}).get("contents") or {}).get("drivers")
    rows = []
    for name, row in drivers.items() if isinstance(drivers, Mapping) else ():
        episodes, steps = row.get("episodes"), row.get("steps")
        unsafe = row["unsafe_steps"] / steps if steps and "unsafe_steps" in row else None
        mean = tables.figure(row["return"] / episodes) if episodes and "return" in row else _ABSENT
        collisions = _count(row.get("collisions"))
        rows.append(
            (str(name), [_count(episodes), _count(steps), _share(unsafe), collisions, mean])
        )
    return rows


def _plain(value: Any) -> str:
    if value is None:
        return _ABSENT
    if value in ({}, [], ""):
        return "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_plain(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return "; ".join(_plain(v) for v in value)
    return str(value)


def _count(value: Any) -> str:
    return tables.count(float(value)) if isinstance(value, int | float) else _ABSENT


def _share(value: Any) -> str:
    return tables.percent(float(value)) if isinstance(value, int | float) else _ABSENT
