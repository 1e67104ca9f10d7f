"""Driving a stated mix of drivers into one Minari data set, in parallel and resumable."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym

from vlsafe_agents.common.border import action_dtype
from vlsafe_agents.common.progress import ProgressReport
from vlsafe_agents.data.branch_sets import (
    Outgrowth,
    assemble_branches,
    make_way,
    with_all_branches,
)
from vlsafe_agents.data.branching import Brancher
from vlsafe_agents.data.collection import (
    CollectConfig,
    Plan,
    Task,
    Work,
    check_place,
    claim,
    is_whole,
    remove_leftovers,
    settings_hash,
    settings_of,
)
from vlsafe_agents.data.driving import (
    Fleet,
    MakeDriver,
    MakeEnv,
    drive,
    drive_together,
)
from vlsafe_agents.data.pool import run_tasks
from vlsafe_agents.data.remote import note_namespaces
from vlsafe_agents.data.shards import (
    ShardFacts,
    assemble,
    contents_of,
    count_shards,
    read_shards,
)
from wrappers.files import one_writer

EPISODES_AT_ONCE = 8  # of each environment of a fleet, before its worker is asked for more

Job = Callable[[Task], list[ShardFacts]]


@dataclass(frozen=True)
class CollectSummary:
    """What was collected."""

    path: Path  # folder of the data set
    episodes: int
    steps: int
    unsafe_share: float  # share of steps with a cost by simulator truth
    collisions: int | None  # None: the environment reports none
    # per driver: episodes, steps, unsafe_steps, collisions, return
    drivers: dict[str, dict[str, float | None]]
    megabytes: float
    branches: dict[str, Any] | None = None  # see ``branch_sets``; None: none were asked for


def collect(
    config: CollectConfig,
    out: str | Path,
    make_env: MakeEnv,
    make_driver: MakeDriver,
    workers: int = 1,
    progress: bool = True,
    overwrite: bool = False,
    fleet: Fleet | None = None,
    brancher: Brancher | None = None,
) -> CollectSummary:
    """Collect a data set under the Minari root ``out``, going on where a killed run stopped.

    ``make_env`` builds an environment with a ``Dict`` observation and ``info["env_cost"]`` (or
    ``"cost"``); ``make_driver(name, env, rng)`` a driver for it.  With a ``fleet`` each worker
    drives many episodes at once; they are the same, so that either may finish what the other has
    begun.  All of these must be picklable when ``workers`` is above 1.

    With ``config.branches`` the ``brancher`` drives on from states of each episode, see
    :mod:`~vlsafe_agents.data.branching`; what comes of it is a data set beside this one.

    Raises:
        FileExistsError: other data are in the way and ``overwrite`` is off.
        FolderInUseError: another process collects there.
        OSError: nothing can be written there; what has been driven is kept.
        ValueError: an environment without costs or with other spaces than a ``Dict`` of
            observations and ``Discrete``, ``MultiDiscrete`` or ``Box`` actions, or that says what
            cannot be stored.
        WorkerError: a worker failed.
    """
    for name, given in (("make_env", make_env), ("make_driver", make_driver)):
        if not callable(given):
            raise ValueError(f"{name}={given!r}: give a function")
    if not isinstance(fleet, Fleet | None):
        raise ValueError(f"fleet={fleet!r}: give a Fleet, or None")
    if (brancher is None) != (config.branches is None):
        raise ValueError("config.branches and a brancher belong together: give both, or neither")
    if not is_whole(workers, 1):
        raise ValueError(f"workers={workers!r}: give an integer of at least 1")
    target = Path(out).resolve() / config.dataset_id  # HDF5 links are found from any folder
    shards = target.with_name(f".{target.name}.shards")
    if target.is_dir() and not shards.exists() and not overwrite:
        return _finished(target, config)
    check_place(target)
    with _saying_what_is_kept(shards), one_writer(target, "vlsafe collect"):
        remove_leftovers(target)
        if target.exists() and not overwrite:
            summary = _finished(target, config)
            shutil.rmtree(shards, ignore_errors=True)
            return summary
        spaces, spec = _look_at(make_env)
        if overwrite:
            shutil.rmtree(target, ignore_errors=True)
            shutil.rmtree(shards, ignore_errors=True)
        make_way(config, target)
        settings = settings_of(config)
        claim(shards, settings)
        plan, whose = Plan(config), settings_hash(settings)
        done = read_shards(shards, whose, lambda index: plan[index][1:])
        done = with_all_branches(config, shards, done)
        out_of = partial(Outgrowth, config, shards, make_env, brancher)
        if fleet is None:
            job, largest = partial(_make_job, config, shards, make_env, make_driver, out_of), 1
        else:
            job = partial(_make_fleet_job, config, shards, fleet, out_of)
            largest = _largest_task(fleet)
        work = Work(config, done)
        _drive_all(work, job, workers, largest, progress)
        facts = work.needed()
        metadata = _metadata(config, facts)
        branches = assemble_branches(config, shards, facts, target, spaces, spec, metadata)
        if branches is not None:
            metadata["contents"]["branches"] = branches
        assemble(shards, facts, target, spaces, spec, metadata)
        note_namespaces(Path(out).resolve(), config.dataset_id)
        shutil.rmtree(shards)
        size = sum(file.stat().st_size for file in (target / "data").iterdir()) / 1e6
        return CollectSummary(target, megabytes=round(size, 1), **metadata["contents"])


def _look_at(make_env: MakeEnv) -> tuple[tuple[Any, Any], Any]:
    """The spaces of the environment and its spec, as far as that can be stored."""
    env = make_env()
    try:
        spaces, spec = (env.observation_space, env.action_space), env.spec
    finally:
        env.close()
    if not isinstance(spaces[0], gym.spaces.Dict):
        raise ValueError(
            f"collecting needs a Dict of observations, not {spaces[0]}; make the environment "
            "with observation='multi'"
        )
    action_dtype(spaces[1])  # refuses what cannot be stored
    if spec is not None:
        spec.additional_wrappers = ()  # import paths of wrappers do not belong in a file
        try:
            spec.to_json()
        except (TypeError, ValueError) as error:
            warnings.warn(f"the environment's spec is not stored: {error}", stacklevel=3)
            spec = None
    return spaces, spec


def _make_job(
    config: CollectConfig,
    shards: Path,
    make_env: MakeEnv,
    make_driver: MakeDriver,
    out_of: Callable[..., Outgrowth],
) -> Job:
    """What a worker does: drive the episodes of some indices and write them down."""
    env, plan = make_env(), Plan(config)
    out = out_of(env=env)  # a process may be able to hold only one environment

    def job(task: Task) -> list[ShardFacts]:
        facts = []
        for index in task:
            _, driver, seed = plan[index]
            facts.append(out.write(index, drive(env, driver, make_driver, seed)))
        return facts

    return job


def _make_fleet_job(
    config: CollectConfig, shards: Path, fleet: Fleet, out_of: Callable[..., Outgrowth]
) -> Job:
    """The same, side by side."""
    env, plan, out = fleet.make_env(fleet.num_envs), Plan(config), out_of()
    team = fleet.make_drivers(env)

    def job(task: Task) -> list[ShardFacts]:
        episodes = drive_together(env, team, [plan[index] for index in task])
        return [out.write(number, episode) for number, episode in episodes]

    return job


def _largest_task(fleet: Fleet) -> int:
    return fleet.num_envs * EPISODES_AT_ONCE


def _drive_all(
    work: Work, make_job: Callable[[], Job], workers: int, largest: int, progress: bool
) -> None:
    """Drive what is missing; ``work`` grows."""
    count_steps = work.config.steps is not None
    total = work.config.steps if count_steps else work.config.episodes
    assert total is not None
    unit = "steps" if count_steps else "episodes"
    with ProgressReport("collect", total, unit, progress) as report:
        report.update(work.steps if count_steps else work.episodes)
        for _, facts in run_tasks(make_job, work.tasks(workers, largest), workers):
            work.add(facts)
            note = f"{work.unsafe_steps / work.steps:.1%} unsafe steps"
            if work.collisions is not None:
                note = f"{note}, {work.collisions} collisions"
            note = f"{note}{work.branches_note}"
            report.update(work.steps if count_steps else work.episodes, note)


@contextmanager
def _saying_what_is_kept(shards: Path) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"interrupted; {count_shards(shards):,} finished episodes are kept, and the same "
            "command drives the others"
        ) from None


def _finished(target: Path, config: CollectConfig) -> CollectSummary:
    """Summary of an existing data set if it is what was asked for; raises otherwise."""
    from vlsafe_agents.data.storage import read_metadata

    metadata = read_metadata(target / "data")
    if metadata.get("collection") != settings_of(config):
        raise FileExistsError(
            f"{target} already holds a data set collected with other settings; use overwrite "
            "(--overwrite) or another folder"
        )
    return CollectSummary(target, megabytes=metadata["dataset_size"], **metadata["contents"])


def _metadata(config: CollectConfig, facts: list[ShardFacts]) -> dict[str, Any]:
    contents = contents_of(facts)
    return {
        "dataset_id": config.dataset_id,
        "description": f"{contents['episodes']} drives in {config.env_id}, mix {config.mix}",
        "env_id": config.env_id,
        "env_kwargs": json.loads(json.dumps(config.env_kwargs, default=str)),
        "mix": config.mix,
        "collection": settings_of(config),
        "contents": contents,
    }
