"""Reading a run folder, piece by piece; what cannot be read becomes a note, never an error.

A run folder holds ``data/`` (Minari), one folder for each agent (``settings.json``,
``training.json``, ``evaluation.json``, ``progress.csv``, ``episodes/*.npz``, ``open_loop.npz``,
``foresight.json``), and perhaps ``scorer.json`` (``judge.json`` in older runs) and ``run.json``.
What was driven in another environment than trained in (denser traffic, held-out maps) stands beside
it under a name that says so: ``evaluation_maps_test.json``; and so do drives behind a shield
(``evaluation_shield-risk-0.05.json``), which are a row of their own.  Drives of one agent under
several cost limits (``evaluation_limit_0.5.json``) are its frontier.
"""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from vlsafe_agents.evaluation.roles import KEYS, role_of
from vlsafe_agents.evaluation.stored import (
    Figures,
    StoredEvaluation,
    limit_suffix,
    read_evaluation,
    shield_suffix,
)
from vlsafe_agents.foresight import FORESIGHT_FILE, read_foresight
from vlsafe_agents.report.agent_run import AgentRun, Arrays, Columns, coloured
from vlsafe_agents.training.facts import TRAINING_FILE, figures, shared_costs
from vlsafe_agents.training.settings import SETTINGS_FILE
from wrappers.files import read_json, read_npz, read_text

_Evaluations = dict[str, StoredEvaluation]  # by what the names of their files end in
T = TypeVar("T")

SCORER_FILE = "scorer.json"  # held-out figures of the scorer that labelled the data
_FORMER_SCORER_FILE = "judge.json"
_EVALUATION = "evaluation"
_SIGNS = (f"{_EVALUATION}*.json", SETTINGS_FILE, "progress.csv", "model.zip", "open_loop.npz")


@dataclass(frozen=True)
class Condition:
    """The agents that were evaluated in one environment, such as on held-out maps."""

    title: str
    agents: tuple[AgentRun, ...]
    limit: float | None = None  # that they were asked to keep


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
    read = {folder: _read_evaluations(folder, notes) for folder in folders}
    limited = {folder: _at_limits(evaluations) for folder, evaluations in read.items()}
    first, *others = _suffixes(read, limited)
    found: dict[str, _Evaluations] = {}  # by the names of the agents
    agents = []
    for folder in folders:
        for shield, evaluations in _by_shield(folder, read[folder]).items():
            if shield:
                agents.append(_read_shielded(folder, shield, evaluations, first, notes))
            else:
                agent = _read_agent(folder, evaluations, first, notes)
                agents.append(replace(agent, at_limits=tuple(limited[folder].values())))
            found[agents[-1].name] = evaluations
    agents = coloured(sorted(agents, key=_rank))
    if not agents:
        notes.add("No agent has been trained or evaluated in this run yet")
    conditions = [_elsewhere(agents, suffix, found) for suffix in others]
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


def _at_limits(evaluations: _Evaluations) -> _Evaluations:
    """Take out the drives that differ in the cost limit only."""
    own = [
        suffix
        for suffix, evaluation in evaluations.items()
        if evaluation.cost_limit is not None and suffix == limit_suffix(evaluation.cost_limit)
    ]
    return {suffix: evaluations.pop(suffix) for suffix in own}


def _suffixes(read: Mapping[Path, _Evaluations], limited: Mapping[Path, _Evaluations]) -> list[str]:
    """What the evaluations' names end in but for shields, the one that the report is about first.

    Files that could not be read have names, too; those of ``limited`` do not count.
    """
    found: Counter[str] = Counter()
    for folder, evaluations in read.items():
        for file in folder.glob(f"{_EVALUATION}*.json"):
            suffix = file.stem.removeprefix(_EVALUATION)
            if suffix in limited[folder]:
                continue
            found[_without_shield(suffix, evaluations.get(suffix))] += 1
    first = "" if "" in found or not found else max(sorted(found), key=found.__getitem__)
    return [first, *sorted(set(found) - {first})]


def _without_shield(suffix: str, evaluation: StoredEvaluation | None) -> str:
    if evaluation is None or evaluation.shielded is None:
        return suffix
    return suffix.removesuffix(shield_suffix(evaluation.shielded))


def _by_shield(folder: Path, evaluations: _Evaluations) -> dict[str, _Evaluations]:
    """The evaluations of one folder by shields, those without first, which have an empty name.

    A folder of nothing but shielded drives, as of drivers, has no row without a shield.
    """
    found: dict[str, _Evaluations] = {"": {}}
    for suffix, evaluation in evaluations.items():
        own = found.setdefault(evaluation.shield, {})
        own[_without_shield(suffix, evaluation)] = evaluation
    trained = any((folder / name).exists() for name in (SETTINGS_FILE, "progress.csv"))
    if len(found) > 1 and not found[""] and not trained:
        del found[""]
    return found


def _read_evaluations(folder: Path, notes: Notes) -> _Evaluations:
    """All evaluations in an agent's folder that can be read, by what their names end in."""
    found = {}
    for file in sorted(folder.glob(f"{_EVALUATION}*.json")):
        evaluation = notes.reading(read_evaluation, file)
        if evaluation is not None:
            found[file.stem.removeprefix(_EVALUATION)] = evaluation
    return found


def _read_agent(folder: Path, evaluations: _Evaluations, suffix: str, notes: Notes) -> AgentRun:
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


def _read_shielded(
    folder: Path, shield: str, evaluations: _Evaluations, suffix: str, notes: Notes
) -> AgentRun:
    """The agent of a folder behind a shield."""
    evaluation = evaluations.get(suffix)
    known = evaluation or next(iter(evaluations.values()))
    settings = known.settings or notes.reading(read_json, folder / SETTINGS_FILE)
    drawn = folder.glob(f"episodes{suffix}{shield_suffix(known.shielded or {})}/*.npz")
    return AgentRun(
        name=f"{folder.name}, {shield}",
        role=role_of(known.kind, known.agent, settings),
        evaluation=evaluation,
        settings=settings,
        costs=known.training,
        episodes={file.stem: file for file in sorted(drawn)},
        folder=folder,
        shielded=True,
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
    agents: list[AgentRun], suffix: str, evaluations: Mapping[str, _Evaluations]
) -> Condition:
    """The agents that have an evaluation of this name; its title is what sets it apart."""
    driven = []
    for agent in agents:
        found = evaluations[agent.name].get(suffix)
        if found is not None:
            role = role_of(found.kind, found.agent, agent.settings)
            driven.append(replace(agent, evaluation=found, role=role, episodes={}))
    usual, here = _env_kwargs(agents), _env_kwargs(driven)
    changed = [f"{key}={value}" for key, value in here.items() if usual.get(key) != value]
    if any(a.evaluation is not None and a.evaluation.stochastic for a in driven):
        changed.append("stochastic")
    limit = next((found.cost_limit for a in driven if (found := a.evaluation)), None)
    if limit is None or not suffix.endswith(limit_suffix(limit)):
        limit = None
    else:
        changed.append(f"limit {limit:g}")
    title = ", ".join(changed) or suffix.strip("_").replace("_", " ")
    return Condition(title, tuple(driven), limit)


def _env_kwargs(agents: list[AgentRun]) -> Mapping[str, Any]:
    return next((agent.evaluation.env_kwargs for agent in agents if agent.evaluation), {})


def _rank(agent: AgentRun) -> tuple[int, str, str]:
    return KEYS.index(agent.role.key), agent.role.label.lower(), agent.name


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
