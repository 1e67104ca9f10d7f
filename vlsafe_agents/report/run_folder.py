"""Reading a run folder, piece by piece; what cannot be read becomes a note, never an error.

A run folder holds ``data/`` (Minari), one folder for each agent (``evaluation.json``,
``progress.csv``, ``episodes/*.npz``, ``open_loop.npz``), and perhaps ``judge.json`` and
``run.json``.  What was driven in another environment than trained in (denser traffic, held-out
maps) stands beside it under a name that says so: ``evaluation_maps_test.json``.
"""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Columns = dict[str, npt.NDArray[np.float64]]
Arrays = dict[str, npt.NDArray[Any]]

_READABLE = (OSError, ValueError, KeyError, TypeError, EOFError)

# How agents are shown: the first entry whose words all occur in the folder's name wins.
# (words, label, colour that is legible on light and dark ground)
_KNOWN_AGENTS = (
    (("expert",), "Expert (rule-based)", "#7d8590"),
    (("blind",), "Cost-blind", "#a371c9"),
    (("gated",), "VLSafe gated", "#3b82d6"),
    (("lagrangian",), "VLSafe Lagrangian", "#1f9d8a"),
    (("vlsafe",), "VLSafe", "#3b82d6"),
    (("ppo", "lag"), "PPO-Lag", "#d9822b"),
    (("ppo",), "PPO", "#c75d5d"),
    (("bc",), "Behaviour cloning", "#a88b4c"),
)
_ORDER = ("expert", "bc", "ppo_lag", "ppo", "vlsafe_gated", "vlsafe_lagrangian", "vlsafe", "blind")


@dataclass(frozen=True)
class AgentRun:
    """What one agent left in the run folder; None or empty where it left nothing."""

    name: str  # folder name
    label: str
    colour: str
    evaluation: dict[str, Any] | None = None
    progress: Columns = field(default_factory=dict)
    episodes: dict[str, Path] = field(default_factory=dict)  # file stem -> file
    open_loop: Arrays | None = None
    model_only: bool = False  # a world model that policies share: nobody need drive by it

    @property
    def is_vlsafe(self) -> bool:
        """Whether it learned safely in imagination (the cost-blind baseline did not)."""
        return "VLSafe" in self.label

    @property
    def is_ppo_lag(self) -> bool:
        """Whether it is the baseline that learns by driving."""
        return self.label == "PPO-Lag"

    @property
    def is_expert(self) -> bool:
        """Whether it is the rule-based driver that others are measured by."""
        return self.label.startswith("Expert")

    def summary(self, metric: str) -> dict[str, float] | None:
        """``{"mean", "low", "high"}`` of a metric; None where it is missing or undefined.

        A bootstrap cannot see what never happened: of a rate of 0 or 1 it makes an interval without
        width.  There the rule of three stands in, 3 / episodes (Hanley and Lippman-Hand 1983).
        """
        entry = ((self.evaluation or {}).get("summary") or {}).get(metric)
        if not isinstance(entry, dict) or not _is_number(entry.get("mean")):
            return None
        mean = float(entry["mean"])
        low, high = (float(entry[k]) if _is_number(entry.get(k)) else mean for k in ("low", "high"))
        if metric.endswith("_rate") and low == high and self.episode_count:
            unseen = min(1.0, 3.0 / self.episode_count)
            if high == 0.0:
                high = unseen
            elif low == 1.0:
                low = 1.0 - unseen
        return {"mean": mean, "low": low, "high": high}

    def training(self, key: str) -> float | None:
        """A figure of what learning cost, such as ``collisions_caused``."""
        value = ((self.evaluation or {}).get("training") or {}).get(key)
        return float(value) if value is not None and _is_number(value) else None

    @property
    def episode_count(self) -> int:
        """Evaluated episodes."""
        return len((self.evaluation or {}).get("episodes") or [])


