"""Driving episodes and writing them down: one by one, or many side by side with the same result."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import gymnasium as gym
import numpy as np
from gymnasium.vector import VectorEnv

from vlsafe_agents.common.border import Array, action_dtype
from vlsafe_agents.common.vector_episodes import VectorStep, drive_episodes
from vlsafe_agents.data.episode import Episode
from wrappers.checks import FLOAT32_MAX, check_numbers, one_number

LONGEST_TIME = 1e3  # [s], stands for an infinite time-to-collision or headway
_TIMES = ("time_to_collision", "headway")
_OPTIONAL_INFOS = (
    *("speed", "distance", "density", "collision", "off_road", "arrived"),
    *_TIMES,
    *("safety_score", "scene"),
)


class Driver(Protocol):
    """Something that drives the environment it was made for."""

    def reset(self) -> None:
        """Forget the last episode."""

    def act(self) -> Any:
        """An action of the environment's action space for the situation now."""


Drive = Callable[[gym.Env[Any, Any], np.random.Generator], Driver]  # makes who drives an episode


class DriverTeam(Protocol):
    """Drivers of all environments of the vector environment that it was made for."""

    def assign(self, slot: int, name: str, rng: np.random.Generator) -> None:
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

    Raises:
        ValueError: for fewer environments than one.
    """

    make_env: Callable[[int], VectorEnv[Any, Any, Any]]
    make_drivers: Callable[[VectorEnv[Any, Any, Any]], DriverTeam]
    num_envs: int = 32

    def __post_init__(self) -> None:
        whole = isinstance(self.num_envs, int) and not isinstance(self.num_envs, bool)
        if not whole or self.num_envs < 1:
            raise ValueError(f"num_envs={self.num_envs!r}: give an integer of at least 1")


class EpisodePlan(NamedTuple):
    """An episode to be driven."""

    number: int  # index of the episode
    driver: str
    seed: int  # of the environment; the driver's randomness follows from it

    @property
    def rng(self) -> np.random.Generator:
        """The driver's own randomness."""
        return np.random.default_rng([self.seed, 1])


def drive(env: gym.Env[Any, Any], driver_name: str, make_driver: MakeDriver, seed: int) -> Episode:
    """One episode from reset to its end.

    Raises:
        ValueError: naming seed, step and name, for what the environment or the driver should not
            have said: no cost, numbers that are not finite, an action outside the space.
    """
    plan = EpisodePlan(0, driver_name, seed)
    observation, info = env.reset(seed=seed)
    driver = make_driver(driver_name, env, plan.rng)
    driver.reset()
    recording = Recording(env, plan, observation, info)
    while not recording.step(driver.act()):
        pass
    return recording.episode()


class Recording:
    """An episode while one environment drives it.

    Args:
        env: which is where the observation was made.
        plan: says the driver and the seed.
        observation: the first of the episode.
        info: the same moment's.

    Raises:
        ValueError: for other observations than a dictionary, and for an info without a cost.
    """

    def __init__(
        self, env: gym.Env[Any, Any], plan: EpisodePlan, observation: Any, info: Mapping[str, Any]
    ) -> None:
        self._env, self._plan = env, plan
        if not isinstance(observation, Mapping):
            kind = type(observation).__name__
            raise ValueError(f"the observation is a {kind}; expected a dictionary of arrays")
        where = f"the episode of seed {plan.seed}, reset"
        self._observations, self._infos = [observation], [_entries(info, where)]
        self._steps: list[tuple[Any, float, bool, bool]] = []

    def __len__(self) -> int:
        """Steps so far."""
        return len(self._steps)

    def step(self, action: Any) -> bool:
        """Take an action; returns whether the episode is over.

        Raises:
            ValueError: for what the environment should not have said.
        """
        where = f"the episode of seed {self._plan.seed}, step {len(self) + 1}"
        observation, reward, terminated, truncated, info = self._env.step(action)
        self._observations.append(observation)
        self._infos.append(_entries(info, where))
        self._steps.append(
            (
                action,
                one_number(reward, "the reward", where),
                _flag(terminated, "terminated", where),
                _flag(truncated, "truncated", where),
            )
        )
        return any(self._steps[-1][2:])

    def episode(self) -> Episode:
        """What was driven, of one step at least.

        Raises:
            ValueError: for numbers that are not finite and actions outside the space.
        """
        space = self._env.action_space
        return _record(self._plan, space, self._observations, self._infos, self._steps)


