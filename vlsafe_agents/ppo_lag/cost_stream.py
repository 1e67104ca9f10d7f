"""Reading costs from `info` and summing them up per episode."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv


def read_costs(infos: Sequence[dict[str, Any]], env: VecEnv) -> np.ndarray:
    """The costs (n_envs,) float32 that the environments reported for their last step.

    A vector environment hands out the terminal step's own info at the end of an episode (not the
    next reset's), so the cost of the last step is here like any other.

    :raises KeyError: if an environment reports none, naming it
    :raises ValueError: if a cost is negative or not finite, naming the environment
    """
    costs = np.empty(len(infos), dtype=np.float32)
    for index, info in enumerate(infos):
        if "cost" not in info:
            raise KeyError(
                f"{_environment_name(env, index)} reports no info['cost']; PPOLag needs one at "
                "every step. Wrap the environment so that it does, or use SB3's PPO."
            )
        costs[index] = info["cost"]
        if not (np.isfinite(costs[index]) and costs[index] >= 0.0):
            raise ValueError(
                f"{_environment_name(env, index)} reported info['cost'] = {info['cost']}; "
                "costs must be finite and >= 0."
            )
    return costs


class EpisodeCosts:
    """Running cost sum of each parallel environment and the sums of finished episodes.

    `finished` holds the costs of the episodes that ended since `start_rollout`, `collisions` how
    many of those ended in a collision, `recent` the costs of the last `window` episodes.
    """

    def __init__(self, n_envs: int, window: int) -> None:
        self._running = np.zeros(n_envs, dtype=np.float64)
        self.finished: list[float] = []
        self.recent: deque[float] = deque(maxlen=window)
        self.collisions = 0

    def start_rollout(self) -> None:
        self.finished = []
        self.collisions = 0

    def add(self, costs: np.ndarray, dones: np.ndarray, infos: Sequence[dict[str, Any]]) -> None:
        """Add one step of every environment; all arguments are (n_envs,)."""
        self._running += costs
        for index in np.flatnonzero(dones).tolist():
            self.finished.append(float(self._running[index]))
            self.recent.append(float(self._running[index]))
            self.collisions += bool(infos[index].get("collision", False))
            self._running[index] = 0.0


def _environment_name(env: VecEnv, index: int) -> str:
    try:
        spec = env.get_attr("spec", index)[0]
    except AttributeError:
        spec = None
    return "The environment" if spec is None else spec.id
