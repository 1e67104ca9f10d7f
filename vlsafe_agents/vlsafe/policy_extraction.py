"""From advantages to an improved policy, as pure functions.

The paper's policy is ``pi*(a|s) = pi_b(a|s) w(s, a) / Z(s)`` (VL-SAFE, arXiv 2505.16377).  It
maximises an objective under a KL penalty towards the behaviour policy ``pi_b``, so it never puts
mass where ``pi_b`` has none.

The last axis ``A`` is either every action of a discrete space, so that ``pi*`` is exact, or the
candidates drawn at a state of a continuous one.  ``log_prior`` is then the log importance weight
``log pi_b - log q`` of each candidate under its proposal ``q``; the mathematics is the same.

Advantages are in units of their own spread (:class:`~vlsafe_agents.vlsafe.critics.Scale`); a
positive cost advantage means costlier than average.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

WEIGHT_LIMIT = 100.0  # exp(beta A) is at most this, as in FISOR (arXiv 2401.10700)


class Candidates(NamedTuple):
    """Actions compared in M states; the last axis ``A`` as described above."""

    log_prior: Tensor  # (M, A) log pi_b, or (M, K) log importance weights; no gradient
    log_policy: Tensor  # same shape, log pi_theta, with gradient
    q_reward: Tensor  # same shape, no gradient
    q_cost: Tensor
    log_proposal: Tensor | None = None  # (M, K) log q of candidates that were drawn

    def drift(self) -> Tensor:
        """``KL(pi_theta || pi_b)`` ``(M,)``; of drawn candidates an estimate by their weights."""
        log_policy = self.log_policy
        if self.log_proposal is not None:
            log_policy = log_policy - self.log_proposal
        log_prior = self.log_prior.log_softmax(-1).clamp_min(-20.0)
        return kl_divergence(log_policy.softmax(-1), log_prior)


def restrict_to_support(log_prior: Tensor, threshold: float) -> Tensor:
    """Log prior ``(..., A)`` without the actions that the behaviour policy hardly ever takes.

    Keeps ``a`` where ``pi_b(a|s) >= threshold * max pi_b(.|s)``, the rule of discrete BCQ
    (Fujimoto et al. 2019, arXiv 1910.01708), and renormalises.  0 keeps everything.

    Raises:
        ValueError: unless ``threshold`` lies in [0, 1]; 1 leaves the most likely action.
    """
    if not 0.0 <= threshold <= 1.0:
        raise ValueError(f"support_threshold must lie in [0, 1], got {threshold}")
    log_prior = log_prior.log_softmax(-1)
    if threshold == 0.0:
        return log_prior
    rare = log_prior < log_prior.amax(-1, keepdim=True) + math.log(threshold) - 1e-6
    return log_prior.masked_fill(rare, -torch.inf).log_softmax(-1)


def behaviour_advantage(q: Tensor, log_prior: Tensor) -> Tensor:
    """``Q(s, a) - E_{a ~ prior} Q(s, a)``, ``(..., A)``."""
    return q - (log_prior.softmax(-1) * q).sum(-1, keepdim=True)


def _log_mean_weight(log_weight: Tensor, log_prior: Tensor) -> Tensor:
    """``log E_{a ~ prior} w(s, a)``, ``(..., 1)``."""
    return (log_prior.log_softmax(-1) + log_weight).logsumexp(-1, keepdim=True)


def gated_log_weight(
    adv_reward: Tensor,
    adv_cost: Tensor,
    safety: Tensor,
    beta_reward: float,
    beta_cost: float,
    log_prior: Tensor | None = None,
    feasible: Tensor | None = None,
    limit: float | None = WEIGHT_LIMIT,
) -> Tensor:
    """Log of the paper's weight ``w = p exp(beta_r A_r) + (1 - p) exp(-beta_c A_c)``.

    Args:
        adv_reward: ``(..., A)``.
        adv_cost: ``(..., A)``, positive = costlier.
        safety: gate ``p`` in [0, 1], ``(...)`` without the action axis; 1 = safe.
        log_prior: with it each exponential is first divided by its mean under the prior, so that
            ``pi* = p pi_r + (1 - p) pi_c`` with two proper policies ``pi_r``, ``pi_c`` and the gate
            alone decides their shares.  This equals the paper's weight with soft (log-mean-exp)
            baselines in the advantages; without it a large ``exp(beta_r A_r)`` drowns the cost even
            at small ``p``, and the reverse.  None gives the weight as printed.
        feasible: bool ``(..., A)``; the first term counts for feasible actions only, and a state
            without any has ``p = 0``.  FISOR (arXiv 2401.10700) and its successor FOSP multiply
            their reward term by such an indicator; VL-SAFE's printed weight has none, and then a
            share ``p`` of the policy takes the most rewarding action however dangerous it is.
        limit: as of :func:`exponential_log_weight`, of both exponentials.

    Returns:
        ``(..., A)``.
    """
    by_reward = exponential_log_weight(adv_reward, beta_reward, limit)
    by_cost = exponential_log_weight(adv_cost, -beta_cost, limit)
    p = safety.unsqueeze(-1)  # (..., 1)
    if feasible is not None:
        supported = feasible if log_prior is None else feasible & log_prior.isfinite()
        some = supported.any(-1, keepdim=True)  # (..., 1)
        by_reward = by_reward.masked_fill(some & ~feasible, -torch.inf)
        p = p * some
    if log_prior is not None:
        by_reward = by_reward - _log_mean_weight(by_reward, log_prior)
        by_cost = by_cost - _log_mean_weight(by_cost, log_prior)
    return torch.logaddexp(p.log() + by_reward, torch.log1p(-p) + by_cost)


def feasible_actions(
    q_cost: Tensor, cost_limit: float | Tensor, least_cost: Tensor | float = -math.inf
) -> Tensor:
    """Which actions may be taken for their reward, bool ``(..., A)``.

    ``Q_c(s, a) <= max(cost_limit, least_cost)``.  FISOR (arXiv 2401.10700, equation 3) and RESPO
    (arXiv 2309.13528) call a state feasible if some policy keeps the constraint from there on, and
    seek reward in such states only.  Whether one does is known up to the critic's errors alone: a
    critic of rare crashes expects some cost in the calmest state, whatever is done, and of a limit
    below that *no* action is feasible anywhere, which says nothing of danger.  So the limit gives
    way to what the critic expects of the best actions in ordinary states.

    Args:
        cost_limit: on the discounted cost-to-go; a number, or ``(..., 1)``.
        least_cost: of the least costly actions in recorded states
            (:class:`~vlsafe_agents.vlsafe.critics.LeastCost`).
    """
    return q_cost <= torch.as_tensor(least_cost, device=q_cost.device).clamp_min(cost_limit)


def lagrangian_advantage(
    adv_reward: Tensor, adv_cost: Tensor, multiplier: float | Tensor
) -> Tensor:
    """``(A_r - lambda A_c) / (1 + lambda)``, ``(..., A)``, both advantages in raw units.

    ``lambda`` is a price [reward / cost], so the two must not be normalised apart; the division
    (Ray et al. 2019, Safety Gym) keeps the size of the sum as ``lambda`` grows.

    Args:
        multiplier: a number, or ``(..., 1)``.
    """
    return (adv_reward - multiplier * adv_cost) / (1.0 + multiplier)


def exponential_log_weight(
    advantage: Tensor, beta: float, limit: float | None = WEIGHT_LIMIT
) -> Tensor:
    """``log min(exp(beta A), limit)``, ``(..., A)``: one objective, as in AWR and MPO.

    Args:
        limit: holds the improved policy to the prior: actions of that weight and more count alike,
            so that of a ``Box`` no better part of them is preferred, however large ``beta`` is.
            None: no limit.
    """
    log_weight = beta * advantage
    return log_weight if limit is None else log_weight.clamp_max(math.log(limit))


def improved_policy(log_prior: Tensor, log_weight: Tensor) -> Tensor:
    """Probabilities ``(..., A)`` of ``pi* = prior * w / Z``; over candidates: their weights."""
    return (log_prior + log_weight).softmax(-1)


def lookahead_gate(safety: Tensor, cont: Tensor, steps: int) -> Tensor:
    """The lowest ``p`` within the next ``steps`` states of imagined trajectories.

    Departure from the paper, whose gate is ``p`` of the state itself (``steps=0``): on data where
    almost every frame looks safe, that gate notices the danger when no action helps any more.

    Args:
        safety: ``(N, H + 1)`` predicted ``p`` of every state.
        cont: ``(N, H)`` probability that state ``j + 1`` is not terminal.  What lies behind a
            probable end counts in proportion to the chance of getting there; the end itself counts.

    Returns:
        ``(N, H)``, the gate of states ``0 .. H - 1``; the last ones see fewer states ahead.

    Raises:
        ValueError: if ``steps`` is negative.
    """
    if steps < 0:
        raise ValueError(f"gate_lookahead must be >= 0, got {steps}")
    danger = 1.0 - safety  # (N, H + 1)
    alive = torch.cat([torch.ones_like(cont[..., :1]), cont], -1)  # (N, H + 1): state not terminal
    ahead = danger
    for _ in range(steps - 1):
        beyond = torch.cat([ahead[..., 1:], torch.zeros_like(ahead[..., :1])], -1)
        ahead = torch.maximum(danger, alive * beyond)  # (N, H + 1)
    now = danger[..., :-1]  # (N, H)
    return 1.0 - (torch.maximum(now, ahead[..., 1:]) if steps else now)


def kl_divergence(probs: Tensor, log_probs: Tensor) -> Tensor:
    """``KL(probs || exp(log_probs))`` over the last axis, ``(...)``; 0 log 0 counts as 0."""
    return (probs * (probs.clamp_min(1e-30).log() - log_probs)).sum(-1)


def entropy(probs: Tensor) -> Tensor:
    """Entropy [nat] over the last axis, ``(...)``."""
    return -(probs * probs.clamp_min(1e-30).log()).sum(-1)