@dataclass(frozen=True)
class Condition:
    """The agents that were evaluated in one environment, such as on held-out maps."""

    title: str
    agents: tuple[AgentRun, ...]


@dataclass(frozen=True)
class RunFolder:
    """Everything that a report is made from.

    ``agents`` were evaluated in the environment that they were trained in or, where none was,
    in the one in which most of them were; ``elsewhere`` are the others.
    """

    path: Path
    agents: tuple[AgentRun, ...]
    elsewhere: tuple[Condition, ...]
    dataset: dict[str, Any] | None  # metadata of the data set
    judge: Any  # contents of judge.json
    run: dict[str, Any]  # contents of run.json
    notes: tuple[str, ...]  # what could not be found or read, in sentences


def read_run_folder(path: Path) -> RunFolder:
    """Read whatever a run folder holds.

    Raises ``FileNotFoundError`` only when the folder itself does not exist.
    """
    if not path.is_dir():
        raise FileNotFoundError(
            f"no run folder at {path}; make one with `vlsafe demo --out {path}`"
        )
    notes: list[str] = []
    folders = [f for f in sorted(path.iterdir()) if f.is_dir() and _looks_like_agent(f)]
    first, *others = _suffixes(folders)
    agents = sorted((_read_agent(folder, first, notes) for folder in folders), key=_rank)
    conditions = [_elsewhere(path, agents, suffix, notes) for suffix in others]
    if not agents:
        notes.append("No agent has been trained or evaluated in this run yet.")
    run = _read_json(path / "run.json", "run.json", notes)
    return RunFolder(
        path=path,
        agents=tuple(agents),
        elsewhere=tuple(condition for condition in conditions if condition.agents),
        dataset=_read_dataset(path / "data", notes),
        judge=_read_json(path / "judge.json", "judge.json", notes),
        run=run if isinstance(run, dict) else {},
        notes=tuple(notes),
    )


def _looks_like_agent(folder: Path) -> bool:
    signs = ("evaluation*.json", "progress.csv", "model.zip", "episodes", "open_loop.npz")
    return folder.name != "data" and any(any(folder.glob(sign)) for sign in signs)


def _suffixes(folders: list[Path]) -> list[str]:
    """What the evaluations' names end in, the one that the report is about first."""
    files = [file for folder in folders for file in folder.glob("evaluation*.json")]
    found = Counter(file.stem.removeprefix("evaluation") for file in files)
    first = "" if "" in found or not found else max(sorted(found), key=found.__getitem__)
    return [first, *sorted(set(found) - {first})]


def _read_agent(folder: Path, suffix: str, notes: list[str]) -> AgentRun:
    label, colour = _describe(folder.name)
    file, model_only = folder / f"evaluation{suffix}.json", _is_model_only(folder, notes)
    return AgentRun(
        name=folder.name,
        label=label,
        colour=colour,
        evaluation=None if model_only and not file.exists() else _read_evaluation(file, notes),
        progress=_read_progress(folder / "progress.csv", notes),
        episodes={file.stem: file for file in sorted(folder.glob(f"episodes{suffix}/*.npz"))},
        open_loop=read_arrays(folder / "open_loop.npz", notes),
        model_only=model_only,
    )


def _is_model_only(folder: Path, notes: list[str]) -> bool:
    """Whether all updates went into the world model, as `vlsafe train` noted down."""
    settings = _read_json(folder / "settings.json", f"{folder.name}/settings.json", notes)
    config = settings.get("config") if isinstance(settings, dict) else None
    return isinstance(config, dict) and config.get("model_warmup") == 1.0


def _elsewhere(path: Path, agents: list[AgentRun], suffix: str, notes: list[str]) -> Condition:
    """The agents that have an evaluation of this name; its title is what sets it apart."""
    driven = []
    for agent in agents:
        file = path / agent.name / f"evaluation{suffix}.json"
        if file.exists() and (evaluation := _read_evaluation(file, notes)) is not None:
            driven.append(replace(agent, evaluation=evaluation, episodes={}))
    usual, here = _settings_of(agents), _settings_of(driven)
    changed = [f"{key}={value}" for key, value in here.items() if usual.get(key) != value]
    return Condition(", ".join(changed) or suffix.strip("_").replace("_", " "), tuple(driven))


