"""Driving a stated mix of drivers into one Minari data set, in parallel and resumable.

Episode i has a driver and a seed that depend on nothing but i and the configuration.  A killed
collection that is started again therefore ends in the same data set as an uninterrupted one.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from ..common.progress import ProgressReport
from .driving import Fleet, MakeDriver, MakeEnv, Trip, drive, drive_together
from .pool import run_tasks
from .shards import ShardFacts, assemble, read_shards, write_shard

EPISODES_AT_ONCE = 8  # of each environment of a fleet, before its worker is asked for more
LIKELY_STEPS = 30  # of an episode, before any is known

Task = tuple[int, ...]  # indices of episodes
Job = Callable[[Task], list[ShardFacts]]


@dataclass(frozen=True)
class CollectConfig:
    """What to collect.  Exactly one of ``steps`` and ``episodes`` says how much.

    Raises ``ValueError`` for shares that are negative or do not add up to 1, and for amounts
    below 1.
    """

    env_id: str
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    mix: dict[str, float] = field(default_factory=lambda: {"expert": 1.0})  # shares of episodes
    steps: int | None = None  # stop with the episode that reaches as many steps
    episodes: int | None = None
    seed: int = 0
    dataset_id: str = "vlsafe/drives-v0"

    def __post_init__(self) -> None:
        total = sum(self.mix.values())
        if not self.mix or min(self.mix.values()) < 0 or abs(total - 1) > 1e-6:
            raise ValueError(
                f"shares of drivers must be at least 0 and add up to 1, not {self.mix}"
            )
        if (self.steps is None) == (self.episodes is None):
            raise ValueError("give either steps or episodes, and not both")
        amount = self.steps if self.steps is not None else self.episodes
        if amount is None or amount < 1:
            raise ValueError(f"nothing to collect: steps or episodes is {amount}")
        if not re.fullmatch(r"([\w-]{2,}/)*[\w-]{2,}-v\d+", self.dataset_id):
            raise ValueError(
                f"not a Minari id: {self.dataset_id!r}; an example is vlsafe/drives-v0"
            )


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

    Raises ``FileExistsError`` when other data are in the way and ``overwrite`` is off, and
    ``ValueError`` for an environment without costs or with another kind of observation.
    """
    target = Path(out).resolve() / config.dataset_id  # HDF5 links are found from any folder
    shards = target.with_name(f".{target.name}.shards")
    if overwrite:
        shutil.rmtree(target, ignore_errors=True)
        shutil.rmtree(shards, ignore_errors=True)
    if target.exists():
        summary = _finished(target, config)
        shutil.rmtree(shards, ignore_errors=True)
        return summary
    _claim(shards, config)
    env = make_env()
    try:
        spaces, spec = (env.observation_space, env.action_space), env.spec
        if not isinstance(spaces[0], gym.spaces.Dict):
            raise ValueError(
                f"collecting needs a Dict of observations, not {spaces[0]}; make the environment "
                "with observation='multi'"
            )
    finally:
        env.close()
    if fleet is None:
        job, largest = partial(_make_job, config, shards, make_env, make_driver), 1
    else:
        job, largest = partial(_make_fleet_job, config, shards, fleet), _largest_task(fleet)
    work = _Work(config, read_shards(shards))
    _drive_all(work, job, workers, largest, progress)
    facts = work.needed()
    if spec is not None:
        spec.additional_wrappers = ()  # import paths of wrappers do not belong in a file
    assemble(shards, facts, target, spaces, spec, _metadata(config, facts))
    shutil.rmtree(shards)
    return _summary(target, facts)


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
    """Which trip each index stands for."""

    def __init__(self, config: CollectConfig) -> None:
        self._seed = config.seed
        self._coming = _drivers(config.mix)
        self._known: list[str] = []

    def trip(self, index: int) -> Trip:
        self._known += islice(self._coming, max(0, index + 1 - len(self._known)))
        return Trip(index, self._known[index], episode_seed(self._seed, index))


def _make_job(
    config: CollectConfig, shards: Path, make_env: MakeEnv, make_driver: MakeDriver
) -> Job:
    """What a worker does: drive the episodes of some indices and write them down."""
    env, plan = make_env(), _Plan(config)

    def job(task: Task) -> list[ShardFacts]:
        facts = []
        for index in task:
            trip = plan.trip(index)
            record = drive(env, trip.driver, make_driver, trip.seed)
            facts.append(write_shard(shards, replace(record, index=index)))
        return facts

    return job


