"""The one place where discounted cost returns and episode costs are converted.

Users state ``cost_limit`` as a sum over an episode (as Safety Gymnasium and PPO-Lagrangian do);
critics estimate discounted sums.  With a constant cost ``c`` per step and episodes of ``L`` steps,

    episode cost     J = c L
    discounted cost  C = c (1 + gamma + ... + gamma^(L-1)) = c (1 - gamma^L) / (1 - gamma)

so ``C = J (1 - gamma^L) / ((1 - gamma) L)``.  This is the convention of SafeDreamer and of
OmniSafe's off-policy agents.  It is exact for evenly spread cost only: cost late in an episode is
discounted more than assumed, so that the same ``C`` then stands for a larger ``J``.
"""

from __future__ import annotations


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


def discounted_limit(cost_limit: float, gamma: float, episode_steps: float) -> float:
    """Limit on the discounted cost return that stands for ``cost_limit`` per episode."""
    return cost_limit * discounted_per_episode(gamma, episode_steps)


def episode_cost(discounted: float, gamma: float, episode_steps: float) -> float:
    """Episode cost that a discounted cost return stands for; inverse of the limit's conversion."""
    return discounted / discounted_per_episode(gamma, episode_steps)
