"""Returns of imagined or recorded trajectories, as pure functions.

Time convention: ``reward[:, j]`` and ``cont[:, j]`` belong to the step from state ``j`` to state
``j + 1``; ``value`` has one more column, the value of every state including the last.
"""

from __future__ import annotations

import torch
from torch import Tensor


def lambda_return(
    reward: Tensor, value: Tensor, cont: Tensor, gamma: float, lambda_: float
) -> Tensor:
    """Lambda-returns (Sutton and Barto 2018, equation 12.20), for a reward or a cost alike.

    ``R_j = r_j + gamma * cont_j * ((1 - lambda) * V_{j+1} + lambda * R_{j+1})``, ``R_H = V_H``.

    Args:
        reward: ``(N, H)`` received on arriving at state ``j + 1``.
        value: ``(N, H + 1)``.
        cont: ``(N, H)``, probability that state ``j + 1`` is not terminal.
        lambda_: 0 gives one-step targets, 1 the full sum bootstrapped once at the end.

    Returns:
        ``(N, H)``.

    Raises:
        ValueError: if the shapes do not fit.
    """
    if reward.shape != cont.shape or value.shape != (*reward.shape[:-1], reward.shape[-1] + 1):
        raise ValueError(
            "lambda_return needs reward (N, H), value (N, H + 1), cont (N, H); got "
            f"{tuple(reward.shape)}, {tuple(value.shape)}, {tuple(cont.shape)}"
        )
    discount = gamma * cont  # (N, H)
    one_step = reward + discount * (1 - lambda_) * value[..., 1:]  # (N, H)
    last = value[..., -1]
    returns = []
    for j in reversed(range(reward.shape[-1])):
        last = one_step[..., j] + discount[..., j] * lambda_ * last
        returns.append(last)
    return torch.stack(returns[::-1], -1)


def discount_weights(cont: Tensor, gamma: float) -> Tensor:
    """How much state ``j`` of an imagined trajectory counts: ``prod_{i<j} gamma * cont_i``.

    Args:
        cont: ``(N, H)``, as in :func:`lambda_return`.

    Returns:
        ``(N, H + 1)``; the first column is 1, the start state being real.
    """
    first = torch.ones_like(cont[..., :1])
    return torch.cat([first, torch.cumprod(gamma * cont, -1)], -1)
