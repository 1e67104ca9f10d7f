"""Who runs the commands: processes of this machine, or Ray's workers on several.

Both run each command under :mod:`~vlsafe_agents.bench.supervise`, so that their figures are the
same and nothing is left running when whoever has started it is killed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

from vlsafe_agents.common.ray_cluster import start_ray

EngineName = Literal["processes", "ray"]
RETRIES = 3  # of a cell whose Ray worker has died; the command goes on where it was
_POLL = 0.2  # [s]
# Small networks on few cores run several times faster with one thread a process.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Job:
    """A command to run.

    Args:
        name: of the cell.
        command: with its program, in places as this process knows them.
        log: file that its output is added to.
        lock: file beside which the lock lies that keeps two of one cell apart.
    """

    name: str
    command: Sequence[str]
    log: str
    lock: str
    slots: int = 1
    gpus: float = 0.0
    environment: Mapping[str, str] = field(default_factory=lambda: job_environment())


def job_environment() -> dict[str, str]:
    """Variables of a job: one thread, and ``python`` is the one that runs this."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return {**ONE_THREAD, "PATH": path}


@dataclass(frozen=True)
class Outcome:
    """How a command has ended, and what it took; None: not known."""

    code: int
    wall_s: float | None = None
    cpu_s: float | None = None
    peak_memory_mb: float | None = None
    stopped: bool = False
    error: str = ""  # of the engine, where it never came to an exit code


class Engine(Protocol):
    """Runs jobs side by side."""

    def fits(self, job: Job) -> bool:
        """Whether there is room for one more now."""

    def start(self, job: Job) -> None:
        """Begin a job."""

    def ended(self) -> list[tuple[str, Outcome]]:
        """Names and outcomes of jobs that have ended since; waits a moment where none has."""

    def close(self) -> None:
        """Stop what still runs; checkpoints are saved."""


def make_engine(name: str, workers: int) -> Engine:
    """An engine by its name.

    Raises:
        ValueError: for an unknown name, or fewer workers than 1.
        ImportError: without Ray, naming the remedy.
    """
    if name not in get_args(EngineName):
        raise ValueError(
            f"unknown engine {name!r}; choose one of {', '.join(get_args(EngineName))}"
        )
    if workers < 1:
        raise ValueError(f"workers must be at least 1, not {workers}")
    return Processes(workers) if name == "processes" else RayTasks(workers)


def started(job: Job) -> subprocess.Popen[bytes]:
    """The job's supervisor; it ends when its standard input is closed."""
    path = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}  # it imports what we can
    return subprocess.Popen(
        [sys.executable, "-m", "vlsafe_agents.bench.supervise", json.dumps(asdict(job))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **path},
        start_new_session=True,  # Ctrl-C is for us to pass on
    )


def outcome_of(supervisor: subprocess.Popen[bytes]) -> Outcome:
    """What a supervisor has told; waits for its end."""
    assert supervisor.stdout is not None
    told = supervisor.stdout.read()
    code = supervisor.wait()
    try:
        return Outcome(**json.loads(told))
    except (ValueError, TypeError):
        return Outcome(code or 1, error=f"its supervisor died (exit code {code})")


class Processes:
    """Processes of this machine, as many as there are slots."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._running: dict[str, tuple[Job, subprocess.Popen[bytes]]] = {}

    def fits(self, job: Job) -> bool:
        """A job of more slots than there are runs alone."""
        used = sum(other.slots for other, _ in self._running.values())
        return not self._running or used + job.slots <= self._slots

    def start(self, job: Job) -> None:
        self._running[job.name] = job, started(job)

    def ended(self) -> list[tuple[str, Outcome]]:
        names = [name for name, (_, one) in self._running.items() if one.poll() is not None]
        if not names:
            time.sleep(_POLL)
        return [(name, outcome_of(self._running.pop(name)[1])) for name in names]

    def close(self) -> None:
        for _, supervisor in self._running.values():
            assert supervisor.stdin is not None
            supervisor.stdin.close()
        for _, supervisor in self._running.values():
            outcome_of(supervisor)
        self._running.clear()


class RayTasks:
    """Tasks of Ray, on all machines of its cluster; they must see the suite's folder.

    With ``RAY_ADDRESS`` set that cluster is used, otherwise Ray is started here with as many slots.
    A task whose worker dies is tried again, up to ``RETRIES`` times.
    """

    def __init__(self, slots: int) -> None:
        self._ray, self._started = start_ray(slots)
        self._task = self._ray.remote(max_retries=RETRIES)(_supervised)
        self._names: dict[Any, str] = {}

    def fits(self, job: Job) -> bool:
        """Ray itself keeps those waiting that there is no room for."""
        return True

    def start(self, job: Job) -> None:
        cores = self._ray.cluster_resources().get("CPU", 1)
        options = {"num_cpus": min(job.slots, cores), "num_gpus": job.gpus, "name": job.name}
        self._names[self._task.options(**options).remote(job)] = job.name

    def ended(self) -> list[tuple[str, Outcome]]:
        ready, _ = self._ray.wait(list(self._names), timeout=_POLL)
        return [(self._names.pop(one), self._outcome(one)) for one in ready]

    def _outcome(self, reference: Any) -> Outcome:
        try:
            found: Outcome = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            words = str(error).strip().splitlines()
            return Outcome(1, error=f"Ray: {words[0] if words else type(error).__name__}")
        return found

    def close(self) -> None:
        for reference in self._names:
            self._ray.cancel(reference, force=True)
        self._names.clear()
        if self._started:
            self._ray.shutdown()


def _supervised(job: Job) -> Outcome:
    """A job in one of Ray's workers, whose death ends it."""
    return outcome_of(started(job))
