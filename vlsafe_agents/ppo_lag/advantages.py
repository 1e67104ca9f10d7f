"""How the advantages of reward and cost become the one that PPO's clipped objective takes."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch as th

Array = TypeVar("Array", np.ndarray, th.Tensor)

NORMALIZATIONS = ("joint", "separate")


def lagrangian_advantage(reward: Array, cost: Array, multiplier: float) -> Array:
    """(A_r - lambda A_c) / (1 + lambda), of advantages (N,) (Ray, Achiam and Amodei 2019)."""
    return (reward - multiplier * cost) / (1.0 + multiplier)


def normalised_separately(reward: np.ndarray, cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A_r with mean 0 and standard deviation 1, A_c with mean 0 in its own unit, over a rollout.

    OmniSafe's (Ji et al. 2024; `VectorOnPolicyBuffer.get` with `standardized_adv_r`,
    `standardized_adv_c`): the multiplier is then a price in standard deviations of A_r.

    Args:
        reward: advantages of the reward, any shape
        cost: of the cost
    """
    return (reward - reward.mean()) / (reward.std() + 1e-8), cost - cost.mean()
