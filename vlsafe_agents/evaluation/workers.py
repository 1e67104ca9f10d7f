"""Sharing the episodes of an evaluation among fresh processes.

The processes are spawned, not forked (torch's threads do not survive a fork). An SB3 model travels
as its own zip file, everything else by cloudpickle, which also carries lambdas and closures.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cloudpickle  # type: ignore[import-untyped]

from vlsafe_agents.evaluation.metrics import EpisodeRecord

_worker_task: Callable[[int], EpisodeRecord] | None = None


def run_in_processes(
    agent: Any,
    make_env: Callable[[], Any],
    seeds: Sequence[int],
    deterministic: bool,
    n_workers: int,
    progress: Callable[[EpisodeRecord], None] | None,
) -> list[EpisodeRecord]:
    """The records of `seeds`, in their order; `progress` hears of them as they finish.

    :raises ValueError: for a driver object, which cannot be bound to an environment elsewhere
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
        payload = cloudpickle.dumps((load, make_env, deterministic))
        with ProcessPoolExecutor(
            min(n_workers, len(seeds)),
            mp_context=get_context("spawn"),
            initializer=_start_worker,
            initargs=(payload,),
        ) as pool:
            futures = {pool.submit(_run_seed, seed): seed for seed in seeds}
            records = {}
            for future in as_completed(futures):
                records[futures[future]] = future.result()
                if progress is not None:
                    progress(future.result())
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


def _start_worker(payload: bytes) -> None:
    global _worker_task
    from vlsafe_agents.evaluation.episode import run_episode

    load, make_env, deterministic = cloudpickle.loads(payload)
    agent, env = load(), make_env()
    if "torch" in sys.modules:  # not imported for drivers: it takes seconds
        sys.modules["torch"].set_num_threads(1)  # the processes share the cores already
    _worker_task = lambda seed: run_episode(agent, env, seed, deterministic)  # noqa: E731


def _run_seed(seed: int) -> EpisodeRecord:
    assert _worker_task is not None, "the worker was not started"
    return _worker_task(seed)
