"""Reading a run folder, piece by piece; what cannot be read becomes a note, never an error.

A run folder holds ``data/`` (Minari), one folder for each agent (``settings.json``,
``training.json``, ``evaluation.json``, ``progress.csv``, ``episodes/*.npz``, ``open_loop.npz``,
``foresight.json``), and perhaps ``scorer.json`` (``judge.json`` in older runs) and ``run.json``.
What was driven in another environment than trained in (denser traffic, held-out maps) stands beside
it under a name that says so: ``evaluation_maps_test.json``.
"""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from vlsafe_agents.evaluation.roles import KEYS, UNKNOWN, Role, role_of
from vlsafe_agents.evaluation.stored import Figures, StoredEvaluation, read_evaluation
from vlsafe_agents.foresight import FORESIGHT_FILE, Foresight, read_foresight
from vlsafe_agents.training.facts import TRAINING_FILE, figures, shared_costs
from vlsafe_agents.training.settings import SETTINGS_FILE
from wrappers.files import read_json, read_npz, read_text

Columns = dict[str, npt.NDArray[np.float64]]
Arrays = dict[str, npt.NDArray[Any]]
T = TypeVar("T")

SCORER_FILE = "scorer.json"  # held-out figures of the scorer that labelled the data
_FORMER_SCORER_FILE = "judge.json"
_EVALUATION = "evaluation"
_SIGNS = (f"{_EVALUATION}*.json", SETTINGS_FILE, "progress.csv", "model.zip", "open_loop.npz")


@dataclass(frozen=True)
class AgentRun:
    """What one agent left in the run folder; None or empty where it left nothing."""

    name: str  # folder name
    role: Role = UNKNOWN
    evaluation: StoredEvaluation | None = None
    settings: Mapping[str, Any] | None = None  # that it was trained with
    costs: Figures = field(default_factory=dict)  # of learning
    progress: Columns = field(default_factory=dict)
    episodes: dict[str, Path] = field(default_factory=dict)  # file stem -> file
    open_loop: Arrays | None = None
    foresight: Foresight | None = None
    colour: str = "#8a8f98"
    folder: Path = Path()

    @property
    def title(self) -> str:
        """What it is, as far as that is known, and its folder's name."""
        return self.role.titled(self.name)

    @property
    def is_driver(self) -> bool:
        """Whether it has not learned here, but came with the environments."""
        return self.role.key in ("expert", "driver")

    @property
    def is_model_only(self) -> bool:
        """Whether it is a world model that policies share: nobody need drive by it."""
        return self.role.key == "world_model"

    def summary(self, metric: str) -> dict[str, float | None] | None:
        """``{"mean", "low", "high"}`` of a metric; None where it is not known or undefined."""
        entry = None if self.evaluation is None else self.evaluation.summary[metric]
        return None if entry is None or entry["mean"] is None else entry

    def mean(self, metric: str) -> float | None:
        """The mean of a metric; None where it is not known or undefined."""
        entry = self.summary(metric)
        return None if entry is None else entry["mean"]

    def drove_where(self, other: AgentRun) -> bool:
        """Whether both were evaluated in one environment, if perhaps on other seeds."""
        if self.evaluation is None or other.evaluation is None:
            return False
        return self.evaluation.differs_in(other.evaluation) in (None, "seeds")

    def training(self, key: str) -> float | None:
        """A figure of what learning cost, such as ``collisions_caused``; None: not known."""
        return self.costs.get(key)

    @property
    def world_model(self) -> str | None:
        """The folder of the finished world model that it shares, as its settings name it."""
        folder = (self.settings or {}).get("world_model")
        return folder if isinstance(folder, str) else None

    @property
    def model_folder(self) -> Path:
        """Where its world model was trained: one that it shares, or its own."""
        return Path(self.world_model or self.folder).resolve()

    @property
    def episode_count(self) -> int:
        """Evaluated episodes."""
        return 0 if self.evaluation is None else len(self.evaluation.records)


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
    dataset: Mapping[str, Any] | None  # metadata of the data set
    scorer: Any  # contents of scorer.json
    run: Mapping[str, Any]  # contents of run.json
    notes: tuple[str, ...]  # what could not be found or read, in sentences


