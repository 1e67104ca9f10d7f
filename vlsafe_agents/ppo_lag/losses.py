"""PPO's losses as pure functions (Schulman et al. 2017, arXiv 1707.06347)."""

from __future__ import annotations

import torch as th
from torch.nn import functional as F


def clipped_policy_loss(
    advantages: th.Tensor, log_ratio: th.Tensor, clip_range: float
) -> th.Tensor:
    """Minus the clipped surrogate objective (equation 7), a scalar.

    Args:
        advantages: (N,)
        log_ratio: log of the new over the old probability of each action (N,)
        clip_range: how far the ratio counts from 1
    """
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1 - clip_range, 1 + clip_range)
    return -th.min(advantages * ratio, advantages * clipped).mean()


def value_loss(
    values: th.Tensor, old_values: th.Tensor, returns: th.Tensor, clip_range: float | None
) -> th.Tensor:
    """Mean squared error to the GAE return, a scalar; the prediction's move clipped if asked for.

    Args:
        values: predictions, N in all
        old_values: what was predicted while the steps were taken (N,)
        returns: (N,)
        clip_range: how far a prediction may move, None for any distance
    """
    values = values.flatten()
    if clip_range is not None:
        values = old_values + (values - old_values).clamp(-clip_range, clip_range)
    return F.mse_loss(returns, values)


@th.no_grad()
def kl_estimate(log_ratio: th.Tensor) -> float:
    """KL divergence of the old to the new policy from actions of the old one: Schulman's k3."""
    return float((log_ratio.exp() - 1 - log_ratio).mean())


@th.no_grad()
def clipped_share(log_ratio: th.Tensor, clip_range: float) -> float:
    """Share of the actions whose ratio is further than `clip_range` from 1."""
    return float(((log_ratio.exp() - 1).abs() > clip_range).float().mean())
