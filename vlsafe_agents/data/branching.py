"""What would have come of other actions: the simulator drives on from states of recorded drives.

Each chosen state is reached by driving its episode again, and the simulator drives on from there
under every macro-action that the recorded driver did not take, until the episode ends or the
horizon is reached.  What comes of it is an episode of its own; where it began is in
``Episode.branch``.

Half of the states are drawn evenly, half in proportion to how critical they are: ``1 / (1 + t)`` of
the time t [s] to a collision or to the vehicle ahead, where it is below ``CRITICAL_SECONDS``, and 1
in the ``LAST_SECONDS`` before a terminal step with a cost.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from vlsafe_agents.common.border import Array
from vlsafe_agents.data.driving import EpisodePlan, MakeDriver, Recording
from vlsafe_agents.data.episode import Branch, Episode
from vlsafe_agents.data.shards import known_total
from wrappers.checks import one_number, whole_number

EVENLY = "evenly"
BEFORE_COST = "before_cost"
CRITICAL_SECONDS = 5.0  # [s] to a contact
LAST_SECONDS = 3.0  # [s] before a terminal step with a cost that are critical
COMMITTED_SECONDS = 1.0  # [s]: a macro-action was taken if the driver did the same for as long
_TIMES = ("time_to_collision", "headway")
DRIVER_PREFIX = "branch:"  # before the macro-action, in place of a driver's name
_EVEN_SHARE = 0.5  # of the states
_STATES, _MACRO = 2, 3  # of the random streams of a seed; 1 is the recorded driver's

Read = Callable[[gym.Env[Any, Any], Any], Any]


@dataclass(frozen=True)
class BranchConfig:
    """What is driven from recorded states.

    Args:
        states: of each episode that are branched from; fewer in shorter episodes.
        macros: names of the macro-actions.
        frequency: decisions a second [Hz].
        seconds: longest branch [s].

    Raises:
        ValueError: for numbers out of range, and for no macro-action.
    """

    states: int
    macros: tuple[str, ...]
    frequency: float
    seconds: float = 5.0

    def __post_init__(self) -> None:
        whole_number(self.states, "states", "branches", low=1)
        one_number(self.frequency, "frequency", "branches", low=1e-3)
        one_number(self.seconds, "seconds", "branches", low=0.1)
        if not self.macros or len(set(self.macros)) < len(self.macros):
            raise ValueError(f"branches: macros={self.macros!r}; give names, each once")

    def decisions(self, seconds: float) -> int:
        """Decisions in so many seconds, at least one."""
        return max(1, round(seconds * self.frequency))

    @property
    def most(self) -> int:
        """Branches of one episode at most."""
        return self.states * len(self.macros)


@dataclass(frozen=True)
class Brancher:
    """How to drive on; both functions have to be picklable for several workers.

    Args:
        branches: ``(env, plans, read)`` yields ``read(env, plan)`` for each plan, such as the name
            of a macro-action, always from the state in which ``env`` is, and leaves it there.
        make_macro: a driver for the macro-action of a name, which begins now.
        urgency: ``(env, info)``: how near a contact is, in [0, 1], where an info tells too little,
            as on winding roads; risk models then hardly ever learn from calm states. None:
            :func:`urgency` of the info.
    """

    branches: Callable[[gym.Env[Any, Any], Iterable[Any], Read], Iterator[Any]]
    make_macro: MakeDriver
    urgency: Callable[[gym.Env[Any, Any], Mapping[str, Any]], float] | None = None


class ChosenState(NamedTuple):
    """A recorded state to branch from."""

    step: int
    why: str  # see ``Branch.why``


class Branched(NamedTuple):
    """What was driven from one episode."""

    episodes: dict[int, Episode]  # by a number below ``BranchConfig.most``
    simulated: int  # steps, also of macro-actions that had been taken and of driving there again

    @property
    def counts(self) -> dict[str, int | None]:
        """The fields of ``ShardFacts`` about branches."""
        found = self.episodes.values()
        return {
            "branches": len(found),
            "branch_steps": sum(episode.num_steps for episode in found),
            "branch_collisions": known_total(episode.collided for episode in found),
            "branch_simulated": self.simulated,
        }


def branch_out(
    env: gym.Env[Any, Any],
    recorded: Episode,
    number: int,
    config: BranchConfig,
    brancher: Brancher,
) -> Branched:
    """Drive on from chosen states of the episode ``number``, which ``env`` can drive again.

    Raises:
        ValueError: where the environment does not come to the recorded states again.
    """
    assert recorded.seed is not None
    chosen = choose_states(recorded, config, np.random.default_rng([recorded.seed, _STATES]))
    observation, info = env.reset(seed=recorded.seed)
    episodes, simulated, step = {}, 0, 0
    for k, (wanted, why) in enumerate(chosen):
        while step < wanted:
            observation, _, _, _, info = env.step(_action(env, recorded.action[step]))
            step, simulated = step + 1, simulated + 1
        _check_arrival(observation, recorded, step)
        attempt = _Attempt(recorded, step, config, brancher, observation, info)
        results = brancher.branches(env, config.macros, attempt)
        for m, (macro, (steps, episode)) in enumerate(zip(config.macros, results, strict=True)):
            simulated += steps
            if episode is not None:
                branch = Branch(number, step, macro, why)
                place = k * len(config.macros) + m
                episodes[place] = dataclasses.replace(episode, branch=branch)
    return Branched(episodes, simulated)


@dataclass(frozen=True)
class _Attempt:
    """Drives a macro-action from one state; returns how many steps, and the episode.

    There is no episode where the recorded driver did the same.
    """

    recorded: Episode
    step: int
    config: BranchConfig
    brancher: Brancher
    observation: Any
    info: Mapping[str, Any]

    def __call__(self, env: gym.Env[Any, Any], macro: str) -> tuple[int, Episode | None]:
        seed = self.recorded.seed
        assert seed is not None
        plan = EpisodePlan(0, f"{DRIVER_PREFIX}{macro}", seed)
        rng = np.random.default_rng([seed, _MACRO, self.step, self.config.macros.index(macro)])
        driver = self.brancher.make_macro(macro, env, rng)
        recording = Recording(env, plan, self.observation, self.info)
        taken = self.recorded.action[self.step :][: self.config.decisions(COMMITTED_SECONDS)]
        longest = self.config.decisions(self.config.seconds)
        same, over = True, False
        while not over and len(recording) < longest:
            action = driver.act()
            if len(recording) < len(taken):
                same = same and np.array_equal(taken[len(recording)], action)
            over = recording.step(action)
            if same and len(recording) >= len(taken):
                return len(recording), None
        if same:
            return len(recording), None
        episode = recording.episode()
        if not over:
            episode = dataclasses.replace(episode, truncated=True)
        return len(recording), episode


def _action(env: gym.Env[Any, Any], stored: Array) -> Any:
    """An action as it was driven, from how it is stored."""
    if isinstance(env.action_space, gym.spaces.Discrete):
        return int(stored)
    return np.asarray(stored, env.action_space.dtype)


def _check_arrival(observation: Mapping[str, Array], recorded: Episode, step: int) -> None:
    for name, column in recorded.obs.items():
        if not np.array_equal(observation[name], column[step]):
            raise ValueError(
                f"the episode of seed {recorded.seed} cannot be driven again: after {step} of its "
                f"actions the observation {name!r} differs, so nothing can branch from it; leave "
                "--branches out"
            )


# --- which states ---------------------------------------------------------------------------------


def choose_states(
    episode: Episode, config: BranchConfig, rng: np.random.Generator
) -> list[ChosenState]:
    """States to branch from, without repetition and in order.

    Each is drawn evenly or in proportion to :func:`criticality`, with equal chances; evenly where
    nothing is critical.
    """
    danger, why = criticality(episode, config.decisions(LAST_SECONDS))
    chosen: dict[int, str] = {}
    free = np.ones(episode.num_steps, bool)
    for _ in range(min(config.states, episode.num_steps)):
        evenly = rng.random() < _EVEN_SHARE
        weight = free * danger
        if evenly or not weight.any():
            evenly, weight = True, free.astype(np.float64)
        step = int(rng.choice(len(weight), p=weight / weight.sum()))
        free[step], chosen[step] = False, EVENLY if evenly else why[step]
    return [ChosenState(step, chosen[step]) for step in sorted(chosen)]


def urgency(info: Mapping[str, Any]) -> float:
    """``1 / (1 + t)`` of the least time t [s] to a contact that an info tells; 0 if it is far."""
    return max((float(_nearness(info[name])) for name in _TIMES if name in info), default=0.0)


def _nearness(seconds: Any) -> Array:
    """How critical times to a contact are, in their shape."""
    seconds = np.maximum(seconds, 0.0)
    return np.where(seconds < CRITICAL_SECONDS, 1.0 / (1.0 + seconds), 0.0)


def criticality(episode: Episode, before_cost: int) -> tuple[Array, list[str]]:
    """How critical each state with an action is, ``(T,)`` in [0, 1], and by what.

    What was not recorded does not count.
    """
    steps = episode.num_steps
    columns = {name: np.zeros(steps) for name in (BEFORE_COST, *_TIMES)}
    for name in _TIMES:
        if name in episode.infos:
            columns[name] = _nearness(episode.infos[name][:steps])
    if episode.terminated and episode.env_cost is not None and episode.env_cost[-1] > 0:
        columns[BEFORE_COST][max(0, steps - before_cost) :] = 1.0
    names, table = list(columns), np.stack(list(columns.values()))  # (3, T)
    return table.max(0), [names[row] for row in table.argmax(0)]
