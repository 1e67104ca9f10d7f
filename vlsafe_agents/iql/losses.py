"""IQL's losses as pure functions (Kostrikov, Nair and Levine 2021, arXiv 2110.06169)."""

from __future__ import annotations

import torch as th


def expectile_loss(difference: th.Tensor, expectile: float) -> th.Tensor:
    """Mean of |tau - 1(u < 0)| u^2 over differences u (N,) (equation 5), a scalar.

    Its minimum over a constant taken off is the tau-expectile: the mean for 0.5, the largest value
    as tau nears 1.
    """
    weight = th.where(difference < 0, 1.0 - expectile, expectile)
    return (weight * difference.square()).mean()


def advantage_weight(advantage: th.Tensor, beta: float, limit: float) -> th.Tensor:
    """exp(beta A), at most `limit`, of advantages (N,) (equation 7; the limit is of their code)."""
    return (beta * advantage).exp().clamp(max=limit)
