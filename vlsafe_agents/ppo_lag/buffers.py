"""Rollout buffers that keep the cost stream beside the reward stream."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NamedTuple, cast

import numpy as np
import torch as th
from stable_baselines3.common.buffers import DictRolloutBuffer, RolloutBuffer
from stable_baselines3.common.type_aliases import PyTorchObs

from vlsafe_agents.ppo_lag.advantages import normalised_separately


class CostRolloutBufferSamples(NamedTuple):
    """One minibatch; every tensor but the first two has shape (N,)."""

    observations: PyTorchObs
    actions: th.Tensor  # (N, action_dim)
    old_values: th.Tensor
    old_log_prob: th.Tensor
    advantages: th.Tensor
    returns: th.Tensor
    old_cost_values: th.Tensor
    cost_advantages: th.Tensor
    cost_returns: th.Tensor


def generalised_advantage(
    signals: np.ndarray,
    values: np.ndarray,
    episode_starts: np.ndarray,
    last_values: np.ndarray,
    last_dones: np.ndarray,
    gamma: float,
    gae_lambda: float,
) -> np.ndarray:
    """Generalised advantage estimate (Schulman et al. 2016, eq. 16) of a reward or cost stream.

    Args:
        signals: reward or cost (T, n_envs)
        values: predicted return of the state in which the signal was earned (T, n_envs)
        episode_starts: 1 where the state opens an episode (T, n_envs)
        last_values: predicted return of the state after the last step (n_envs,)
        last_dones: whether the last step ended its episode (n_envs,)

    Returns:
        advantages (T, n_envs)
    """
    advantages = np.zeros_like(values)
    next_values, alive = last_values, 1.0 - last_dones.astype(values.dtype)
    running = np.zeros_like(last_values)
    for step in reversed(range(len(signals))):
        delta = signals[step] + gamma * alive * next_values - values[step]
        running = delta + gamma * gae_lambda * alive * running
        advantages[step] = running
        next_values, alive = values[step], 1.0 - episode_starts[step]
    return advantages


class CostStorage(RolloutBuffer):
    """The cost half, mixed into both of SB3's rollout buffers."""

    _cost_arrays = ("cost_values", "cost_advantages", "cost_returns")

    def __init__(
        self, *args: Any, cost_gamma: float = 0.99, cost_gae_lambda: float = 0.95, **kwargs: Any
    ) -> None:
        self.cost_gamma = cost_gamma
        self.cost_gae_lambda = cost_gae_lambda
        super().__init__(*args, **kwargs)

    def reset(self) -> None:
        shape = (self.buffer_size, self.n_envs)
        self.costs = np.zeros(shape, dtype=np.float32)
        self.cost_values = np.zeros(shape, dtype=np.float32)
        self.cost_advantages = np.zeros(shape, dtype=np.float32)
        self.cost_returns = np.zeros(shape, dtype=np.float32)
        super().reset()

    def add_cost(self, costs: np.ndarray, cost_values: th.Tensor) -> None:
        """Store the costs (n_envs,) of the step that the next `add` will store."""
        self.costs[self.pos] = costs
        self.cost_values[self.pos] = cost_values.cpu().numpy().flatten()

    def compute_cost_returns_and_advantage(
        self, last_cost_values: th.Tensor, dones: np.ndarray
    ) -> None:
        """The cost's `compute_returns_and_advantage`; call it once the buffer is full."""
        self.cost_advantages = generalised_advantage(
            self.costs,
            self.cost_values,
            self.episode_starts,
            last_cost_values.cpu().numpy().flatten(),
            np.asarray(dones),
            self.cost_gamma,
            self.cost_gae_lambda,
        )
        self.cost_returns = self.cost_advantages + self.cost_values

    def normalise_separately(self) -> None:
        """Put both streams' advantages in the form that OmniSafe mixes."""
        self.advantages, self.cost_advantages = normalised_separately(
            self.advantages, self.cost_advantages
        )

    def get(self, batch_size: int | None = None) -> Generator[CostRolloutBufferSamples, None, None]:  # type: ignore[override]
        if not self.generator_ready:  # SB3 flattens its own arrays at the same moment
            for name in self._cost_arrays:
                setattr(self, name, self.swap_and_flatten(getattr(self, name)))
        yield from cast(Generator[CostRolloutBufferSamples, None, None], super().get(batch_size))

    def _get_samples(self, batch_inds: np.ndarray, env: Any = None) -> CostRolloutBufferSamples:  # type: ignore[override]
        base = super()._get_samples(batch_inds, env)
        cost = (getattr(self, name)[batch_inds].flatten() for name in self._cost_arrays)
        return CostRolloutBufferSamples(*base, *map(self.to_torch, cost))


class CostRolloutBuffer(CostStorage):
    """`RolloutBuffer` with costs, cost values, cost advantages and cost returns.

    Args:
        cost_gamma: discount of the cost return
        cost_gae_lambda: GAE parameter of the cost advantage
    """


class CostDictRolloutBuffer(CostStorage, DictRolloutBuffer):  # type: ignore[misc]
    """The same for Dict observations."""
