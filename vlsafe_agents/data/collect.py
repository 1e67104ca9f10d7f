"""Driving a stated mix of drivers into one Minari data set, in parallel and resumable.

Episode i has a driver and a seed that depend on nothing but i and the configuration.  A killed
collection that is started again therefore ends in the same data set as an uninterrupted one.
"""

from __future__ import annotations

import json
import re
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from vlsafe_agents.common.progress import ProgressReport
from vlsafe_agents.data.claim import check_place, claim, remove_leftovers, settings_hash
from vlsafe_agents.data.driving import (
    EpisodePlan,
    Fleet,
    MakeDriver,
    MakeEnv,
    drive,
    drive_together,
)
from vlsafe_agents.data.pool import run_tasks
from vlsafe_agents.data.shards import ShardFacts, assemble, count_shards, read_shards, write_shard
from vlsafe_agents.data.work import Task, Work
from wrappers.checks import one_number
from wrappers.files import one_writer

EPISODES_AT_ONCE = 8  # of each environment of a fleet, before its worker is asked for more

Job = Callable[[Task], list[ShardFacts]]


@dataclass(frozen=True)
class CollectConfig:
    """What to collect.  Exactly one of ``steps`` and ``episodes`` says how much.

    Raises ``ValueError`` for shares that are negative or do not add up to 1, amounts below 1,
    negative seeds and values of another type.
    """

    env_id: str
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    mix: dict[str, float] = field(default_factory=lambda: {"expert": 1.0})  # shares of episodes
    steps: int | None = None  # stop with the episode that reaches as many steps
    episodes: int | None = None
    seed: int = 0
    dataset_id: str = "vlsafe/drives-v0"

    def __post_init__(self) -> None:
        for name, kind in (("env_id", str), ("env_kwargs", dict), ("mix", dict)):
            if not isinstance(getattr(self, name), kind):
                raise ValueError(f"{name}={getattr(self, name)!r}: give a {kind.__name__}")
        shares = [one_number(share, name, "the mix", 0.0, 1.0) for name, share in self.mix.items()]
        if abs(sum(shares) - 1) > 1e-6:
            raise ValueError(
                f"shares of drivers must be at least 0 and add up to 1, not {self.mix}"
            )
        if (self.steps is None) == (self.episodes is None):
            raise ValueError("give either steps or episodes, and not both")
        name = "episodes" if self.steps is None else "steps"
        if not _is_whole(getattr(self, name), 1):
            raise ValueError(
                f"nothing to collect: {name}={getattr(self, name)!r}; give an integer of at least 1"
            )
        if not _is_whole(self.seed, 0):
            raise ValueError(f"seed={self.seed!r}: give an integer that is not negative")
        valid = isinstance(self.dataset_id, str) and re.fullmatch(
            r"([\w-]{2,}/)*[\w-]{2,}-v\d+", self.dataset_id
        )
        if not valid:
            raise ValueError(
                f"not a Minari id: {self.dataset_id!r}; an example is vlsafe/drives-v0"
            )


