"""Replay buffers that keep costs beside rewards."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch as th
from stable_baselines3.common.buffers import DictReplayBuffer, ReplayBuffer
from stable_baselines3.common.type_aliases import PyTorchObs

from vlsafe_agents.common.off_policy import KeptReplay


class CostReplaySamples(NamedTuple):
    """One batch; all but observations and actions are (B, 1)."""

    observations: PyTorchObs
    actions: th.Tensor  # (B, A), scaled to [-1, 1]
    next_observations: PyTorchObs
    dones: th.Tensor  # 1 where the episode terminated; 0 where it was cut
    rewards: th.Tensor
    costs: th.Tensor


class CostKeeping(KeptReplay):
    """The cost half, mixed into both of SB3's replay buffers."""

    row_arrays = (*KeptReplay.row_arrays, "costs")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.costs = np.zeros((self.buffer_size, self.n_envs), np.float32)

    def add_cost(self, costs: np.ndarray) -> None:
        """Store the costs (n_envs,) of the step that the next `add` will store."""
        self.costs[self.pos] = costs

    def _get_samples(self, batch_inds: np.ndarray, env: Any = None) -> CostReplaySamples:  # type: ignore[override]
        # drawn here as SB3 draws them, so that costs are those of the same environments
        columns = np.random.randint(0, self.n_envs, len(batch_inds))  # noqa: NPY002
        at = batch_inds, columns
        ended = self.dones[at] * (1 - self.timeouts[at])
        return CostReplaySamples(
            self._seen(self.observations, at),
            self.to_torch(self.actions[at]),
            self._seen(self.next_observations, at),
            *(self.to_torch(x.reshape(-1, 1)) for x in (ended, self.rewards[at], self.costs[at])),
        )

    def _seen(self, stored: Any, at: tuple[np.ndarray, np.ndarray]) -> PyTorchObs:
        if isinstance(stored, dict):
            return {name: self.to_torch(part[at]) for name, part in stored.items()}
        return self.to_torch(stored[at])


class CostReplayBuffer(CostKeeping):
    """`ReplayBuffer` with costs."""


class CostDictReplayBuffer(CostKeeping, DictReplayBuffer):  # type: ignore[misc]
    """The same for Dict observations."""


BUFFERS: tuple[type[ReplayBuffer], type[ReplayBuffer]] = (CostReplayBuffer, CostDictReplayBuffer)
