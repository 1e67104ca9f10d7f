"""Returns of imagined or recorded trajectories, and episode costs, as pure functions.

Time convention: ``reward[:, j]`` and ``cont[:, j]`` belong to the step from state ``j`` to state
``j + 1``; ``value`` has one more column, the value of every state including the last.

Users state ``cost_limit`` as a sum over an episode (as Safety Gymnasium and PPO-Lagrangian do);
critics estimate discounted sums.  With a constant cost ``c`` per step and episodes of ``L`` steps,

    episode cost     J = c L
    discounted cost  C = c (1 + gamma + ... + gamma^(L-1)) = c (1 - gamma^L) / (1 - gamma)

so ``C = J (1 - gamma^L) / ((1 - gamma) L)``.  This is the convention of SafeDreamer and of
OmniSafe's off-policy agents.  It is exact for evenly spread cost only: cost late in an episode is
discounted more than assumed, so that the same ``C`` then stands for a larger ``J``.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor

Cost = TypeVar("Cost", float, Tensor)


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


def reachability_return(
    unsafe: Tensor, alive: Tensor, value: Tensor, gamma: float, lambda_: float
) -> Tensor:
    """Lambda-returns for the chance that a trajectory is ever unsafe, this state included.

    ``R_j = u_j + (1 - u_j) * gamma * alive_j * ((1 - lambda) * V_{j+1} + lambda * R_{j+1})``,
    ``R_H = V_H``.  Where ``u`` is 0 or 1 this is ``max(u_j, gamma * R_{j+1})``, the reachability
    estimation function of RESPO (Ganai et al. 2023, arXiv 2309.13528), whose fixed point is the
    mean of ``gamma^k``, ``k`` the steps to the first unsafe state.  The sum also
    holds of a predicted chance ``u``, whose maximum with what follows would not be a mean.

    Args:
        unsafe: ``(N, H)``, chance ``u`` that state ``j`` is unsafe.
        alive: ``(N, H)``, chance that state ``j`` is not terminal.
        value: ``(N, H + 1)``, the estimate ``V`` of every state.

    Returns:
        ``(N, H)``, in [0, 1] if all arguments are.
    """
    last = value[..., -1]
    returns = []
    for j in reversed(range(unsafe.shape[-1])):
        ahead = (1 - lambda_) * value[..., j + 1] + lambda_ * last
        last = unsafe[..., j] + (1 - unsafe[..., j]) * gamma * alive[..., j] * ahead
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


def retrace_return(
    signal: Tensor, discount: Tensor, value: Tensor, q: Tensor, trace: Tensor
) -> Tensor:
    """Retrace targets (Munos et al. 2016, arXiv 1606.02647, equation 4) for ``Q(o_t, a_t)``.

    ``G_t = x_{t+1} + d_{t+1} (V_{t+1} + c_{t+1} (G_{t+1} - Q_{t+1}))``: as long as the record does
    what the policy would do (``c`` near lambda), later rewards and crashes count as they happened;
    where they part, the critic takes over.  The last column bootstraps from ``V`` alone.

    All arguments are ``(B, M)``; column ``t`` belongs to the observation that step ``t`` leads to.

    Args:
        signal: reward or cost received there.
        discount: gamma, or 0 where the episode terminated.
        value: ``V`` there, under the policy.
        q: ``Q`` of the action recorded there.
        trace: ``lambda min(1, pi / pi_b)`` of that action; 0 where the episode's record ends.

    Returns:
        ``(B, M)``.
    """
    correction = torch.zeros_like(signal[:, 0])  # c (G - Q) of the next column
    returns: list[Tensor] = []
    for t in reversed(range(signal.shape[1])):
        if returns:
            correction = trace[:, t] * (returns[-1] - q[:, t])
        returns.append(signal[:, t] + discount[:, t] * (value[:, t] + correction))
    return torch.stack(returns[::-1], 1)


def discounted_per_episode(gamma: float, episode_steps: float) -> float:
    """Discounted cost return per unit of episode cost, ``C / J`` in (0, 1].

    Args:
        gamma: discount per step, in (0, 1]; 1 means no discounting.
        episode_steps: mean length ``L`` of an episode [steps], at least 1.

    Raises:
        ValueError: outside these ranges.
    """
    if not 0.0 < gamma <= 1.0:
        raise ValueError(f"gamma must lie in (0, 1], got {gamma}")
    if not episode_steps >= 1.0:
        raise ValueError(f"episode_steps must be at least 1, got {episode_steps}")
    if gamma == 1.0:
        return 1.0
    return (1.0 - gamma**episode_steps) / ((1.0 - gamma) * episode_steps)


def discounted_limit(
    cost_limit: float | Tensor, gamma: float, episode_steps: float
) -> float | Tensor:
    """Limit on the discounted cost return that stands for ``cost_limit`` per episode."""
    return cost_limit * discounted_per_episode(gamma, episode_steps)


def episode_cost(discounted: Cost, gamma: float, episode_steps: float) -> Cost:
    """Episode cost that a discounted cost return stands for; inverse of the limit's conversion."""
    return discounted / discounted_per_episode(gamma, episode_steps)
