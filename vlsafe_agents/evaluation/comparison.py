"""Algorithms trained with several seeds, side by side, read from the files of `vlsafe evaluate`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlsafe_agents.common.typed_config import changed_keys
from vlsafe_agents.evaluation.intervals import aggregate_seeds
from vlsafe_agents.evaluation.roles import UNKNOWN, Role, role_of
from vlsafe_agents.evaluation.stored import StoredEvaluation, read_evaluation
from vlsafe_agents.training.settings import SETTINGS_FILE
from wrappers.files import read_json

# What training seeds of one algorithm may differ in: the seed, and where and from what.
DIFFERENT = ("seed", "data", "world_model", "policy", "device")


@dataclass(frozen=True)
class Algorithm:
    """One algorithm over its training seeds."""

    name: str  # of the agents' folders, and under which limit or shield they drove
    role: Role
    summary: dict[str, dict[str, Any]]  # {metric: {"mean", "low", "high", "per_seed"}}
    # while learning, by training seed; None: not known
    collisions_caused: tuple[float | None, ...]
    shielded: bool = False


@dataclass(frozen=True)
class Comparison:
    """Algorithms that drove the same environment on the same seeds."""

    env_id: str
    env_kwargs: Mapping[str, Any]
    episodes: int  # of each agent
    algorithms: tuple[Algorithm, ...]  # in the order of their first files


@dataclass(frozen=True)
class _Run:
    """One training seed."""

    path: Path
    evaluation: StoredEvaluation
    settings: Mapping[str, Any] | None

    @property
    def role(self) -> Role:
        return role_of(self.evaluation.kind, self.evaluation.agent, self.settings)

    @property
    def name(self) -> str:
        """The algorithm's, by the agent's folder, with the limit and the shield it drove under."""
        folder, conditions = self.path.absolute().parent.name, self.evaluation.conditions
        return f"{folder}, {conditions}" if conditions else folder


def compare(paths: Iterable[Path]) -> Comparison:
    """Put evaluations together: files whose folders have one name are seeds of one algorithm.

    With a shield they are seeds of another one, and so they are under each cost limit that one
    agent was asked to keep.

    So ``compare(Path("runs").glob("*/*/evaluation.json"))`` reads ``runs/0/gated``,
    ``runs/1/gated`` and ``runs/0/bc`` as two seeds of ``gated`` and one of ``bc``.

    Raises:
        FileNotFoundError: for a missing file.
        ValueError: without files, for files that are no evaluations or given twice, where agents
            drove different environments or seeds (such figures do not stand in one table), and
            where folders of one name hold agents that were trained with different settings.
    """
    found: dict[str, list[_Run]] = {}
    first: _Run | None = None
    seen: set[Path] = set()
    for path in paths:
        run = _read(path)
        if path.resolve() in seen:
            raise ValueError(f"{path} is given twice; it would count as two training seeds")
        seen.add(path.resolve())
        first = first or run
        if key := run.evaluation.differs_in(first.evaluation):
            raise ValueError(
                f"{path} and {first.path} differ in {key}: compare agents that drove the same "
                "environment on the same seeds"
            )
        others = found.setdefault(run.name, [])
        if others:
            _require_same_algorithm(others[0], run)
        others.append(run)
    if first is None:
        raise ValueError("nothing to compare: give files that `vlsafe evaluate` has written")
    algorithms = tuple(_algorithm(name, runs) for name, runs in found.items())
    facts = first.evaluation
    return Comparison(facts.env_id, facts.env_kwargs, len(facts.records), algorithms)


def _read(path: Path) -> _Run:
    evaluation = read_evaluation(path)
    settings, beside = evaluation.settings, path.parent / SETTINGS_FILE
    if settings is None and evaluation.kind != "driver" and beside.is_file():
        settings = read_json(beside)
    return _Run(path, evaluation, settings)


def _require_same_algorithm(first: _Run, other: _Run) -> None:
    """What is not known of one cannot be held against the other."""
    same_role = UNKNOWN in (first.role, other.role) or first.role == other.role
    different = [] if same_role else ["kind of agent"]
    if first.settings is not None and other.settings is not None:
        different += changed_keys(first.settings, other.settings, but=DIFFERENT)
    if different:
        raise ValueError(
            f"{first.path} and {other.path} are no seeds of one algorithm: they differ in "
            f"{', '.join(different)}; give their folders different names"
        )


def _algorithm(name: str, runs: list[_Run]) -> Algorithm:
    summary = aggregate_seeds([run.evaluation.records for run in runs])
    caused = [run.evaluation.training.get("collisions_caused") for run in runs]
    roles = {run.role for run in runs}
    role = roles.pop() if len(roles) == 1 else UNKNOWN
    shielded = runs[0].evaluation.shielded is not None
    return Algorithm(name, role, summary, tuple(caused), shielded)
