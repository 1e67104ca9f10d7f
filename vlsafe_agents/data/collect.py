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
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import gymnasium as gym
import numpy as np

from ..common.progress import ProgressReport
from .episode import Array
from .pool import run_tasks
from .shards import Drive, ShardFacts, assemble, read_shards, write_shard

LONGEST_TIME = 1e3  # [s], stands for an infinite time-to-collision or headway
_TIMES = ("time_to_collision", "headway")
_OPTIONAL_INFOS = (
    *("speed", "distance", "collision", "off_road", "arrived"),
    *_TIMES,
    *("safety_score", "scene"),
)


class Driver(Protocol):
    """Something that drives the environment it was made for."""

    def reset(self) -> None:
        """Forget the last episode."""

    def act(self) -> Any:
        """An action of the environment's action space for the situation now."""


MakeEnv = Callable[[], gym.Env[Any, Any]]
MakeDriver = Callable[[str, gym.Env[Any, Any], np.random.Generator], Driver]


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
) -> CollectSummary:
    """Collect a data set under the Minari root ``out``, going on where a killed run stopped.

    ``make_env`` builds an environment with a ``Dict`` observation and ``info["env_cost"]`` (or
    ``"cost"``); ``make_driver(name, env, rng)`` a driver for it.  Both must be picklable when
    ``workers`` is above 1.

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
    job = partial(_make_job, config, shards, make_env, make_driver)
    done = read_shards(shards)
    _drive_all(config, done, job, workers, progress)
    facts = [done[index] for index in range(_needed(config, done))]
    if spec is not None:
        spec.additional_wrappers = ()  # import paths of wrappers do not belong in a file
    assemble(shards, facts, target, spaces, spec, _metadata(config, facts))
    shutil.rmtree(shards)
    return _summary(target, facts)


def driver_of(mix: Mapping[str, float], index: int) -> str:
    """Driver of the episode at ``index``: always the one furthest behind its share.

    So every prefix of the episodes is as close to the mix as can be, whatever the stop condition.
    """
    names = list(mix)
    counts = np.zeros(len(names))
    shares = np.array([mix[name] for name in names])
    for number in range(index + 1):
        behind = int(np.argmax(shares * (number + 1) - counts))
        counts[behind] += 1
    return names[behind]


def episode_seed(seed: int, index: int) -> int:
    """Environment seed of the episode at ``index``, in [0, 2**31)."""
    return int(np.random.SeedSequence([seed, index]).generate_state(1)[0] >> 1)


def drive(env: gym.Env[Any, Any], driver_name: str, make_driver: MakeDriver, seed: int) -> Drive:
    """One episode from reset to its end; the index is left at 0.

    Raises ``ValueError`` when the environment reports no cost.
    """
    observation, info = env.reset(seed=seed)
    driver = make_driver(driver_name, env, np.random.default_rng([seed, 1]))
    driver.reset()
    observations, infos = [observation], [_entries(info)]
    actions, rewards, terminations, truncations = [], [], [], []
    ended = False
    while not ended:
        action = driver.act()
        observation, reward, terminated, truncated, info = env.step(action)
        observations.append(observation)
        infos.append(_entries(info))
        actions.append(action)
        rewards.append(float(reward))
        terminations.append(bool(terminated))
        truncations.append(bool(truncated))
        ended = terminated or truncated
    discrete = isinstance(env.action_space, gym.spaces.Discrete)
    return Drive(
        index=0,
        seed=seed,
        driver=driver_name,
        observations={name: np.stack([o[name] for o in observations]) for name in observations[0]},
        actions=np.array(actions, np.int64 if discrete else np.float32),
        rewards=np.array(rewards, np.float64),
        terminations=np.array(terminations),
        truncations=np.array(truncations),
        infos={name: np.stack([i[name] for i in infos]) for name in infos[0]},
    )


def _entries(info: Mapping[str, Any]) -> dict[str, Array]:
    """The stored part of one step's info."""
    if "cost" not in info:
        raise ValueError(
            f"the environment reports no info['cost'], only {sorted(info)}; wrap it so that every "
            "step and reset says its cost"
        )
    entries: dict[str, Any] = {
        "cost": np.float32(info["cost"]),
        "env_cost": np.float32(info.get("env_cost", info["cost"])),
    }
    for name, term in info.get("cost_terms", {}).items():
        entries[f"cost_{name}"] = np.float32(term)
    for name in _OPTIONAL_INFOS:
        if name in info:
            value = np.asarray(info[name])
            if name in _TIMES:
                value = np.minimum(
                    np.nan_to_num(value, nan=np.nan, posinf=LONGEST_TIME), LONGEST_TIME
                )
            entries[name] = value if value.dtype == bool else value.astype(np.float32)
    return entries


def _make_job(
    config: CollectConfig, shards: Path, make_env: MakeEnv, make_driver: MakeDriver
) -> Callable[[int], ShardFacts]:
    """What a worker does: drive the episode of an index and write it down."""
    env = make_env()

    def job(index: int) -> ShardFacts:
        name = driver_of(config.mix, index)
        record = drive(env, name, make_driver, episode_seed(config.seed, index))
        return write_shard(shards, Drive(**{**vars(record), "index": index}))

    return job


def _drive_all(
    config: CollectConfig,
    done: dict[int, ShardFacts],
    make_job: Callable[[], Callable[[int], ShardFacts]],
    workers: int,
    progress: bool,
) -> None:
    """Drive what is missing; ``done`` grows."""
    total = config.steps if config.steps is not None else config.episodes
    unit = "steps" if config.steps is not None else "episodes"
    assert total is not None
    with ProgressReport("collect", total, unit, progress) as report:
        report.update(_amount(config, done.values()))
        for index, facts in run_tasks(make_job, _missing(config, done), workers):
            done[index] = facts
            unsafe = sum(f.unsafe_steps for f in done.values())
            steps = sum(f.steps for f in done.values())
            crashes = sum(f.collision for f in done.values())
            note = f"{unsafe / steps:.1%} unsafe steps, {crashes} collisions"
            report.update(_amount(config, done.values()), note)


def _amount(config: CollectConfig, facts: Any) -> int:
    return sum(f.steps for f in facts) if config.steps is not None else len(list(facts))


def _missing(config: CollectConfig, done: dict[int, ShardFacts]) -> Iterator[int]:
    """Indices still to drive, in order, until the finished ones before are enough."""
    index = 0
    while not _enough(config, done, index):
        if index not in done:
            yield index
        index += 1


def _enough(config: CollectConfig, done: dict[int, ShardFacts], index: int) -> bool:
    if config.episodes is not None:
        return index >= config.episodes
    assert config.steps is not None
    return sum(f.steps for i, f in done.items() if i < index) >= config.steps


def _needed(config: CollectConfig, done: dict[int, ShardFacts]) -> int:
    """How many episodes, counted from the first, make up the data set."""
    count = 0
    while not _enough(config, done, count):
        count += 1
    return count


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
