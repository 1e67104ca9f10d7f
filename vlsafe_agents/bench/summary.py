"""What came of a suite: rows of algorithms in each task, an environment under one condition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vlsafe_agents.bench.kept import kept_evaluations
from vlsafe_agents.bench.record import SUITE_FILE, Line, read_results
from vlsafe_agents.evaluation.intervals import aggregate_seeds
from vlsafe_agents.evaluation.resampling import Estimate
from vlsafe_agents.evaluation.roles import UNKNOWN, Role, role_of
from vlsafe_agents.evaluation.run_statistics import estimate, estimate_improvement
from vlsafe_agents.evaluation.stored import StoredEvaluation, read_evaluation
from vlsafe_agents.pages.charts import PALETTE
from wrappers.files import read_json

Floats = npt.NDArray[np.float64]


MARKS = ("o", "s", "^", "D")  # of charts, each for one round through the palette
DASHES = ("-", "--", ":", "-.")


@dataclass(frozen=True)
class Run:
    """One training seed of an algorithm in one task."""

    seed: int | None  # None: nothing was trained
    evaluation: StoredEvaluation
    training: Mapping[str, Any]  # what learning has cost
    spent: Mapping[str, Any]  # wall_s, cpu_s and peak_memory_mb of the training's command


@dataclass(frozen=True)
class Entry:
    """An algorithm in one task, over its training seeds."""

    name: str
    label: str
    place: int  # in the suite's order; gives its colour, mark and dashes in charts
    runs: tuple[Run, ...]

    @property
    def colour(self) -> str:
        """Of marks and lines."""
        return PALETTE[self.place % len(PALETTE)]

    @property
    def mark(self) -> str:
        """Matplotlib's; another one where colours come again."""
        return MARKS[self.place // len(PALETTE) % len(MARKS)]

    @property
    def dashes(self) -> str:
        """Matplotlib's style of lines; likewise."""
        return DASHES[self.place // len(PALETTE) % len(DASHES)]

    @property
    def title(self) -> str:
        """What it is, and its name in the suite."""
        return f"{self.label} ({self.name})" if self.label != self.name else self.name

    @property
    def has_learned(self) -> bool:
        """Whether something was trained, here or before: the agent, or its shield."""
        found = (run.evaluation for run in self.runs)
        return any(one.kind != "driver" or one.shielded is not None for one in found)

    @cached_property
    def all_metrics(self) -> dict[str, dict[str, Any]]:
        """Every metric over training seeds, with its interval and the seeds' own values."""
        return aggregate_seeds([run.evaluation.records for run in self.runs])

    def summary(self, metric: str) -> dict[str, Any] | None:
        """``{"mean", "low", "high", "per_seed"}``; None where it is not known."""
        entry = self.all_metrics[metric]
        return None if entry["mean"] is None else entry

    def mean(self, metric: str) -> float | None:
        """The mean over training seeds; None where it is not known."""
        entry = self.summary(metric)
        return None if entry is None else float(entry["mean"])

    def costs(self, key: str) -> list[float | None]:
        """What learning has cost each training seed; None where it is not known."""
        return [run.training.get(key) for run in self.runs]


@dataclass(frozen=True)
class Task:
    """An environment under one condition, and who drove there on the same seeds."""

    environment: str
    condition: str
    entries: tuple[Entry, ...]

    @property
    def name(self) -> str:
        """Of both."""
        return f"{self.environment}, {self.condition}"

    @property
    def evaluation(self) -> StoredEvaluation:
        """One that all others are comparable with."""
        return self.entries[0].runs[0].evaluation

    def entry(self, name: str) -> Entry | None:
        """The row of an algorithm; None where it has not driven here."""
        return next((entry for entry in self.entries if entry.name == name), None)


@dataclass(frozen=True)
class SuiteResults:
    """All that is known of a suite's folder."""

    path: Path
    name: str
    about: str
    command: str
    reference: str | None
    tasks: tuple[Task, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = field(default=())  # what is missing or to be known beside the tables

    @cached_property
    def names(self) -> list[str]:
        """Of all algorithms that drove somewhere, in the suite's order."""
        found = dict.fromkeys(entry.name for task in self.tasks for entry in task.entries)
        return list(found)

    def entry(self, name: str) -> Entry:
        """Any row of an algorithm: its label and colour."""
        return next(found for task in self.tasks if (found := task.entry(name)) is not None)

    def metric_scores(self, name: str, metric: str, sign: float = 1.0) -> Floats | None:
        """A metric of an algorithm times a sign, ``(runs, tasks)``.

        Of the training seeds that drove on every task; None where there are none, or where the
        metric is not known of one of them.
        """
        columns: list[dict[int | None, float | None]] = []
        for task in self.tasks:
            entry = task.entry(name)
            if entry is None:
                return None
            seeds = (run.seed for run in entry.runs)
            columns.append(dict(zip(seeds, entry.all_metrics[metric]["per_seed"], strict=True)))
        common = [seed for seed in columns[0] if all(seed in column for column in columns)]
        rows = [[column[seed] for column in columns] for seed in common]
        if not rows or any(value is None for row in rows for value in row):
            return None
        return sign * np.array(rows, dtype=np.float64)

    def interquartile(self, name: str, metric: str, relative: bool = False) -> Estimate | None:
        """Interquartile mean of a metric over runs and tasks; None where it is not known.

        Args:
            relative: in parts of the reference's mean on each task.
        """
        scores = self.metric_scores(name, metric)
        if scores is None:
            return None
        if relative:
            unit = [
                entry.mean(metric) if entry is not None else None
                for entry in (task.entry(str(self.reference)) for task in self.tasks)
            ]
            if any(value is None or value <= 0.0 for value in unit):
                return None
            scores = scores / np.array(unit, dtype=np.float64)
        return estimate(scores)

    def improvement(self, one: str, other: str, metric: str, sign: float) -> Estimate | None:
        """How probably a run of one algorithm does better than one of another on a task."""
        first = self.metric_scores(one, metric, sign)
        second = self.metric_scores(other, metric, sign)
        return None if first is None or second is None else estimate_improvement(first, second)


def read_suite_results(out: Path) -> SuiteResults:
    """Read a folder of ``vlsafe bench``.

    Raises:
        FileNotFoundError: for a folder without results.
        ValueError: for damaged files.
    """
    facts = read_json(out / SUITE_FILE, dict, "give a folder of `vlsafe bench`")
    lines, notes = read_results(out), []
    kept = kept_evaluations(out)
    labels = facts.get("algorithms") or {}
    by_name = {line.get("cell"): line for line in lines}
    places: dict[tuple[str, str], dict[str, list[Run]]] = {}
    for line in lines:
        if line.get("status") in ("failed", "blocked", "running"):
            notes.append(_trouble(line))
        if line.get("status") != "done" or "evaluation" not in line:
            continue
        place = line["evaluation"]
        evaluation = kept[place] if place in kept else read_evaluation(out / place)
        rows = places.setdefault((line["environment"], line["condition"]), {})
        first = next((run for runs in rows.values() for run in runs), None)
        if first is not None and (key := evaluation.differs_in(first.evaluation)):
            notes.append(f"{line['cell']} differs from the others in {key}; it is left out")
            continue
        trained = next((by_name[n] for n in line["needs"] if "train" in n and n in by_name), {})
        training = evaluation.training or trained.get("training") or {}
        spent = {key: trained.get(key) for key in ("wall_s", "cpu_s", "peak_memory_mb")}
        run = Run(line["seed"], evaluation, training, spent)
        rows.setdefault(line["algorithm"], []).append(run)
    order = [name for name in labels if any(name in rows for rows in places.values())]
    tasks = [
        Task(
            env,
            condition,
            tuple(
                _entry(name, labels, place, rows[name])
                for place, name in enumerate(order)
                if name in rows
            ),
        )
        for (env, condition), rows in places.items()
    ]
    return SuiteResults(
        path=out,
        name=str(facts.get("name")),
        about=" ".join(str(facts.get("about") or "").split()),
        command=str(facts.get("command")),
        reference=facts.get("reference"),
        tasks=tuple(task for task in tasks if task.entries),
        lines=tuple(lines),
        notes=(*notes, *_mixed(lines)),
    )


def _entry(name: str, labels: Mapping[str, str], place: int, runs: Sequence[Run]) -> Entry:
    roles = {_role(run.evaluation) for run in runs}
    role = roles.pop() if len(roles) == 1 else UNKNOWN
    shield = runs[0].evaluation.conditions
    label = labels[name] or ", ".join(part for part in (role.label, shield) if part) or name
    return Entry(name, label, place, tuple(runs))


def _role(evaluation: StoredEvaluation) -> Role:
    return role_of(evaluation.kind, evaluation.agent, evaluation.settings)


def _trouble(line: Line) -> str:
    if line["status"] == "running":
        return f"{line['cell']} was interrupted, or runs still"
    word = "failed" if line["status"] == "failed" else "was not run"
    return f"{line['cell']} {word}: {line.get('error')}"


def _mixed(lines: Sequence[Line]) -> list[str]:
    """What to know where cells were made by several versions."""
    done = [line for line in lines if line.get("status") == "done"]
    commits = sorted({str(line.get("commit")) for line in done})
    found = []
    if len(commits) > 1:
        found.append(f"cells were made by several commits of vlsafe: {', '.join(commits)}")
    for package in sorted({name for line in done for name in line.get("versions") or {}}):
        used = sorted({str((line.get("versions") or {}).get(package)) for line in done})
        if len(used) > 1:
            found.append(f"cells were made with several versions of {package}: {', '.join(used)}")
    return found
