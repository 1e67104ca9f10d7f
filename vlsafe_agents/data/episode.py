"""One drive as arrays, and the rule that makes the training cost of its steps."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from vlsafe_agents.common.border import Array, numbers_of
from wrappers.checks import FLOAT32_MAX, check_numbers, one_flag, whole_number
from wrappers.vlm_cost import CostMode, check_cost_mode, combine_cost


def training_cost(
    mode: CostMode,
    env_cost: Array,
    safety_score: Array | None,
    terminated: Array,
    threshold: float = 0.5,
    terminal_weight: float = 10.0,
) -> npt.NDArray[np.float32]:
    """The CMDP's cost ``(N,)`` of stored steps: ``wrappers.combine_cost``, where scores are needed.

    Raises:
        ValueError: for an unknown mode and when the mode needs a missing ``safety_score``.
    """
    check_cost_mode(mode)
    if mode != "env" and safety_score is None:
        raise ValueError(
            f"cost={mode!r} needs a scorer's safety_score, which these data do not have; "
            "add it with `vlsafe label`, or use cost='env'"
        )
    score = np.nan if safety_score is None else safety_score
    cost = combine_cost(mode, env_cost, score, terminated, threshold, terminal_weight)
    return cost.astype(np.float32)


@dataclass(frozen=True)
class Branch:
    """Where an episode leaves a recorded one, to see what would have come of other actions."""

    episode: int  # number of the recorded one
    step: int  # its observation that is this one's first
    macro: str  # the macro-action that this one took
    why: str  # the state was chosen: "evenly", or what made it critical


@dataclass(frozen=True)
class Episode:
    """A drive of T steps: T + 1 observations, the reset's included, and T actions.

    Costs and scores have T + 1 entries like Minari's infos: entry t was received on arriving at
    observation t, so that ``reward[t]`` (T entries) belongs with ``env_cost[t + 1]``.

    Lists and tensors become arrays on construction.

    Raises:
        ValueError: for wrong lengths and types, numbers that are not finite or that float32 cannot
            hold, negative costs and scores outside [0, 1].
    """

    obs: dict[str, Array]  # each (T + 1, ...)
    action: Array  # (T,) int64 or (T, A) float32
    reward: Array  # (T,)
    env_cost: Array | None  # (T + 1,), simulator truth, entry 0 the reset's; None: not recorded
    terminated: bool
    safety_score: Array | None = None  # (T + 1,) in [0, 1], 1 = safe
    seed: int | None = None
    driver: str = ""
    infos: dict[str, Array] = field(default_factory=dict)  # each (T + 1, ...), anything else
    truncated: bool | None = None  # ended from outside; None: where it did not terminate
    branch: Branch | None = None  # None: a drive from its reset on

    def __post_init__(self) -> None:
        action = numbers_of(self.action, "action")
        steps = len(action)
        if steps == 0:
            raise ValueError("an episode needs at least one step; this one has none")
        obs = _columns(self.obs, "obs", steps + 1)
        if not obs:
            raise ValueError("an episode needs at least one observation kind; obs is empty")
        infos = _columns(self.infos, "infos", steps + 1)
        doubled = sorted(infos.keys() & {"env_cost", "safety_score"})
        if doubled:
            raise ValueError(
                f"infos hold {doubled}, which are arguments of their own; leave it out"
            )
        reward = _per_step(self.reward, "reward", steps)
        env_cost = self.env_cost
        if env_cost is not None:
            env_cost = _per_step(env_cost, "env_cost", steps + 1)
            check_numbers(env_cost, "env_cost", low=0.0, high=FLOAT32_MAX)
        score = self.safety_score
        if score is not None:
            score = _per_step(score, "safety_score", steps + 1)
            check_numbers(score, "safety_score", low=0.0, high=1.0)
        check_numbers(action, "action")
        check_numbers(reward, "reward", low=-FLOAT32_MAX, high=FLOAT32_MAX)
        for name, array in obs.items():
            check_numbers(array, f"obs[{name!r}]")
        checked = {"action": action, "obs": obs, "infos": infos, "reward": reward}
        checked |= {"env_cost": env_cost, "safety_score": score}
        checked["terminated"] = one_flag(self.terminated, "terminated")
        checked["truncated"] = not checked["terminated"]
        if self.truncated is not None:
            checked["truncated"] = one_flag(self.truncated, "truncated")
        if self.seed is not None:
            checked["seed"] = whole_number(self.seed, "seed")
        for name, value in checked.items():
            object.__setattr__(self, name, value)  # lists are arrays from here on

    @property
    def num_steps(self) -> int:
        """Steps T, one fewer than the observations."""
        return len(self.action)

    @property
    def collided(self) -> bool | None:
        """Whether a step led to a collision; None where no collisions were recorded.

        Where the episode begins there may have been one.
        """
        reported = self.infos.get("collision")
        return None if reported is None else bool(np.any(reported[1:]))

    @property
    def unsafe_steps(self) -> int | None:
        """Steps with a cost by simulator truth; None where none was recorded."""
        return None if self.env_cost is None else int((self.env_cost[1:] > 0).sum())


class EpisodeList(Sequence[Episode]):
    """Looks like a list of episodes and builds each when it is asked for.

    Args:
        build: the episode of an index from 0 on; an ``IndexError`` ends the list.
    """

    def __init__(self, build: Callable[[int], Episode], count: int) -> None:
        self._build, self._count = build, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self._build(i) for i in range(*index.indices(len(self)))]
        return self._build(index)


def episodes_of(given: Any) -> list[Episode]:
    """The episodes that :meth:`EpisodeDataset.from_arrays` was called with, as a list.

    Raises:
        TypeError: for what are none.
        ValueError: for none at all.
    """
    if isinstance(given, str | os.PathLike):
        raise TypeError(f"episodes is the path {os.fspath(given)!r}; open it with from_minari")
    if isinstance(given, Episode) or not isinstance(given, Iterable):
        raise TypeError(f"episodes is one {type(given).__name__}; give a list of Episode")
    episodes = list(given)
    for number, episode in enumerate(episodes):
        if not isinstance(episode, Episode):
            raise TypeError(
                f"episode {number} is a {type(episode).__name__}; give a list of "
                "vlsafe_agents.data.Episode"
            )
    if not episodes:
        raise ValueError("no episodes were given")
    return episodes


def _columns(given: Any, name: str, rows: int) -> dict[str, Array]:
    """The arrays of a mapping, each with one entry for every observation."""
    if not isinstance(given, Mapping):
        raise ValueError(
            f"{name} is {type(given).__name__}; expected a dict of arrays by name, such as "
            f"{name}={{'vector': array}}"
        )
    columns = {}
    for key, values in given.items():
        if not isinstance(key, str):
            raise ValueError(f"{name} has the name {key!r}; expected a text")
        columns[key] = _of_length(numbers_of(values, f"{name}[{key!r}]"), f"{name}[{key!r}]", rows)
    return columns


def _per_step(given: Any, name: str, rows: int) -> Array:
    """A column of single numbers."""
    values = _of_length(numbers_of(given, name), name, rows)
    if values.ndim != 1:
        raise ValueError(
            f"{name} has shape {values.shape}, expected ({rows},): one number a step; where the "
            f"further axes have length 1, take {name}.reshape(-1)"
        )
    return values


def _of_length(values: Array, name: str, rows: int) -> Array:
    if len(values) == rows:
        return values
    why = ": one for each action"
    if name != "reward":
        why = f": one more than the {rows - 1} actions, because the reset's observation counts"
    raise ValueError(f"{name} has {len(values)} entries, expected {rows}{why}")