def _settings_of(agents: list[AgentRun]) -> dict[str, Any]:
    return next((a.evaluation.get("env_kwargs") or {} for a in agents if a.evaluation), {})


def _read_evaluation(path: Path, notes: list[str]) -> dict[str, Any] | None:
    name = f"{path.parent.name}/{path.name}"
    if not path.exists():
        driven = any(path.parent.glob("evaluation*.json"))
        how = "only been evaluated elsewhere" if driven else "not been evaluated"
        notes.append(f"{name} is missing: this agent has {how}.")
    evaluation = _read_json(path, name, notes)
    if evaluation is not None and (fault := _fault_of(evaluation)):
        notes.append(f"{name} {fault}.")
        return None
    return evaluation


def _fault_of(evaluation: Any) -> str:
    """What keeps an evaluation from being shown; empty when nothing does."""
    if not isinstance(evaluation, dict):
        return "is not a JSON object"
    kinds = {"summary": dict, "training": dict, "env_kwargs": dict, "episodes": list, "seeds": list}
    for key, kind in kinds.items():
        if not isinstance(evaluation.get(key, kind()), kind):
            return f"has an entry {key!r} that is no JSON {kind.__name__}"
    if not all(_is_number(seed) for seed in evaluation.get("seeds", [])):
        return "has a seed that is no number"
    return ""


def _describe(name: str) -> tuple[str, str]:
    plain = name.lower()
    for words, label, colour in _KNOWN_AGENTS:
        if all(word in plain for word in words):
            return label, colour
    return name.replace("_", " "), "#8a8f98"


def _rank(agent: AgentRun) -> tuple[int, str]:
    name = agent.name.lower().replace("-", "_")
    found = [place for place, key in enumerate(_ORDER) if key in name]
    if "blind" in name:
        found = [_ORDER.index("blind")]
    return (found[0] if found else len(_ORDER), name)


def read_arrays(path: Path, notes: list[str]) -> Arrays | None:
    """Arrays of an ``.npz`` file, or None with a note when it cannot be read."""
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except Exception as error:  # zipfile and numpy raise a zoo of types for broken files
        notes.append(f"{path.parent.name}/{path.name} cannot be read: {error}.")
        return None


def _read_json(path: Path, name: str, notes: list[str]) -> Any:
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except _READABLE as error:
        notes.append(f"{name} cannot be read: {error}.")
        return None


def _read_progress(path: Path, notes: list[str]) -> Columns:
    """Columns of an SB3 ``progress.csv``; empty cells become NaN."""
    if not path.exists():
        return {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (*_READABLE, csv.Error) as error:
        notes.append(f"{path.parent.name}/{path.name} cannot be read: {error}.")
        return {}
    names = [name for name in (rows[0] if rows else {}) if name]
    columns = {name: np.array([_number(row.get(name)) for row in rows]) for name in names}
    return {name: values for name, values in columns.items() if np.isfinite(values).any()}


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")


def _read_dataset(path: Path, notes: list[str]) -> dict[str, Any] | None:
    if not path.exists():
        notes.append("This run has no data set of its own (no folder data/).")
        return None
    from vlsafe_agents.data.storage import read_metadata, resolve_dataset

    try:
        return read_metadata(resolve_dataset(path))
    except Exception as error:  # whatever is wrong with a file must not cost the reader the page
        notes.append(f"The data set cannot be read: {error}.")
        return None


def _is_number(value: Any) -> bool:
    is_real = isinstance(value, int | float) and not isinstance(value, bool)
    return is_real and math.isfinite(value)
