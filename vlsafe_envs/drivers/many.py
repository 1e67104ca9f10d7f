"""Rule-based drivers for all environments of a vector environment at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv
from gymnasium.vector.utils import create_empty_array

from vlsafe_envs.batch.gymnasium import VectorDrivingEnv
from vlsafe_envs.checks import check_choice, check_integer, check_kind, check_rng, shown
from vlsafe_envs.drivers.base import Bursts, random_action
from vlsafe_envs.drivers.rules import DISTURBED, driver_record, road_and_ways
from vlsafe_envs.registry import DRIVER_NAMES
from vlsafe_envs.simulators.engine.decisions import Decisions


class DriverBatch:
    """A driver in every environment, each acting as ``make_driver``'s would by itself.

    Args:
        env: the environments.

    Raises:
        ValueError: for a vector environment that the compiled engine does not drive.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        inner = getattr(env, "unwrapped", env)
        if not isinstance(inner, VectorDrivingEnv):
            raise ValueError(
                f"env={shown(env)}: drivers of many need one of the VLSafe environments, made by "
                "gym.make_vec and driven by the compiled engine"
            )
        self._env = inner
        scenario = inner.batch.scenario
        self._scenario = scenario
        self._decisions = Decisions(inner.batch.traffic, road_and_ways(scenario.traffic)[1])
        self._continuous = scenario.traffic.action == "continuous"
        self._names = [""] * inner.num_envs
        self._rngs: dict[int, np.random.Generator] = {}
        self._bursts: dict[int, Bursts] = {}

    def assign(self, slot: int, name: str, rng: np.random.Generator) -> None:
        """Put the driver ``name`` into environment ``slot``; to be done after each of its resets.

        Args:
            slot: which environment, in [0, N).
            name: see ``drivers``.
            rng: the driver's own randomness.

        Raises:
            ValueError: for an unknown name, another slot and what is no generator.
        """
        check_integer("slot", slot, 0, self._env.num_envs - 1)
        check_choice("driver", name, DRIVER_NAMES)
        check_rng(rng)
        self._names[slot], self._rngs[slot] = name, rng
        if name == "random":
            return
        rules = "expert" if name in DISTURBED else name
        self._decisions.assign(slot, driver_record(rules, self._scenario))
        if name in DISTURBED:
            self._bursts[slot] = Bursts(self._env.envs[slot], rng, name)

    def act(self, slots: list[int]) -> Any:
        """Actions ``(N, ...)`` of all environments, of which only those of ``slots`` are chosen.

        Call it once a step.

        Raises:
            ValueError: for an environment without a driver, and for slots that there are not.
        """
        check_kind("slots", slots, Sequence | np.ndarray, "a list of environments")
        for slot in slots:
            check_integer("slots", slot, 0, self._env.num_envs - 1)
        empty = [slot for slot in slots if not self._names[slot]]
        if empty:
            raise ValueError(f"environments {empty} have no driver: assign one after every reset")
        space = self._env.single_action_space
        actions: Any = create_empty_array(space, self._env.num_envs, np.zeros)
        ruled = np.array([slot for slot in slots if self._names[slot] != "random"], np.int64)
        if ruled.size:
            choices = self._decisions.decide(ruled)
            if self._continuous:
                actions[ruled, 0], actions[ruled, 1] = choices["throttle"], choices["steering"]
            else:
                actions[ruled] = choices["number"]
        for slot in slots:
            if self._names[slot] == "random":
                actions[slot] = random_action(space, self._rngs[slot])
            elif self._names[slot] in DISTURBED:
                actions[slot] = self._bursts[slot].interrupt(actions[slot])
        return actions
