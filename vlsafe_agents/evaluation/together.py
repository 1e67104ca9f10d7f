"""Driving many evaluation episodes at once; each is the one that it would be by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv
from gymnasium.vector.utils import create_empty_array

from vlsafe_agents.common.vector_episodes import drive_episodes, pick
from vlsafe_agents.evaluation.agents import Agent, Pilot, start_episode
from vlsafe_agents.evaluation.episode import Sums, name_of
from vlsafe_agents.evaluation.metrics import EpisodeRecord

MakeVecEnv = Callable[[int], VectorEnv[Any, Any, Any]]


def run_seeds_together(
    agent: Agent,
    make_vec_env: MakeVecEnv,
    seeds: Sequence[int],
    num_envs: int,
    deterministic: bool = True,
    progress: Callable[[EpisodeRecord], None] | None = None,
) -> list[EpisodeRecord]:
    """One record per seed, in their order; `progress` hears of them as they finish.

    A model sees one observation at a time, as it does when episodes are driven one by one: in
    batches its numbers would differ in their last bits, and some episodes with them.

    Raises:
        ValueError: for a driver object, which is bound to one environment
    """
    if hasattr(agent, "act") and not hasattr(agent, "predict"):
        raise ValueError(
            "A driver bound to one environment cannot drive several; pass a function "
            "(env, rng) -> driver."
        )
    env = make_vec_env(min(num_envs, len(seeds)))
    seats: dict[int, _Seat] = {}

    def begin(slot: int, seed: int, observation: Any, info: dict[str, Any]) -> _Seat:
        seats[slot] = _Seat(agent, env, slot, seed, deterministic, info)
        return seats[slot]

    def act(observations: Any, slots: list[int]) -> Any:
        actions: Any = create_empty_array(env.single_action_space, env.num_envs, np.zeros)
        for slot in slots:
            actions[slot] = seats[slot].act(pick(observations, slot))
        return actions

    records: dict[int, EpisodeRecord] = {}
    try:
        for seed, seat in drive_episodes(env, iter(seeds), int, begin, act):
            records[seed] = seat.sums.record(seat.last_info)
            if progress is not None:
                progress(records[seed])
    finally:
        env.close()
    return [records[seed] for seed in seeds]


class _Seat:
    """An agent in one episode, and what is written down of it."""

    def __init__(
        self,
        agent: Agent,
        env: VectorEnv[Any, Any, Any],
        slot: int,
        seed: int,
        deterministic: bool,
        info: dict[str, Any],
    ) -> None:
        self._space = env.single_action_space
        needs_env = not hasattr(agent, "predict")
        own: Any = env.envs[slot] if needs_env else env  # type: ignore[attr-defined]
        self._pilot: Pilot = start_episode(agent, own, seed, deterministic)
        if not deterministic and not needs_env:
            self._pilot = _OwnRandomness(self._pilot)
        self.sums = Sums(name_of(env), seed, info)
        self.last_info = info

    def act(self, observation: Any) -> Any:
        if self._pilot.sees_observations:
            self.sums.check_observation(observation)
        action = self._pilot.act(observation)
        self.sums.check_action(action, self._space)
        return action

    def add(
        self,
        action: Any,
        observation: Any,
        reward: float,
        terminated: bool,
        truncated: bool,
        info: dict[str, Any],
    ) -> None:
        self.sums.add(reward, info)
        self.last_info = info


class _OwnRandomness:
    """A sampling model's pilot with torch's generator as if no other episode used it."""

    sees_observations = True

    def __init__(self, pilot: Pilot) -> None:
        import torch as th

        self._pilot = pilot
        self._state = th.get_rng_state()  # start_episode has just seeded it

    def act(self, observation: Any) -> Any:
        import torch as th

        th.set_rng_state(self._state)
        action = self._pilot.act(observation)
        self._state = th.get_rng_state()
        return action