class Notes(list[str]):
    """What could not be read of a folder, in sentences that name files as seen from it."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self._root = root

    def add(self, fault: object) -> None:
        """Note a fault once, as a sentence."""
        text = str(fault).replace(f"{self._root}/", "").strip().rstrip(".") + "."
        if text not in self:
            self.append(text)

    def reading(self, read: Callable[[Path], T], path: Path) -> T | None:
        """``read(path)``; None where there is nothing, and a note where it cannot be read."""
        try:
            return read(path) if path.exists() else None
        except (OSError, ValueError, MemoryError) as error:
            self.add(error)
            return None


def read_run_folder(path: Path) -> RunFolder:
    """Read whatever a run folder holds.

    Raises:
        FileNotFoundError: only when the folder itself does not exist
    """
    if not path.is_dir():
        raise FileNotFoundError(
            f"no run folder at {path}; make one with `vlsafe demo --out {path}`"
        )
    notes = Notes(path)
    if _looks_like_agent(path):
        notes.add(
            f"{path} is the folder of one agent; `vlsafe report {path.resolve().parent}` is about "
            "all that lie beside it"
        )
    folders = [f for f in sorted(path.iterdir()) if f.is_dir() and _looks_like_agent(f)]
    evaluations = {folder: _read_evaluations(folder, notes) for folder in folders}
    first, *others = _suffixes(folders)
    agents = [_read_agent(folder, evaluations[folder], first, notes) for folder in folders]
    agents = coloured(sorted(agents, key=_rank))
    if not agents:
        notes.add("No agent has been trained or evaluated in this run yet")
    conditions = [_elsewhere(path, agents, suffix, evaluations) for suffix in others]
    return RunFolder(
        path=path,
        agents=tuple(agents),
        elsewhere=tuple(condition for condition in conditions if condition.agents),
        dataset=_read_dataset(path / "data", notes),
        scorer=_read_scorer(path, notes),
        run=notes.reading(read_json, path / "run.json") or {},
        notes=tuple(notes),
    )


def _looks_like_agent(folder: Path) -> bool:
    try:
        recorded = any(folder.glob("episodes*/*.npz"))
        return folder.name != "data" and (recorded or any(any(folder.glob(s)) for s in _SIGNS))
    except OSError:  # a folder that may not be looked into
        return False


def _suffixes(folders: list[Path]) -> list[str]:
    """What the evaluations' names end in, the one that the report is about first."""
    files = [file for folder in folders for file in folder.glob(f"{_EVALUATION}*.json")]
    found = Counter(file.stem.removeprefix(_EVALUATION) for file in files)
    first = "" if "" in found or not found else max(sorted(found), key=found.__getitem__)
    return [first, *sorted(set(found) - {first})]


def _read_evaluations(folder: Path, notes: Notes) -> dict[str, StoredEvaluation]:
    """All evaluations in an agent's folder that can be read, by what their names end in."""
    found = {}
    for file in sorted(folder.glob(f"{_EVALUATION}*.json")):
        evaluation = notes.reading(read_evaluation, file)
        if evaluation is not None:
            found[file.stem.removeprefix(_EVALUATION)] = evaluation
    return found


def _read_agent(
    folder: Path, evaluations: dict[str, StoredEvaluation], suffix: str, notes: Notes
) -> AgentRun:
    evaluation = evaluations.get(suffix)
    known = evaluation or next(iter(evaluations.values()), None)
    settings: Mapping[str, Any] | None = notes.reading(read_json, folder / SETTINGS_FILE)
    if known is None:
        role = role_of(None, None, settings)
    else:
        settings = known.settings or settings
        role = role_of(known.kind, known.agent, settings)
    if not (folder / f"{_EVALUATION}{suffix}.json").exists() and role.key != "world_model":
        how = "only been evaluated elsewhere" if evaluations else "not been evaluated"
        notes.add(f"{folder}/{_EVALUATION}{suffix}.json is missing: this agent has {how}")
    return AgentRun(
        name=folder.name,
        role=role,
        evaluation=evaluation,
        settings=settings,
        costs=_costs(folder, known, settings, notes),
        progress=notes.reading(_read_progress, folder / "progress.csv") or {},
        episodes={file.stem: file for file in sorted(folder.glob(f"episodes{suffix}/*.npz"))},
        open_loop=read_arrays(folder / "open_loop.npz", notes),
        foresight=notes.reading(read_foresight, folder / FORESIGHT_FILE),
        folder=folder,
    )


