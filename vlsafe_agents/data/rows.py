"""Episodes laid out one after another in flat arrays, and how these match Gymnasium's spaces."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from vlsafe_agents.common.border import (
    Array,
    action_dtype,
    actions_of,
    blank_actions,
    check_observations,
)
from vlsafe_agents.data.episode import Branch, CostMode, Episode, training_cost
from vlsafe_agents.data.paging import take
from vlsafe_agents.data.stream import Stream


@dataclass(frozen=True)
class FlatRows:
    """All episodes one after another; R rows, E episodes.  Shared by all views of the data."""

    obs: dict[str, Array]  # each (R, ...); images may be memory-mapped
    next_action: Array  # (R,) or (R, A); `blank_actions` at an episode's last row
    reward: npt.NDArray[np.float32]  # (R,)
    env_cost: npt.NDArray[np.float32]  # (R,), the reset's own kept here; all NaN if not recorded
    safety_score: npt.NDArray[np.float32]  # (R,), NaN when not labelled
    is_terminal: npt.NDArray[np.bool_]  # (R,)
    starts: npt.NDArray[np.int64]  # (E + 1,), first row of each episode, then R
    seeds: tuple[int | None, ...]  # (E,)
    drivers: tuple[str, ...]  # (E,)
    branches: tuple[Branch | None, ...]  # (E,), where they leave recorded episodes, if they do
    # Reads further infos of all rows by name, each (R, ...); what is not there is left out.
    infos: Callable[[Sequence[str]], dict[str, Array]]
    gate_score: npt.NDArray[np.float32] | None = None  # (R,), in place of safety_score for the gate
    imitated: npt.NDArray[np.bool_] | None = None  # (E,), whether a prior learns from it; None: all


def flatten(episodes: Sequence[Episode], action_space: gym.Space[Any]) -> FlatRows:
    """Lay episodes out in one stream of rows.

    Raises:
        ValueError: where an episode's actions do not belong to the space, or where the observations
            of two episodes differ in names, shapes or types.
    """
    lengths = [episode.num_steps + 1 for episode in episodes]
    starts = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    names = list(episodes[0].obs)
    for number, episode in enumerate(episodes):
        _check_alike(episode, number, episodes[0])
    total = int(starts[-1])
    next_action = blank_actions(total, action_space)
    reward = np.zeros(total, np.float32)
    is_terminal = np.zeros(total, bool)
    scores = np.full(total, np.nan, np.float32)
    for number, (begin, end) in enumerate(pairwise(starts)):
        episode, where = episodes[number], f"episode {number}"
        actions = actions_of(episode.action, action_space, episode.num_steps, where)
        next_action[begin : end - 1] = actions
        reward[begin + 1 : end] = episode.reward
        is_terminal[end - 1] = episode.terminated
        if episode.safety_score is not None:
            scores[begin:end] = episode.safety_score
    return FlatRows(
        obs={name: np.concatenate([e.obs[name] for e in episodes]) for name in names},
        next_action=next_action,
        reward=reward,
        env_cost=_costs(episodes),
        safety_score=scores,
        is_terminal=is_terminal,
        starts=starts,
        seeds=tuple(e.seed for e in episodes),
        drivers=tuple(e.driver for e in episodes),
        branches=tuple(e.branch for e in episodes),
        infos=partial(_infos_of, [e.infos for e in episodes]),
    )


def episode_of(flat: FlatRows, number: int) -> Episode:
    """The episode of a number, without its infos."""
    begin, end = (int(row) for row in flat.starts[number : number + 2])
    score, cost = flat.safety_score[begin:end], flat.env_cost[begin:end]
    return Episode(
        obs={name: np.asarray(array[begin:end]) for name, array in flat.obs.items()},
        action=flat.next_action[begin : end - 1],
        reward=flat.reward[begin + 1 : end],
        env_cost=None if np.isnan(cost).any() else cost,
        safety_score=None if np.isnan(score).any() else score,
        terminated=bool(flat.is_terminal[end - 1]),
        seed=flat.seeds[number],
        driver=flat.drivers[number],
        branch=flat.branches[number],
    )


class TrainingCosts:
    """Training costs of rows, made when they are asked for; NaN where they are not known.

    Args:
        stream: of the view that they are asked for.
        mode: see :func:`~vlsafe_agents.data.episode.training_cost`.

    Raises:
        ValueError: where the mode needs safety scores that the view does not have.
    """

    def __init__(self, flat: FlatRows, stream: Stream, mode: CostMode) -> None:
        self._flat, self._stream, self._mode = flat, stream, mode
        self.scored = not any(np.isnan(flat.safety_score[rows]).any() for rows in stream.chunks())
        self._resets_are_free = False
        some = any(not np.isnan(self.at(rows)).all() for rows in stream.chunks())
        self._resets_are_free = some  # where there are costs at all

    @property
    def known(self) -> bool:
        """Whether they are known of every row of the view."""
        return not any(np.isnan(self.at(rows)).any() for rows in self._stream.chunks())

    def at(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Those of row numbers ``(...)``; 0 for resets."""
        flat = self._flat
        score = flat.safety_score[rows] if self.scored else None
        cost = training_cost(self._mode, flat.env_cost[rows], score, flat.is_terminal[rows])
        if self._resets_are_free:
            cost[self._stream.is_first(rows)] = 0.0
        return cost


