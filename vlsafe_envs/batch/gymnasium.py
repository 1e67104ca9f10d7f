"""Gymnasium's vector environment over the compiled engine."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space, create_empty_array

from vlsafe_envs.actions import check_actions
from vlsafe_envs.batch.columns import put_rows, rows_of
from vlsafe_envs.batch.stacked import Arrival, BatchMember, DrivingBatch
from vlsafe_envs.checks import check_autoreset, check_kind, check_seeds, reset_mask
from vlsafe_envs.state import State

Flags = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]


class VectorDrivingEnv(VectorEnv[Any, Any, npt.NDArray[Any]]):
    """N driving environments in one call; behaves as ``SyncVectorEnv`` does, far faster.

    Observations, rewards, episode ends, infos and random numbers are those of N environments made
    by ``gym.make`` with the same seeds.

    Args:
        batch: the environments.
        autoreset_mode: what happens after the end of an episode, see
            https://farama.org/Vector-Autoreset-Mode.

    Raises:
        ValueError: for what is no batch, and for an unknown mode.
    """

    def __init__(
        self,
        batch: DrivingBatch,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    ) -> None:
        check_kind("batch", batch, DrivingBatch, "a DrivingBatch")
        super().__init__()
        self.batch = batch
        self.num_envs = len(batch)
        self.autoreset_mode = check_autoreset(autoreset_mode)
        self.metadata = {**self.envs[0].metadata, "autoreset_mode": self.autoreset_mode}
        self.render_mode = batch.render_mode
        self.single_observation_space = self.envs[0].observation_space
        self.single_action_space = self.envs[0].action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._all = np.arange(self.num_envs)
        self._over = np.zeros(self.num_envs, bool)
        # The latest observations; rows that have never been reset are 0.
        self._seen = create_empty_array(self.single_observation_space, self.num_envs, np.zeros)

    @property
    def envs(self) -> list[BatchMember]:
        """The environments, to be looked at."""
        return self.batch.envs

    @property  # type: ignore[misc]  # nobody sets it, as in SyncVectorEnv
    def np_random(self) -> Any:
        """The random generators of the environments."""
        return self.get_attr("np_random")

    @property
    def np_random_seed(self) -> Any:
        """The seeds of the environments."""
        return self.get_attr("np_random_seed")

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Start episodes everywhere, or where ``options["reset_mask"]`` ``(N,)`` says.

        Environment i gets ``seed + i``, or entry i of a sequence of seeds.

        Raises:
            ValueError: for other options, a mask that is no boolean array ``(N,)`` with at least
                one True, bad seeds and a sequence of seeds of another length.
        """
        seeds = check_seeds(seed, self.num_envs)
        rows = np.flatnonzero(reset_mask(options, self.num_envs))
        arrival = self.batch.reset(rows, [seeds[n] for n in rows])
        self.batch.score_frames(arrival)
        self._over[rows] = False
        return self._show([arrival])

    def step(
        self, actions: Any
    ) -> tuple[Any, npt.NDArray[np.float64], Flags, Flags, dict[str, Any]]:
        """One decision in every environment; ends of episodes as ``autoreset_mode`` says.

        Raises:
            ValueError: for bad actions.
            RuntimeError: with ``AutoresetMode.DISABLED``, when an environment's episode is over.
        """
        actions = check_actions(actions, self.single_action_space, self.num_envs)
        if self.autoreset_mode == AutoresetMode.SAME_STEP:
            return self._step_and_restart(actions)
        if self.autoreset_mode == AutoresetMode.DISABLED and self._over.any():
            done = np.flatnonzero(self._over).tolist()
            raise RuntimeError(f"episodes of environments {done} are over: reset them")
        going, over = np.flatnonzero(~self._over), np.flatnonzero(self._over)
        arrivals = []
        if going.size:
            arrivals.append(self.batch.step(going, actions[going]))
        if over.size:
            arrivals.append(self.batch.reset(over, [None] * over.size))
        self.batch.score_frames(*arrivals)
        return self._returns(arrivals)

    def _step_and_restart(
        self, actions: Any
    ) -> tuple[Any, npt.NDArray[np.float64], Flags, Flags, dict[str, Any]]:
        """A step at whose end finished episodes make way for new ones."""
        last = self.batch.step(self._all, actions)
        over = np.flatnonzero(last.over)
        if not over.size:
            self.batch.score_frames(last)
            return self._returns([last])
        final_obs = np.full(self.num_envs, None, object)
        for n in over.tolist():
            final_obs[n] = last.observation_of(n)
        fresh = self.batch.reset(over, [None] * over.size)
        self.batch.score_frames(last, fresh)
        final_info = _spread(rows_of(last.info, over), over, self.num_envs)
        observations, reward, terminated, truncated, infos = self._returns([last])
        put_rows(observations, fresh.observation, over)
        put_rows(infos, fresh.info, over)
        self._over[:] = False
        for name, final in (("final_obs", final_obs), ("final_info", final_info)):
            infos[name], infos[f"_{name}"] = final, last.over
        return observations, reward, terminated, truncated, infos

    def _returns(
        self, arrivals: list[Arrival]
    ) -> tuple[Any, npt.NDArray[np.float64], Flags, Flags, dict[str, Any]]:
        """What ``step`` returns when the arrivals, together, are of all environments."""
        reward = np.zeros(self.num_envs)
        terminated, truncated = (np.zeros(self.num_envs, bool) for _ in range(2))
        for arrival in arrivals:
            reward[arrival.rows] = arrival.reward
            terminated[arrival.rows] = arrival.terminated
            truncated[arrival.rows] = arrival.truncated
        self._over = terminated | truncated
        observations, infos = self._show(arrivals)
        return observations, reward, terminated, truncated, infos

    def _show(self, arrivals: list[Arrival]) -> tuple[Any, dict[str, Any]]:
        """Observations of all environments, and infos of those that arrived."""
        first, others = arrivals[0], arrivals[1:]
        infos = _spread(first.info, first.rows, self.num_envs)
        if len(first.rows) == self.num_envs:
            self._seen = first.observation
            return self._seen, infos
        self._seen = deepcopy(self._seen)  # the caller may have kept it
        put_rows(self._seen, first.observation, first.rows)
        for arrival in others:
            put_rows(self._seen, arrival.observation, arrival.rows)
            put_rows(infos, arrival.info, arrival.rows)
            _mark(infos, arrival.rows)
        return self._seen, infos

    def restore(self, state: State, rows: Integers) -> None:
        """Put environments ``rows (K,)`` where one like them was saved; see ``snapshots``."""
        observation = self.batch.restore(state, rows)
        self._over[rows] = False
        self._seen = deepcopy(self._seen)  # the caller may have kept it
        put_rows(self._seen, observation, rows)

    @property
    def observations(self) -> Any:
        """The latest observations ``(N, ...)``; 0 where there was none yet."""
        return deepcopy(self._seen)

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """An attribute of every environment, or what its method returns."""
        found = [getattr(env, name) for env in self.envs]
        return tuple(f(*args, **kwargs) if callable(f) else f for f in found)

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """An attribute of every environment."""
        return self.call(name)

    def set_attr(self, name: str, values: Any) -> None:
        """Set ``rewards``, ``costs`` or ``offroad_terminal``: one value, or one an environment.

        Raises:
            AttributeError: for attributes that the environments have in common.
            ValueError: for values of another type or number.
        """
        if not isinstance(values, list | tuple):
            values = [values] * self.num_envs
        self.batch.set_own(name, self._all, values)

    def render(self) -> tuple[Any, ...] | None:
        """The scorer's frame of every environment (``render_mode="rgb_array"``)."""
        if self.render_mode is None:
            gym.logger.warn("render() shows nothing: make the environments with a render_mode")
            return None
        return tuple(env.safety_frame() for env in self.envs)


def _spread(columns: dict[str, Any], rows: Integers, count: int) -> dict[str, Any]:
    """Columns ``(K, ...)`` as Gymnasium's infos: arrays ``(count, ...)``, each with a mask."""
    mask = np.zeros(count, bool)
    mask[rows] = True
    infos: dict[str, Any] = {}
    for name, column in columns.items():
        if isinstance(column, dict):
            infos[name] = _spread(column, rows, count)
        elif len(rows) == count:
            infos[name] = column.copy()  # contiguous, and nobody else's
        else:
            nothing = None if column.dtype == object else 0
            infos[name] = np.full((count, *column.shape[1:]), nothing, column.dtype)
            infos[name][rows] = column
        infos[f"_{name}"] = mask.copy()
    return infos


def _mark(infos: dict[str, Any], rows: Integers) -> None:
    """Set the masks of infos in some rows."""
    for name, column in infos.items():
        if isinstance(column, dict):
            _mark(column, rows)
        elif name.startswith("_"):
            column[rows] = True