def _costs(
    folder: Path,
    evaluation: StoredEvaluation | None,
    settings: Mapping[str, Any] | None,
    notes: Notes,
) -> Figures:
    """What learning cost, as training or else an evaluation wrote it down, with shared costs."""
    trained = notes.reading(lambda file: figures(read_json(file)), folder / TRAINING_FILE)
    costs: dict[str, float | None] = dict(trained or (evaluation and evaluation.training) or {})
    if costs and settings and "world_model_gradient_steps" not in costs:
        costs |= shared_costs(settings.get("world_model"))
    return costs


def _elsewhere(
    path: Path,
    agents: list[AgentRun],
    suffix: str,
    evaluations: Mapping[Path, dict[str, StoredEvaluation]],
) -> Condition:
    """The agents that have an evaluation of this name; its title is what sets it apart."""
    driven = []
    for agent in agents:
        found = evaluations[path / agent.name].get(suffix)
        if found is not None:
            role = role_of(found.kind, found.agent, agent.settings)
            driven.append(replace(agent, evaluation=found, role=role, episodes={}))
    usual, here = _env_kwargs(agents), _env_kwargs(driven)
    changed = [f"{key}={value}" for key, value in here.items() if usual.get(key) != value]
    return Condition(", ".join(changed) or suffix.strip("_").replace("_", " "), tuple(driven))


def _env_kwargs(agents: list[AgentRun]) -> Mapping[str, Any]:
    return next((agent.evaluation.env_kwargs for agent in agents if agent.evaluation), {})


def _rank(agent: AgentRun) -> tuple[int, str, str]:
    return KEYS.index(agent.role.key), agent.role.label.lower(), agent.name


# Legible on light and dark ground; agents of one kind have the kind's own colour and others.
_COLOURS = {
    "Expert (rule-based)": "#7d8590",
    "Cost-blind": "#a371c9",
    "VLSafe gated": "#3b82d6",
    "VLSafe Lagrangian": "#1f9d8a",
    "PPO-Lag": "#d9822b",
    "PPO": "#c75d5d",
    "Behaviour cloning": "#a88b4c",
    "World model only": "#8a8f98",
}
_FURTHER = (
    "#b85c9e", "#6a8f3c", "#5fa8d3", "#c9a227", "#6f6fd8", "#3c8d93",
    "#d16f7e", "#9c6b4f", "#7fae86", "#8c5aa8", "#4f7cac", "#b5895b",
)  # fmt: skip


def coloured(agents: list[AgentRun]) -> list[AgentRun]:
    """The agents, each with a colour of its own as far as there are enough."""
    used: list[str] = []
    for agent in agents:
        choice = [_COLOURS.get(agent.role.label, _FURTHER[0]), *_FURTHER]
        unused = [colour for colour in choice if colour not in used]
        used.append(unused[0] if unused else choice[len(used) % len(choice)])
    return [replace(agent, colour=colour) for agent, colour in zip(agents, used, strict=True)]


def read_arrays(path: Path, notes: Notes) -> Arrays | None:
    """Arrays of an ``.npz`` file; None where there is none, with a note when it is damaged."""
    return notes.reading(lambda file: read_npz(file, "arrays (.npz)"), path)


def _read_progress(path: Path) -> Columns:
    """Columns of an SB3 ``progress.csv``; empty cells become NaN."""
    try:
        rows = list(csv.DictReader(io.StringIO(read_text(path), newline="")))
    except csv.Error as error:
        raise ValueError(f"{path} is no table of comma-separated values ({error})") from None
    names = [name for name in (rows[0] if rows else {}) if name]
    columns = {name: np.array([_number(row.get(name)) for row in rows]) for name in names}
    return {name: values for name, values in columns.items() if np.isfinite(values).any()}


def _number(text: str | None) -> float:
    try:
        value = float(text or "nan")
    except ValueError:
        return float("nan")
    return value if math.isfinite(value) else float("nan")


def _read_scorer(path: Path, notes: Notes) -> Any:
    """Held-out figures of the scorer, of any form; None where there are none."""
    file = path / SCORER_FILE
    file = file if file.exists() else path / _FORMER_SCORER_FILE
    return notes.reading(lambda file: read_json(file, object), file)


def _read_dataset(path: Path, notes: Notes) -> Mapping[str, Any] | None:
    if not path.exists():
        notes.add("This run has no data set of its own (no folder data/)")
        return None
    from vlsafe_agents.data.storage import read_metadata, resolve_dataset

    try:
        return read_metadata(resolve_dataset(path))
    except Exception as error:  # whatever is wrong with a file must not cost the reader the page
        notes.add(f"The data set cannot be read: {error}")
        return None