def _is_whole(value: Any, low: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= low


@dataclass(frozen=True)
class CollectSummary:
    """What was collected."""

    path: Path  # folder of the data set
    episodes: int
    steps: int
    unsafe_share: float  # share of steps with a cost by simulator truth
    collisions: int
    drivers: dict[str, dict[str, float]]  # per driver: episodes, steps, unsafe_steps, collisions
    megabytes: float


def collect(
    config: CollectConfig,
    out: str | Path,
    make_env: MakeEnv,
    make_driver: MakeDriver,
    workers: int = 1,
    progress: bool = True,
    overwrite: bool = False,
    fleet: Fleet | None = None,
) -> CollectSummary:
    """Collect a data set under the Minari root ``out``, going on where a killed run stopped.

    ``make_env`` builds an environment with a ``Dict`` observation and ``info["env_cost"]`` (or
    ``"cost"``); ``make_driver(name, env, rng)`` a driver for it.  With a ``fleet`` each worker
    drives many episodes at once; they are the same, so that either may finish what the other has
    begun.  All of these must be picklable when ``workers`` is above 1.

    Raises:
        FileExistsError: other data are in the way and ``overwrite`` is off.
        FolderInUseError: another process collects there.
        OSError: nothing can be written there; what has been driven is kept.
        ValueError: an environment without costs or with other spaces than a ``Dict`` of
            observations and ``Discrete`` or ``Box`` actions, or that says what cannot be stored.
        WorkerError: a worker failed.
    """
    for name, given in (("make_env", make_env), ("make_driver", make_driver)):
        if not callable(given):
            raise ValueError(f"{name}={given!r}: give a function")
    if not isinstance(fleet, Fleet | None):
        raise ValueError(f"fleet={fleet!r}: give a Fleet, or None")
    if not _is_whole(workers, 1):
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
        settings = _settings(config)
        claim(shards, settings)
        plan, whose = _Plan(config), settings_hash(settings)
        done = read_shards(shards, whose, lambda index: plan[index][1:])
        if fleet is None:
            job, largest = partial(_make_job, config, shards, make_env, make_driver), 1
        else:
            job, largest = partial(_make_fleet_job, config, shards, fleet), _largest_task(fleet)
        work = Work(config, done)
        _drive_all(work, job, workers, largest, progress)
        facts = work.needed()
        assemble(shards, facts, target, spaces, spec, _metadata(config, facts))
        shutil.rmtree(shards)
        return _summary(target, facts)


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
    if not isinstance(spaces[1], gym.spaces.Discrete | gym.spaces.Box):
        raise ValueError(f"collecting needs Discrete or Box actions, not {spaces[1]}")
    if spec is not None:
        spec.additional_wrappers = ()  # import paths of wrappers do not belong in a file
        try:
            spec.to_json()
        except (TypeError, ValueError) as error:
            warnings.warn(f"the environment's spec is not stored: {error}", stacklevel=3)
            spec = None
    return spaces, spec


def driver_of(mix: Mapping[str, float], index: int) -> str:
    """Driver of the episode at ``index``: always the one furthest behind its share.

    So every prefix of the episodes is as close to the mix as can be, whatever the stop condition.
    """
    return next(islice(_drivers(mix), index, None))


def _drivers(mix: Mapping[str, float]) -> Iterator[str]:
    """Drivers of all episodes, in order."""
    names = list(mix)
    counts = np.zeros(len(names))
    shares = np.array([mix[name] for name in names])
    number = 0
    while True:
        behind = int(np.argmax(shares * (number + 1) - counts))
        counts[behind] += 1
        number += 1
        yield names[behind]


def episode_seed(seed: int, index: int) -> int:
    """Environment seed of the episode at ``index``, in [0, 2**31)."""
    return int(np.random.SeedSequence([seed, index]).generate_state(1)[0] >> 1)


class _Plan:
    """Driver and seed of the episode of each index."""

    def __init__(self, config: CollectConfig) -> None:
        self._seed = config.seed
        self._coming = _drivers(config.mix)
        self._known: list[str] = []

    def __getitem__(self, index: int) -> EpisodePlan:
        self._known += islice(self._coming, max(0, index + 1 - len(self._known)))
        return EpisodePlan(index, self._known[index], episode_seed(self._seed, index))


def _make_job(
    config: CollectConfig, shards: Path, make_env: MakeEnv, make_driver: MakeDriver
) -> Job:
    """What a worker does: drive the episodes of some indices and write them down."""
    env, plan, whose = make_env(), _Plan(config), settings_hash(_settings(config))

    def job(task: Task) -> list[ShardFacts]:
        facts = []
        for index in task:
            _, driver, seed = plan[index]
            episode = drive(env, driver, make_driver, seed)
            facts.append(write_shard(shards, index, episode, whose))
        return facts

    return job


def _make_fleet_job(config: CollectConfig, shards: Path, fleet: Fleet) -> Job:
    """The same, side by side."""
    env, plan = fleet.make_env(fleet.num_envs), _Plan(config)
    whose = settings_hash(_settings(config))
    team = fleet.make_drivers(env)

    def job(task: Task) -> list[ShardFacts]:
        episodes = drive_together(env, team, [plan[index] for index in task])
        return [write_shard(shards, number, episode, whose) for number, episode in episodes]

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
            note = f"{note}, {work.collisions} collisions"
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


def _settings(config: CollectConfig) -> dict[str, Any]:
    """The configuration as JSON holds it."""
    settings: dict[str, Any] = json.loads(json.dumps(asdict(config), default=str))
    return settings


def _finished(target: Path, config: CollectConfig) -> CollectSummary:
    """Summary of an existing data set if it is what was asked for; raises otherwise."""
    from vlsafe_agents.data.storage import read_metadata

    metadata = read_metadata(target / "data")
    if metadata.get("collection") != _settings(config):
        raise FileExistsError(
            f"{target} already holds a data set collected with other settings; use overwrite "
            "(--overwrite) or another folder"
        )
    return CollectSummary(target, megabytes=metadata["dataset_size"], **metadata["contents"])


def _metadata(config: CollectConfig, facts: list[ShardFacts]) -> dict[str, Any]:
    contents = _contents(facts)
    return {
        "dataset_id": config.dataset_id,
        "description": f"{contents['episodes']} drives in {config.env_id}, mix {config.mix}",
        "env_id": config.env_id,
        "env_kwargs": json.loads(json.dumps(config.env_kwargs, default=str)),
        "mix": config.mix,
        "collection": _settings(config),
        "contents": contents,
    }


def _contents(facts: list[ShardFacts]) -> dict[str, Any]:
    steps = sum(f.steps for f in facts)
    drivers: dict[str, dict[str, float]] = {}
    for f in facts:
        row = drivers.setdefault(
            f.driver, {"episodes": 0, "steps": 0, "unsafe_steps": 0, "collisions": 0, "return": 0.0}
        )
        row["episodes"] += 1
        row["steps"] += f.steps
        row["unsafe_steps"] += f.unsafe_steps
        row["collisions"] += f.collision
        row["return"] += f.env_return
    return {
        "episodes": len(facts),
        "steps": steps,
        "unsafe_share": sum(f.unsafe_steps for f in facts) / steps,
        "collisions": sum(f.collision for f in facts),
        "drivers": drivers,
    }


def _summary(target: Path, facts: list[ShardFacts]) -> CollectSummary:
    size = sum(file.stat().st_size for file in (target / "data").iterdir()) / 1e6
    return CollectSummary(target, megabytes=round(size, 1), **_contents(facts))