def _infos_of(episodes: Sequence[Mapping[str, Array]], names: Sequence[str]) -> dict[str, Array]:
    """Infos that all episodes have, laid end to end."""
    found = [name for name in names if all(name in infos for infos in episodes)]
    return {name: np.concatenate([infos[name] for infos in episodes]) for name in found}


def _costs(episodes: Sequence[Episode]) -> npt.NDArray[np.float32]:
    """Costs ``(R,)`` of all rows; NaN where no episode has any."""
    without = [number for number, episode in enumerate(episodes) if episode.env_cost is None]
    if 0 < len(without) < len(episodes):
        raise ValueError(
            f"{len(without)} of {len(episodes)} episodes have no env_cost, the first is episode "
            f"{without[0]}; give it in all of them, or in none"
        )
    columns = [
        np.full(e.num_steps + 1, np.nan) if e.env_cost is None else e.env_cost for e in episodes
    ]
    return np.concatenate(columns).astype(np.float32)


def _check_alike(episode: Episode, number: int, first: Episode) -> None:
    names = list(first.obs)
    if set(episode.obs) != set(names):
        raise ValueError(f"episode {number} has observations {list(episode.obs)}, not {names}")
    for name, array in episode.obs.items():
        wanted = first.obs[name]
        if (array.shape[1:], array.dtype) != (wanted.shape[1:], wanted.dtype):
            raise ValueError(
                f"episode {number}: observation {name!r} is {array.dtype}{array.shape[1:]}, but "
                f"{wanted.dtype}{wanted.shape[1:]} in episode 0; make them alike"
            )


def stacked_rows(
    flat: FlatRows, rows: npt.NDArray[np.int64], frames: int
) -> dict[str, npt.NDArray[Any]]:
    """Observations at ``rows (B,)``, each behind the ``frames - 1`` before it in its episode.

    Along the last axis, the oldest first, zeros from before the episode: ``(B, ..., frames * C)``.
    """
    if frames == 1:
        return {name: take(array, rows) for name, array in flat.obs.items()}
    first = flat.starts[np.searchsorted(flat.starts, rows, "right") - 1]  # (B,)
    wanted = rows[:, None] + np.arange(1 - frames, 1)  # (B, frames)
    missing = wanted < first[:, None]
    stacked = {}
    for name, array in flat.obs.items():
        found = take(array, np.maximum(wanted, first[:, None]))  # (B, frames, ..., C)
        found[missing] = 0
        found = np.moveaxis(found, 1, -2)  # (B, ..., frames, C)
        stacked[name] = found.reshape(*found.shape[:-2], -1)
    return stacked


def check_spaces(
    rows: FlatRows, observation_space: gym.Space[Any], action_space: gym.Space[Any]
) -> None:
    """Raise where shapes and types of the rows are not the spaces'.

    Raises:
        TypeError: for what is no space.
        ValueError: for rows of other ones.
    """
    for what, space in (("observation", observation_space), ("action", action_space)):
        if not isinstance(space, gym.Space):
            raise TypeError(f"{what}_space is {space!r}, no space; take the environment's own")
    for name, space in named_spaces(observation_space, list(rows.obs)).items():
        if name not in rows.obs:
            raise ValueError(f"the data hold observations {sorted(rows.obs)}, but no {name!r}")
        array = rows.obs[name]
        if array.shape[1:] != space.shape or array.dtype != space.dtype:
            remedy = "give the space of the environment that was recorded"
            if array.shape[1:] == space.shape:
                remedy = f"if no value is lost, take array.astype(np.{space.dtype})"
            raise ValueError(
                f"observation {name!r} is {array.dtype}{array.shape[1:]} in the data but "
                f"{space.dtype}{space.shape} in the observation space; {remedy}"
            )
    action_dtype(action_space)
    if rows.next_action.shape[1:] != (action_space.shape or ()):
        raise ValueError(
            f"actions have shape {rows.next_action.shape[1:]} in the data but "
            f"{action_space.shape} in the action space"
        )


