"""Steps of all episodes in flat arrays, as D4RL, DSRL and d3rlpy have them.

Row t of the flat arrays is a step: ``observations[t]``, the action taken there, the reward and the
cost that came of it, and whether the episode terminated or was cut then.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from vlsafe_agents.common.border import Array, check_column, numbers_of
from vlsafe_agents.data.dataset import EpisodeDataset
from vlsafe_agents.data.episode import CostMode, Episode
from vlsafe_agents.data.rows import bare_name
from wrappers.checks import FLOAT32_MAX
from wrappers.files import reading

Observations = Array | Mapping[str, Array]
NEEDED = ("observations", "actions", "rewards", "terminals")
FURTHER = ("next_observations", "costs", "timeouts")


def from_flat_arrays(
    observations: Observations,
    actions: Array,
    rewards: Array,
    terminals: Array,
    timeouts: Array | None = None,
    costs: Array | None = None,
    next_observations: Observations | None = None,
    *,
    observation_space: gym.Space[Any] | None = None,
    action_space: gym.Space[Any] | None = None,
    cost: CostMode = "env",
) -> EpisodeDataset:
    """A data set of N steps in the order in which they were driven.

    Where ``next_observations`` are missing, what the last action of an episode led to is not known:
    an episode that terminated then ends with its last observation repeated, and one that was cut
    loses its last step.

    Args:
        observations: ``(N, ...)``, or a dict of such arrays; integers below 256 in uint8 with two
            axes and more are images.
        actions: ``(N, A)``, or ``(N,)`` of a ``Discrete`` space.
        rewards: ``(N,)`` or ``(N, 1)``, like the next three.
        terminals: 1 where the step ended the episode by itself.
        timeouts: 1 where the episode was cut after the step; the last row always ends one.
        costs: at least 0; None: not recorded.
        next_observations: what each action led to.
        observation_space: None: a Box without bounds, of the arrays' shapes and types.
        action_space: None: Box(-1, 1), if all actions are floats in it.

    Raises:
        ValueError: for arrays of other lengths, shapes and types, for numbers that are not finite
            or outside the spaces, for next observations that are not the following step's, and
            without an ``action_space`` that has to be given.
    """
    obs = _named(observations, "observations")
    count = len(next(iter(obs.values())))
    ends = _flags(terminals, "terminals", count)
    cuts = np.zeros(count, bool) if timeouts is None else _flags(timeouts, "timeouts", count)
    action = _rows(actions, "actions", count)
    if action_space is None:
        action_space = _unit_box(action)
    if isinstance(action_space, gym.spaces.Discrete):
        action = _column(action, "actions", count)
    reward = _column(rewards, "rewards", count)
    paid = None if costs is None else _column(costs, "costs", count)
    after = None
    if next_observations is not None:
        after = _named(next_observations, "next_observations")
        _check_alike(obs, after, count)
    starts = np.concatenate(([0], np.flatnonzero((ends | cuts)[:-1]) + 1, [count]))
    if paid is not None:
        check_column(paid, "costs", starts, low=0.0, high=FLOAT32_MAX)
    if after is not None:
        _check_order(obs, after, ends | cuts)
    episodes = []
    for begin, end in pairwise(starts):
        steps = slice(begin, end)
        terminated = bool(ends[end - 1])
        if after is None and not terminated:  # the last action's outcome is not known
            steps = slice(begin, end - 1)
            if end - begin == 1:
                continue
        episodes.append(
            Episode(
                obs={
                    name: _arrivals(column, after, name, begin, end, terminated)
                    for name, column in obs.items()
                },
                action=action[steps],
                reward=reward[steps],
                env_cost=None if paid is None else np.concatenate(([0.0], paid[steps])),
                terminated=terminated,
            )
        )
    if not episodes:
        raise ValueError(
            "no episode has two observations; give next_observations, or check terminals and "
            "timeouts"
        )
    if observation_space is None:
        observation_space = _space_of(obs, isinstance(observations, Mapping))
    return EpisodeDataset.from_arrays(episodes, observation_space, action_space, cost)


def from_dsrl(
    path: str | os.PathLike[str],
    observation_space: gym.Space[Any] | None = None,
    action_space: gym.Space[Any] | None = None,
    cost: CostMode = "env",
) -> EpisodeDataset:
    """A data set in an HDF5 file of flat arrays: DSRL's (arXiv 2306.09303) or D4RL's.

    Arrays are read by their names at the top of the file: ``observations``, ``actions``,
    ``rewards``, ``terminals`` and, where they are there, ``timeouts``, ``costs`` and
    ``next_observations``; others are left alone.

    Args:
        path: the file.
        observation_space: this and the next as in :func:`from_flat_arrays`.

    Raises:
        FileNotFoundError: where there is no file.
        ValueError: for a file of another kind, naming it, and as :func:`from_flat_arrays`.
    """
    path = Path(path)
    arrays = reading(path, "a file of flat arrays (HDF5)", _read_arrays, "download it again")
    try:
        return from_flat_arrays(
            **arrays, observation_space=observation_space, action_space=action_space, cost=cost
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def is_flat_file(path: str | os.PathLike[str]) -> bool:
    """Whether it is an HDF5 file with flat arrays."""
    import h5py  # loads slowly

    path = Path(path)
    if not path.is_file() or not h5py.is_hdf5(path):
        return False
    with h5py.File(path, "r") as file:
        return all(name in file for name in NEEDED)


def to_flat_arrays(dataset: EpisodeDataset) -> dict[str, Any]:
    """A data set as DSRL's arrays: what :func:`from_flat_arrays` takes.

    Observations of a ``Dict`` space are dicts of arrays; ``costs`` are left out where they are not
    known.
    """
    if 0 < dataset.num_branches < dataset.num_episodes:
        raise ValueError(
            "flat arrays cannot tell recorded drives from branches of them; write each data set of "
            "the mix by itself (dataset.parts)"
        )
    episodes = list(dataset.episodes)
    bare = not isinstance(dataset.observation_space, gym.spaces.Dict)

    def joined(rows: slice) -> Any:
        names = episodes[0].obs
        columns = {n: np.concatenate([e.obs[n][rows] for e in episodes]) for n in names}
        return next(iter(columns.values())) if bare else columns

    last = np.concatenate([np.arange(e.num_steps) == e.num_steps - 1 for e in episodes])
    terminated = np.repeat([e.terminated for e in episodes], [e.num_steps for e in episodes])
    arrays: dict[str, Any] = {
        "observations": joined(slice(None, -1)),
        "next_observations": joined(slice(1, None)),
        "actions": np.concatenate([e.action for e in episodes]),
        "rewards": np.concatenate([e.reward for e in episodes]),
        "terminals": last & terminated,
        "timeouts": last & ~terminated,
    }
    costs = [e.env_cost[1:] for e in episodes if e.env_cost is not None]
    return arrays | ({"costs": np.concatenate(costs)} if len(costs) == len(episodes) else {})


def _read_arrays(path: Path) -> dict[str, Any]:
    import h5py  # loads slowly

    with h5py.File(path, "r") as file:
        missing = [name for name in NEEDED if name not in file]
        if missing:
            raise ValueError(
                f"it has no {', '.join(missing)} but {', '.join(list(file)[:10])}; expected "
                f"arrays {', '.join(NEEDED)}, and perhaps {', '.join(FURTHER)}"
            )
        found = {name: file[name] for name in (*NEEDED, *FURTHER) if name in file}
        for name, item in found.items():
            if not isinstance(item, h5py.Dataset):
                raise ValueError(f"{name} is a group, no array")
        return {name: item[()] for name, item in found.items()}


def _named(observations: Any, what: str) -> dict[str, Array]:
    if isinstance(observations, Mapping):
        parts = {name: numbers_of(v, f"{what}[{name!r}]") for name, v in observations.items()}
        if not parts:
            raise ValueError(f"{what} is an empty dict")
    else:
        values = numbers_of(observations, what)
        parts = {bare_name(_box(values)): values}
    lengths = {name: len(values) for name, values in parts.items()}
    if len(set(lengths.values())) > 1 or not next(iter(lengths.values())):
        raise ValueError(f"{what} have {lengths} rows; expected as many steps each, and not none")
    return parts


def _rows(values: Any, name: str, count: int) -> Array:
    array = numbers_of(values, name)
    if len(array) != count:
        raise ValueError(f"{name} have {len(array)} rows, but the observations {count}")
    return array


def _column(values: Any, name: str, count: int) -> Array:
    array = _rows(values, name, count)
    if array.size != count:
        raise ValueError(f"{name} have shape {array.shape}; expected ({count},)")
    return array.reshape(count)


def _flags(values: Any, name: str, count: int) -> npt.NDArray[np.bool_]:
    array = _column(values, name, count)
    wrong = (array != 0) & (array != 1)
    if wrong.any():
        at = int(np.argmax(wrong))
        raise ValueError(f"{name} hold {array[at]} at entry {at}; expected 0 or 1")
    return array.astype(bool)


def _unit_box(actions: Array) -> gym.Space[Any]:
    if actions.ndim == 2 and actions.dtype.kind == "f" and not (np.abs(actions) > 1).any():
        return gym.spaces.Box(-1.0, 1.0, actions.shape[1:], np.float32)
    raise ValueError(
        f"the action space cannot be told from {actions.dtype} actions of shape {actions.shape}: "
        "give action_space=env.action_space"
    )


def _space_of(obs: dict[str, Array], named: bool) -> gym.Space[Any]:
    parts: dict[str, gym.Space[Any]] = {name: _box(column) for name, column in obs.items()}
    return gym.spaces.Dict(parts) if named else next(iter(parts.values()))


def _box(column: Array) -> gym.spaces.Box:
    """The space of all numbers of the column's type."""
    dtype: Any = column.dtype.type
    if column.dtype.kind == "f":
        return gym.spaces.Box(-np.inf, np.inf, column.shape[1:], dtype)
    low, high = (0, 1) if column.dtype.kind == "b" else _limits(dtype)
    return gym.spaces.Box(low, high, column.shape[1:], dtype)


