"""Driving episodes and writing them down: one by one, or many side by side with the same result."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import gymnasium as gym
import numpy as np
from gymnasium.vector import VectorEnv

from .episode import Array
from .shards import Drive

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


class DriverTeam(Protocol):
    """Drivers of all environments of the vector environment that it was made for."""

    def seat(self, slot: int, name: str, rng: np.random.Generator) -> None:
        """Put the driver ``name`` into environment ``slot``, which has just been reset."""

    def act(self, slots: list[int]) -> Any:
        """Actions of all environments, of which only those of ``slots`` matter."""


MakeEnv = Callable[[], gym.Env[Any, Any]]
MakeDriver = Callable[[str, gym.Env[Any, Any], np.random.Generator], Driver]


@dataclass(frozen=True)
class Fleet:
    """How to drive many episodes at once.

    Args:
        make_env: a vector environment of as many environments as it is given, all like those that
            are driven one by one; resets some of them by ``options={"reset_mask": ...}``.
        make_drivers: the drivers for it.
        num_envs: environments of each worker.

    Raises ``ValueError`` for fewer environments than one.
    """

    make_env: Callable[[int], VectorEnv[Any, Any, Any]]
    make_drivers: Callable[[VectorEnv[Any, Any, Any]], DriverTeam]
    num_envs: int = 32

    def __post_init__(self) -> None:
        if self.num_envs < 1:
            raise ValueError(f"num_envs={self.num_envs}: give at least 1")


class Trip(NamedTuple):
    """An episode to be driven."""

    number: int  # index of the episode
    driver: str
    seed: int  # of the environment; the driver's randomness follows from it

    @property
    def rng(self) -> np.random.Generator:
        """The driver's own randomness."""
        return np.random.default_rng([self.seed, 1])


def drive(env: gym.Env[Any, Any], driver_name: str, make_driver: MakeDriver, seed: int) -> Drive:
    """One episode from reset to its end; the index is left at 0.

    Raises ``ValueError`` when the environment reports no cost.
    """
    trip = Trip(0, driver_name, seed)
    observation, info = env.reset(seed=seed)
    driver = make_driver(driver_name, env, trip.rng)
    driver.reset()
    observations, infos = [observation], [_entries(info)]
    steps: list[tuple[Any, float, bool, bool]] = []
    ended = False
    while not ended:
        action = driver.act()
        observation, reward, terminated, truncated, info = env.step(action)
        observations.append(observation)
        infos.append(_entries(info))
        steps.append((action, float(reward), bool(terminated), bool(truncated)))
        ended = bool(terminated or truncated)
    return _record(trip, env.action_space, observations, infos, steps)


def drive_together(
    env: VectorEnv[Any, Any, Any], team: DriverTeam, trips: Sequence[Trip]
) -> Iterator[Drive]:
    """The same episodes as by :func:`drive`, in the order in which they end.

    An environment whose episode has ended starts the next trip; without one, it idles along.

    Raises ``ValueError`` when the environments report no cost.
    """
    tape = _Tape(env.single_action_space)
    coming = iter(trips)
    running: dict[int, Trip] = {}
    free = list(range(env.num_envs))
    while True:
        starting = dict(zip(free, coming, strict=False))
        if starting:
            observations, infos = _reset(env, starting, everything=not tape.started)
            tape.begin(starting, observations, _entries(infos))
            for slot, trip in starting.items():
                running[slot] = trip
                team.seat(slot, trip.driver, trip.rng)
        if not running:
            return
        actions = team.act(list(running))
        observations, rewards, terminated, truncated, infos = env.step(actions)
        tape.add(_Moment(observations, _entries(infos), actions, rewards, terminated, truncated))
        free = [slot for slot in running if terminated[slot] or truncated[slot]]
        for slot in free:
            yield tape.cut(slot, running.pop(slot))


def _reset(env: VectorEnv[Any, Any, Any], trips: Mapping[int, Trip], everything: bool) -> Any:
    """Reset the environments of some trips, or all of them, those without a trip at random."""
    slots = range(env.num_envs)
    seeds: Any = [trips[slot].seed if slot in trips else None for slot in slots]
    mask = np.array([slot in trips for slot in slots])
    return env.reset(seed=seeds, options={} if everything else {"reset_mask": mask})


class _Moment(NamedTuple):
    """What a step of all environments led to; every array has a row for each."""

    observations: Mapping[str, Array]
    infos: Mapping[str, Array]
    actions: Array
    rewards: Array
    terminated: Array
    truncated: Array


class _Tape:
    """What all environments showed, kept for as long as an unfinished episode needs it."""

    def __init__(self, action_space: gym.Space[Any]) -> None:
        self._action_space = action_space
        self._moments: deque[_Moment] = deque()
        self._dropped = 0  # moments that nobody needs any more
        self._starts: dict[int, tuple[int, Any, Any]] = {}  # slot: moments before, first row

    @property
    def started(self) -> bool:
        """Whether any episode has begun."""
        return self._dropped + len(self._moments) + len(self._starts) > 0

    def begin(
        self, slots: Mapping[int, Any], observations: Mapping[str, Array], infos: Any
    ) -> None:
        """Episodes have begun in some environments."""
        now = self._dropped + len(self._moments)
        for slot in slots:
            self._starts[slot] = now, _row(observations, slot), _row(infos, slot)

    def add(self, moment: _Moment) -> None:
        """All environments have been stepped."""
        self._moments.append(moment)

    def cut(self, slot: int, trip: Trip) -> Drive:
        """The episode in ``slot``, which is over."""
        start, observation, info = self._starts.pop(slot)
        moments = [self._moments[k] for k in range(start - self._dropped, len(self._moments))]
        drive = _record(
            trip,
            self._action_space,
            [observation, *(_row(moment.observations, slot) for moment in moments)],
            [info, *(_row(moment.infos, slot) for moment in moments)],
            [tuple(column[slot] for column in moment[2:]) for moment in moments],
        )
        oldest = min((begin for begin, *_ in self._starts.values()), default=None)
        while self._moments and (oldest is None or self._dropped < oldest):
            self._moments.popleft()
            self._dropped += 1
        return drive


def _row(columns: Mapping[str, Array], slot: int) -> dict[str, Array]:
    return {name: column[slot] for name, column in columns.items()}


def _record(
    trip: Trip,
    action_space: gym.Space[Any],
    observations: Sequence[Mapping[str, Array]],
    infos: Sequence[Mapping[str, Array]],
    steps: Sequence[tuple[Any, ...]],
) -> Drive:
    """A drive of T steps: T + 1 observations and infos; action, reward, terminated, truncated."""
    actions, rewards, terminations, truncations = zip(*steps, strict=True)
    discrete = isinstance(action_space, gym.spaces.Discrete)
    return Drive(
        index=trip.number,
        seed=trip.seed,
        driver=trip.driver,
        observations={name: np.stack([o[name] for o in observations]) for name in observations[0]},
        actions=np.array(actions, np.int64 if discrete else np.float32),
        rewards=np.array(rewards, np.float64),
        terminations=np.array(terminations, bool),
        truncations=np.array(truncations, bool),
        infos={name: np.stack([i[name] for i in infos]) for name in infos[0]},
    )


def _entries(info: Mapping[str, Any]) -> dict[str, Array]:
    """The stored part of one step's info, or of a vector environment's infos."""
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
        if not name.startswith("_"):  # masks of a vector environment
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