def _flag(value: Any, name: str, where: str) -> bool:
    """True or False, also as NumPy's or as 1 and 0."""
    if np.shape(value) == () and np.asarray(value).dtype.kind in "biuf" and value in (0, 1):
        return bool(value)
    raise ValueError(f"{where}: {name} is {value!r}; expected True or False")


def drive_together(
    env: VectorEnv[Any, Any, Any], team: DriverTeam, plans: Sequence[EpisodePlan]
) -> Iterator[tuple[int, Episode]]:
    """The same episodes as by :func:`drive`, with their numbers, in the order in which they end.

    Raises:
        ValueError: as :func:`drive`.
    """
    tape = _Tape(env.single_action_space, team)
    return drive_episodes(
        env, iter(plans), lambda plan: plan.seed, lambda _, slots: team.act(slots), tape
    )


class _Tape:
    """What all environments showed, kept for as long as an unfinished episode needs it."""

    def __init__(self, action_space: gym.Space[Any], team: DriverTeam) -> None:
        self._action_space, self._team = action_space, team
        self._moments: deque[VectorStep] = deque()
        self._dropped = 0  # moments that nobody needs any more
        # slot: plan, moments before it began, observation and info of its reset
        self._begun: dict[int, tuple[EpisodePlan, int, Any, Any]] = {}

    def begin(
        self, tasks: Mapping[int, EpisodePlan], observations: Any, infos: dict[str, Any]
    ) -> None:
        """Episodes have begun in some environments; their drivers take over."""
        now, entries = self._dropped + len(self._moments), _entries(infos, "a reset")
        for slot, plan in tasks.items():
            self._begun[slot] = plan, now, _row(observations, slot), _row(entries, slot)
            self._team.assign(slot, plan.driver, plan.rng)

    def add(self, step: VectorStep, slots: Sequence[int]) -> None:
        """All environments have been stepped."""
        self._moments.append(step._replace(infos=_entries(step.infos, "a step")))

    def end(self, slot: int) -> tuple[int, Episode]:
        """Number and contents of the episode in ``slot``, which is over."""
        plan, start, observation, info = self._begun.pop(slot)
        moments = [self._moments[k] for k in range(start - self._dropped, len(self._moments))]
        episode = _record(
            plan,
            self._action_space,
            [observation, *(_row(moment.observations, slot) for moment in moments)],
            [info, *(_row(moment.infos, slot) for moment in moments)],
            [tuple(column[slot] for column in moment[2:]) for moment in moments],
        )
        oldest = min((begin for _, begin, *_ in self._begun.values()), default=None)
        while self._moments and (oldest is None or self._dropped < oldest):
            self._moments.popleft()
            self._dropped += 1
        return plan.number, episode


def _row(columns: Mapping[str, Array], slot: int) -> dict[str, Array]:
    return {name: column[slot] for name, column in columns.items()}


def _record(
    plan: EpisodePlan,
    action_space: gym.Space[Any],
    observations: Sequence[Mapping[str, Array]],
    infos: Sequence[Mapping[str, Array]],
    steps: Sequence[tuple[Any, ...]],
) -> Episode:
    """An episode of T steps: T + 1 observations and infos; action, reward, terminated, truncated.

    What is stored is checked here, however it was driven.  Entry 0 of observations and infos is the
    reset's.
    """
    where = f"the episode of seed {plan.seed}"
    actions, rewards, terminations, truncations = zip(*steps, strict=True)
    reward = np.array(rewards, np.float64)
    check_numbers(reward, "the reward", where, -FLOAT32_MAX, FLOAT32_MAX)
    obs = _columns("the observation", observations, where)
    for name, column in obs.items():
        check_numbers(column, f"the observation[{name!r}]", where)
    columns = _with_checked_costs(_columns("info", infos, where), where)
    return Episode(
        obs=obs,
        action=_checked_actions(actions, action_space, where),
        reward=reward,
        env_cost=columns.pop("env_cost"),
        safety_score=columns.pop("safety_score", None),
        terminated=bool(terminations[-1]),
        truncated=bool(truncations[-1]),
        seed=plan.seed,
        driver=plan.driver,
        infos=columns,
    )


