"""Sharing the episodes of an evaluation among fresh processes.

An SB3 model travels as its own zip file, everything else by cloudpickle, which also carries lambdas
and closures.
"""

from __future__ import annotations

import multiprocessing
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cloudpickle  # type: ignore[import-untyped]

from vlsafe_agents.data.pool import run_tasks
from vlsafe_agents.evaluation.metrics import EpisodeRecord

Refusals = (ValueError, TypeError, KeyError)  # whose sentences are for the user


def run_in_processes(
    agent: Any,
    make_env: Callable[[], Any],
    seeds: Sequence[int],
    deterministic: bool,
    n_workers: int,
    progress: Callable[[EpisodeRecord], None] | None,
) -> list[EpisodeRecord]:
    """The records of `seeds`, in their order; `progress` hears of them as they finish.

    Raises:
        ValueError: for a driver object, which cannot be bound to an environment elsewhere
        WorkerError: when a process dies, or fails other than `run_episode` says
    """
    if hasattr(agent, "act") and not hasattr(agent, "predict"):
        raise ValueError(
            "A driver bound to one environment cannot travel to other processes; pass a function "
            "(env, rng) -> driver, or use n_workers=1."
        )
    with tempfile.TemporaryDirectory() as folder:
        if hasattr(agent, "save") and hasattr(agent, "load"):
            path = Path(folder) / "model.zip"
            agent.save(path)
            load: Callable[[], Any] = _ModelFile(type(agent), path)
        else:
            load = _Constant(agent)
        job = _MakeJob(cloudpickle.dumps((load, make_env, deterministic)))
        records = {}
        for seed, found in run_tasks(job, iter(seeds), min(n_workers, len(seeds))):
            if isinstance(found, Exception):
                raise found
            records[seed] = found
            if progress is not None:
                progress(found)
    return [records[seed] for seed in seeds]


class _ModelFile:
    def __init__(self, model_class: Any, path: Path) -> None:
        self.model_class, self.path = model_class, path

    def __call__(self) -> Any:
        return self.model_class.load(self.path, device="cpu")


class _Constant:
    def __init__(self, value: Any) -> None:
        self.value = value

    def __call__(self) -> Any:
        return self.value


class _MakeJob:
    """Called once in each process: the agent and its environment, ready for seeds."""

    def __init__(self, payload: bytes) -> None:
        self.payload = payload

    def __call__(self) -> Callable[[int], EpisodeRecord | Exception]:
        from vlsafe_agents.evaluation.episode import run_episode

        load, make_env, deterministic = cloudpickle.loads(self.payload)
        agent, env = load(), make_env()
        # torch is not imported for drivers, as that takes seconds; the processes share the cores
        if "torch" in sys.modules and multiprocessing.parent_process() is not None:
            sys.modules["torch"].set_num_threads(1)

        def drive(seed: int) -> EpisodeRecord | Exception:
            try:
                return run_episode(agent, env, seed, deterministic)
            except Refusals as error:
                return error

        return drive