def _limits(dtype: Any) -> tuple[int, int]:
    limits = np.iinfo(dtype)
    return int(limits.min), int(limits.max)


def _check_alike(obs: dict[str, Array], after: dict[str, Array], count: int) -> None:
    for name, column in obs.items():
        other = after.get(name)
        if other is None or other.shape != column.shape:
            found = "missing" if other is None else str(other.shape)
            raise ValueError(
                f"next_observations of {name!r} are {found}, the observations {column.shape}"
            )


def _check_order(
    obs: dict[str, Array], after: dict[str, Array], over: npt.NDArray[np.bool_]
) -> None:
    """Raise where an action did not lead to the next row's observation."""
    for name, column in obs.items():
        led, there = after[name][:-1], column[1:]
        differ = (led != there).reshape(len(led), -1).any(1) & ~over[:-1]
        if differ.any():
            at = int(np.argmax(differ))
            raise ValueError(
                f"next_observations[{at}] is not observations[{at + 1}], nor does an episode end "
                f"there ({int(differ.sum())} such rows): give the steps in the order in which they "
                "were driven, and mark episodes that were cut in timeouts"
            )


def _arrivals(
    column: Array,
    after: dict[str, Array] | None,
    name: str,
    begin: int,
    end: int,
    terminated: bool,
) -> Array:
    """The observations of an episode, one more than its steps."""
    if after is not None:
        return np.concatenate((column[begin:end], after[name][end - 1 : end]))
    if terminated:
        return np.concatenate((column[begin:end], column[end - 1 : end]))
    return column[begin:end]