def _columns(what: str, rows: Sequence[Mapping[str, Array]], where: str) -> dict[str, Array]:
    """Rows of named arrays as arrays ``(T + 1, ...)``.

    Raises:
        ValueError: where they differ.
    """
    columns = {}
    for name in rows[0]:
        shapes = [np.shape(row[name]) if name in row else None for row in rows]
        for step, shape in enumerate(shapes):
            if shape != shapes[0]:
                raise ValueError(
                    f"{where}: {what}[{name!r}] has shape {shapes[0]} after the reset and "
                    f"{'is missing' if shape is None else shape} after step {step}"
                )
        columns[name] = np.stack([row[name] for row in rows])
    return columns


def _with_checked_costs(infos: dict[str, Array], where: str) -> dict[str, Array]:
    """Costs are one number a step, finite and not negative."""
    for name, column in infos.items():
        if name == "env_cost" or name.startswith("cost"):
            if column[0].size != 1:
                raise ValueError(
                    f"{where}: info[{name!r}] holds {column[0].size} numbers a step; expected one: "
                    "sum them up, or take the largest, in a wrapper"
                )
            infos[name] = column.reshape(len(column))
            check_numbers(infos[name], f"info[{name!r}]", where, 0.0)
    return infos


def _checked_actions(actions: Sequence[Any], space: gym.Space[Any], where: str) -> Array:
    """Actions as they are stored, ``(T, ...)``.

    Raises:
        ValueError: for one outside the space.
    """
    dtype = action_dtype(space)
    counted = dtype is np.int64
    for step, action in enumerate(actions):
        if not (space.contains(action) if counted else _in_box(action, space)):
            raise ValueError(
                f"{where}: the action of step {step + 1} is {action!r}; expected one of {space}"
            )
    return np.array(actions, dtype)


def _in_box(action: Any, space: Any) -> bool:
    """Whether it lies in a ``Box``, whatever its float type."""
    array = np.asarray(action)
    if array.shape != space.shape or array.dtype.kind not in "iuf":
        return False
    return bool(((array >= space.low - 1e-6) & (array <= space.high + 1e-6)).all())


def _entries(info: Mapping[str, Any], where: str) -> dict[str, Array]:
    """The stored part of one step's info, or of a vector environment's infos.

    Raises:
        ValueError: naming ``where``, for one without a cost and for what are no numbers.
    """
    if "cost" not in info:
        raise ValueError(
            f"{where}: the environment reports no info['cost'], only {sorted(info)}; wrap it so "
            "that every step says its cost: see wrappers.costs, or --cost-key and --cost-function"
        )
    entries = {
        "cost": _single("cost", info["cost"], where),
        "env_cost": _single("env_cost", info.get("env_cost", info["cost"]), where),
    }
    terms = info.get("cost_terms", {})
    if not isinstance(terms, Mapping):
        raise ValueError(f"{where}: info['cost_terms'] is {terms!r}; expected names and numbers")
    for name, term in terms.items():
        if not name.startswith("_"):  # masks of a vector environment
            entries[f"cost_{name}"] = _single(f"cost_terms.{name}", term, where)
    for name in _OPTIONAL_INFOS:
        if name in info:
            value = np.asarray(info[name])
            entries[name] = value if value.dtype == bool else _single(name, value, where)
            if name in _TIMES:
                entries[name] = np.minimum(entries[name], np.float32(LONGEST_TIME))
    return entries


def _single(name: str, value: Any, where: str) -> Array:
    """In single precision.

    Raises:
        ValueError: for what are no numbers.
    """
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{where}: info[{name!r}] is {value!r}; expected a number")
    with np.errstate(over="ignore"):  # an infinity is found when the episode is complete
        return array.astype(np.float32)