def _make_fleet_job(config: CollectConfig, shards: Path, fleet: Fleet) -> Job:
    """The same, side by side."""
    env, plan = fleet.make_env(fleet.num_envs), _Plan(config)
    team = fleet.make_drivers(env)

    def job(task: Task) -> list[ShardFacts]:
        trips = [plan.trip(index) for index in task]
        return [write_shard(shards, record) for record in drive_together(env, team, trips)]

    return job


def _largest_task(fleet: Fleet) -> int:
    return fleet.num_envs * EPISODES_AT_ONCE


class _Work:
    """What is done and what is still to do."""

    def __init__(self, config: CollectConfig, done: dict[int, ShardFacts]) -> None:
        self.config = config
        self.done: dict[int, ShardFacts] = {}
        self.episodes = self.steps = self.unsafe_steps = self.collisions = 0
        self._next = 0  # all episodes before are done or being driven
        self._complete = 0  # all episodes before are done
        self._complete_steps = 0  # of theirs
        self.add(list(done.values()))

    def add(self, facts: list[ShardFacts]) -> None:
        """Episodes are done."""
        for f in facts:
            self.done[f.index] = f
            self.episodes += 1
            self.steps += f.steps
            self.unsafe_steps += f.unsafe_steps
            self.collisions += f.collision
        while self._complete in self.done:
            self._complete_steps += self.done[self._complete].steps
            self._complete += 1

    def needed(self) -> list[ShardFacts]:
        """The episodes, counted from the first, that make up the data set."""
        if self.config.episodes is not None:
            return [self.done[index] for index in range(self.config.episodes)]
        facts: list[ShardFacts] = []
        steps = 0
        assert self.config.steps is not None
        while steps < self.config.steps:
            facts.append(self.done[len(facts)])
            steps += facts[-1].steps
        return facts

    def tasks(self, workers: int, largest: int) -> Iterator[Task]:
        """Indices still to drive, in order, until the finished ones before are enough."""
        while not self._enough():
            likely = self._episodes_left() / workers
            yield self._draw(int(min(max(np.ceil(likely), 1), largest)))

    def _enough(self) -> bool:
        if self.config.episodes is not None:
            return self._skip_done() >= self.config.episodes
        assert self.config.steps is not None
        return self._complete_steps >= self.config.steps

    def _skip_done(self) -> int:
        while self._next in self.done:
            self._next += 1
        return self._next

    def _episodes_left(self) -> float:
        """How many more episodes have to be begun: a guess where steps are counted."""
        if self.config.episodes is not None:
            return self.config.episodes - self._next
        assert self.config.steps is not None
        length = self.steps / self.episodes if self.episodes else LIKELY_STEPS
        driving = sum(index not in self.done for index in range(self._complete, self._next))
        return (self.config.steps - self.steps) / length - driving

    def _draw(self, count: int) -> Task:
        task: list[int] = []
        while len(task) < count:
            index = self._skip_done()
            if self.config.episodes is not None and index >= self.config.episodes:
                break
            task.append(index)
            self._next += 1
        return tuple(task)


def _drive_all(
    work: _Work, make_job: Callable[[], Job], workers: int, largest: int, progress: bool
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


def _claim(shards: Path, config: CollectConfig) -> None:
    """Mark the folder as this collection's; raise when it is another's."""
    claim = shards / "config.json"
    wanted = json.loads(json.dumps(asdict(config), default=str))
    if claim.exists():
        found = json.loads(claim.read_text())
        amounts = ("steps", "episodes")  # more or less of the same may be asked for
        changed = [k for k in wanted if k not in amounts and wanted[k] != found.get(k)]
        if changed:
            raise FileExistsError(
                f"{shards} holds an unfinished collection with another {', '.join(changed)}; "
                "go on with its settings, use overwrite (--overwrite), or another folder"
            )
    shards.mkdir(parents=True, exist_ok=True)
    temporary = shards / ".config.tmp"
    temporary.write_text(json.dumps(wanted, indent=1))
    os.replace(temporary, claim)


def _finished(target: Path, config: CollectConfig) -> CollectSummary:
    """Summary of an existing data set if it is what was asked for; raises otherwise."""
    from .storage import read_metadata

    metadata = read_metadata(target / "data")
    wanted = json.loads(json.dumps(asdict(config), default=str))
    if metadata.get("collection") != wanted:
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
        "collection": json.loads(json.dumps(asdict(config), default=str)),
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
