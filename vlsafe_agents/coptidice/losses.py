"""COptiDICE's terms as pure functions (Lee et al. 2022, arXiv 2204.08957)."""

from __future__ import annotations

import math

import torch as th


def soft_chi(ratio: th.Tensor) -> th.Tensor:
    """The convex f of the divergence, of ratios w >= 0 (their appendix; soft chi-square).

    w log w - w + 1 below 1, (w - 1)^2 / 2 from there on: 0 at w = 1, and finite at 0.
    """
    below = th.xlogy(ratio, ratio) - ratio + 1.0
    return th.where(ratio < 1.0, below, 0.5 * (ratio - 1.0).square())


def best_ratio(advantage: th.Tensor, alpha: float) -> th.Tensor:
    """W = (f')^-1(e / alpha) of advantages e (proposition 1 for `soft_chi`); above 0."""
    slope = advantage / alpha
    return th.where(slope < 0.0, slope.clamp(max=0.0).exp(), slope + 1.0)


def advantages(
    signal: th.Tensor, value: th.Tensor, next_value: th.Tensor, ahead: th.Tensor
) -> th.Tensor:
    """Signal + ahead * next value - value, of tensors (B,).

    Args:
        ahead: gamma, and 0 where the episode terminated
    """
    return signal + ahead * next_value - value


def dual_loss(
    start_value: th.Tensor, share: float, advantage: th.Tensor, ratio: th.Tensor, alpha: float
) -> th.Tensor:
    """What nu descends (their equation 8 for a fixed multiplier), a scalar.

    Args:
        start_value: nu of first states (B,)
        share: weight of a first state beside a step
        advantage: e of recorded steps (B,)
        ratio: their w (B,); its gradient is none, by the envelope theorem
    """
    gain = ratio * advantage - alpha * soft_chi(ratio)
    return share * start_value.mean() + gain.mean()


def tilted(terms: th.Tensor, temperature: float) -> tuple[th.Tensor, th.Tensor]:
    """Weights (B,) with mean 1, proportional to exp(terms / temperature), and their divergence.

    The worst resampling of a batch (their section 3.3): the mean of w log w, a scalar.
    """
    log_weights = th.log_softmax(terms / temperature, 0) + math.log(len(terms))
    weights = log_weights.exp()
    return weights, (weights * log_weights).mean()