def check_values(rows: FlatRows, observation_space: gym.Space[Any]) -> None:
    """Raise ``ValueError`` for observations that are not finite; see `check_observations`."""
    for name, space in named_spaces(observation_space, list(rows.obs)).items():
        check_observations(rows.obs[name], f"observation {name!r}", space, rows.starts)


def named_spaces(space: gym.Space[Any], names: list[str]) -> dict[str, gym.Space[Any]]:
    """The space of each observation; a bare ``Box`` belongs to the only stored observation."""
    if isinstance(space, gym.spaces.Dict):
        return dict(space.spaces)
    if len(names) != 1:
        raise ValueError(f"observation space {space} cannot hold the observations {names}")
    return {names[0]: space}


def bare_name(space: gym.Space[Any]) -> str:
    """The name of an observation that has none, because its space is no ``Dict``."""
    image = space.dtype == np.uint8 and len(space.shape or ()) in (2, 3, 4)
    return "image" if image else "vector"


def matching_names(
    stored: gym.Space[Any], wanted: gym.Space[Any], names: list[str]
) -> dict[str, str]:
    """Stored names of the observations that make up the wanted space, by their names in it.

    Args:
        names: of the stored observations.
    """
    options = named_spaces(stored, names)
    if isinstance(wanted, gym.spaces.Dict):
        missing = [name for name in wanted.spaces if name not in options]
        found = {name: name for name in wanted.spaces}
    else:
        fitting = [
            n for n, s in options.items() if (s.shape, s.dtype) == (wanted.shape, wanted.dtype)
        ]
        missing = [] if len(fitting) == 1 else [str(wanted)]
        found = {bare_name(wanted): name for name in fitting}
    if missing:
        raise ValueError(
            f"the environment shows {missing}, but the data hold only "
            f"{ {name: str(space) for name, space in options.items()} }; make the environment as "
            "the data were collected (same observation and scenario), or collect again"
        )
    return found


def episode_mask(kept: Any, episodes: int) -> npt.NDArray[np.bool_]:
    """Which of so many episodes are kept, ``(E,)``.

    Raises:
        ValueError: for another length, or where none is kept.
    """
    mask = np.asarray(kept, bool)
    if mask.shape != (episodes,) or not mask.any():
        raise ValueError(
            f"a mask of shape {mask.shape} that keeps {int(mask.sum())} cannot choose among "
            f"{episodes} episodes; give one entry for each, and keep one at least"
        )
    return mask


def within_limit(
    costs: npt.NDArray[np.float64], driven: npt.NDArray[np.bool_], cost_limit: float
) -> npt.NDArray[np.bool_]:
    """Which of the ``driven`` episodes, bool ``(E,)``, cost ``(E,)`` no more than a limit.

    Raises:
        ValueError: where there is none, with the least cost.
    """
    kept: npt.NDArray[np.bool_] = driven & (costs <= cost_limit * (1 + 1e-6) + 1e-6)  # of float32
    if not kept.any():
        least = f": the least costs {costs[driven].min():g}" if driven.any() else ""
        raise ValueError(
            f"none of {driven.sum()} recorded drives keeps the cost limit {cost_limit:g}{least}; "
            "raise the limit, or record safer drives"
        )
    return kept


def labelled_episodes(rows: FlatRows, needed: bool) -> list[int] | None:
    """Numbers of the episodes whose frames all have a label; ``None`` stands for all episodes.

    Data without any label are taken whole.  So are those without a wholly labelled episode, unless
    labels are ``needed``: then they are refused.
    """
    missing = np.isnan(rows.safety_score)
    if missing.all() or not missing.any():
        return None
    gaps = np.add.reduceat(missing, rows.starts[:-1])  # (E,), frames without a label
    whole = np.flatnonzero(gaps == 0)
    if len(whole):
        without, frames = int((gaps > 0).sum()), int(gaps.sum())
        warnings.warn(
            f"{without} of {len(gaps)} episodes are left out, because {frames} of their frames "
            "have no label; the same `vlsafe label` command scores only these",
            stacklevel=3,
        )
        return [int(number) for number in whole]
    if needed:
        raise ValueError(
            f"each of the {len(gaps)} episodes has frames without a label ({int(gaps.sum())} of "
            f"{len(missing)}); run the same `vlsafe label` command again, or use cost='env'"
        )
    return None
