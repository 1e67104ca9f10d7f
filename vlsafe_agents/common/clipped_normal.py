"""A normal variable clipped to [-1, 1], as pure functions of its mean and standard deviation.

Also called a censored normal (Tobin 1958).  It is what a driver's noise or a policy's sample is
after the bounds of a ``Box`` have cut it, so that actions exactly on a bound, which a density gives
a chance of 0, have the mass of the whole tail.  Log-probabilities are with respect to the length of
the open interval plus a unit weight on each bound: they may be positive inside, never on a bound,
and their differences are log importance ratios everywhere.

All shapes broadcast; nothing is summed over axes of an action.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from vlsafe_agents.common.devices import drawn

EDGE = 1e-6  # distance to a bound [half ranges] that rounding makes of nothing
_LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)
# A single most likely point would have no mass: the narrowest support is 0.14 standard deviations
# to each side.
_LARGEST_THRESHOLD = 0.99


def clipped_normal_log_prob(x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Log-density of ``x`` inside (-1, 1), log-mass of the tail on a bound."""
    inside = -0.5 * ((x - mean) / std) ** 2 - std.log() - _LOG_SQRT_2PI
    below = torch.special.log_ndtr((-1.0 - mean) / std)
    above = torch.special.log_ndtr((mean - 1.0) / std)
    return torch.where(x >= 1.0 - EDGE, above, torch.where(x <= EDGE - 1.0, below, inside))


def clipped_normal_entropy(mean: Tensor, std: Tensor) -> Tensor:
    """Minus the mean log-probability [nat], in closed form."""
    low, high = (-1.0 - mean) / std, (1.0 - mean) / std
    below, above = torch.special.log_ndtr(low), torch.special.log_ndtr(-high)
    inside = torch.special.ndtr(high) - torch.special.ndtr(low)
    squares = inside + low * _density(low) - high * _density(high)  # integral of z^2 within
    inner = inside * (std.log() + _LOG_SQRT_2PI) + 0.5 * squares
    return inner - below.exp() * below - above.exp() * above


def clipped_normal_support(mean: Tensor, std: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Where the normal density is at least ``threshold`` of its largest value in [-1, 1].

    The rule of discrete BCQ (:func:`~vlsafe_agents.vlsafe.policy_extraction.restrict_to_support`)
    for densities.  A bound, whose mass is a chance and no density, belongs to it where the density
    beside it does.  0 keeps all; from 0.99 on the interval narrows no further.

    Returns:
        Lower and upper end.

    Raises:
        ValueError: unless ``threshold`` lies in [0, 1].
    """
    if not 0.0 <= threshold <= 1.0:
        raise ValueError(f"support_threshold must lie in [0, 1], got {threshold}")
    if threshold == 0.0:
        return -torch.ones_like(mean), torch.ones_like(mean)
    mode = (mean.clamp(-1.0, 1.0) - mean) / std
    reach = std * (mode**2 - 2.0 * math.log(min(threshold, _LARGEST_THRESHOLD))).sqrt()
    return (mean - reach).clamp_min(-1.0), (mean + reach).clamp_max(1.0)


def clipped_normal_log_mass(low: Tensor, high: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Log of the chance of [low, high]; an end on a bound includes the bound's mass."""
    below, above = _cumulative(low, high, mean, std)
    return (above - below).clamp_min(1e-30).log()


def clipped_normal_sample(mean: Tensor, std: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """A sample, given that it lies in [low, high]; an end on a bound includes the bound's mass."""
    below, above = _cumulative(low, high, mean, std)
    quantile = below + (above - below) * drawn(partial(torch.rand, device=mean.device), mean.shape)
    x = mean + std * torch.special.ndtri(quantile)
    return torch.minimum(torch.maximum(x, low), high)


def _cumulative(low: Tensor, high: Tensor, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    """Chances of less than ``low`` and of at most ``high``."""
    below = torch.where(low <= EDGE - 1.0, 0.0, torch.special.ndtr((low - mean) / std))
    above = torch.where(high >= 1.0 - EDGE, 1.0, torch.special.ndtr((high - mean) / std))
    return below, above


def _density(z: Tensor) -> Tensor:
    return (-0.5 * z**2 - _LOG_SQRT_2PI).exp()
