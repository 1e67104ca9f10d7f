"""Reading costs from `info` and summing them up per episode."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from vlsafe_agents.common.checked_steps import CheckedSteps
from wrappers.checks import FLOAT32_MAX, one_cost


def read_costs(
    infos: Sequence[dict[str, Any]],
    steps: CheckedSteps,
    what: str = "PPOLag",
    remedy: str = "use SB3's PPO",
) -> np.ndarray:
    """The costs (n_envs,) float32 that the environments reported for their last step.

    A vector environment hands out the terminal step's own info at the end of an episode (not the
    next reset's), so the cost of the last step is here like any other.

    Args:
        steps: the environments, which know where each is
        what: needs the costs, for the message
        remedy: instead of costs, for the message

    Raises:
        KeyError: if an environment reports none, naming it
        ValueError: if a cost is no number, negative or not finite, naming environment and step, and
            where there is not one info for each environment
    """
    if len(infos) != steps.num_envs:
        raise ValueError(
            f"the vector environment returned {len(infos)} infos for {steps.num_envs} "
            f"environments; {what} reads info['cost'] of each: its step_wait() has to return one "
            "dictionary for each"
        )
    costs = np.empty(len(infos), dtype=np.float32)
    for index, info in enumerate(infos):
        if "cost" not in info:
            raise KeyError(
                f"{steps.where(index)}: there is no info['cost']; {what} needs one at every step. "
                f"Wrap the environment so that it reports one, or {remedy}."
            )
        cost = info["cost"]
        if type(cost) is float and 0.0 <= cost <= FLOAT32_MAX:  # as nearly all are
            costs[index] = cost
            continue
        costs[index] = one_cost(cost, "info['cost']", steps.where(index))
    return costs


class EpisodeCosts:
    """Running cost sum of each parallel environment and the sums of the last finished episodes.

    Args:
        n_envs: parallel environments
        kept: how many finished episodes are remembered
        recent: sums of episodes that finished before, oldest first
    """

    def __init__(self, n_envs: int, kept: int, recent: Iterable[float] = ()) -> None:
        self._running = np.zeros(n_envs, dtype=np.float64)
        self.recent: deque[float] = deque(recent, maxlen=kept)
        self.ended = 0  # episodes since `start_rollout`

    def start_rollout(self) -> None:
        self.ended = 0

    def add(self, costs: np.ndarray, dones: np.ndarray) -> None:
        """Add one step of every environment; all arguments are (n_envs,)."""
        self._running += costs
        for index in np.flatnonzero(dones).tolist():
            self.recent.append(float(self._running[index]))
            self._running[index] = 0.0
            self.ended += 1

    def mean(self, window: int) -> float:
        """Mean cost of the last `window` finished episodes, of fewer where there are not as many.

        Raises:
            ValueError: if none has finished yet
        """
        if not self.recent:
            raise ValueError("no episode has finished yet, so there is no mean cost")
        return float(np.mean(list(self.recent)[-window:]))

    def state_dict(self) -> dict[str, Any]:
        """Sums of running and of recent episodes, as at the beginning of a rollout."""
        return {"running": self._running.copy(), "recent": list(self.recent)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`, whose array may be a tensor."""
        self._running[:] = np.asarray(state["running"])
        self.recent = deque(state["recent"], maxlen=self.recent.maxlen)
