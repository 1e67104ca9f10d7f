"""Policies over latent features, for discrete and for continuous action spaces.

Both share one interface on action vectors: one-hot ``(N, A)`` for ``Discrete`` spaces, the action
itself in the space's own units for ``Box`` spaces.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor, nn

from vlsafe_agents.common.distributions import unimix_probs
from vlsafe_agents.vlsafe.networks import MLP

UNIMIX = 0.01  # share of the uniform distribution, as in DreamerV3: no action gets probability 0
STD_RANGE = (0.05, 1.0)  # of a Gaussian policy, in units of half the action range


class CategoricalHead(nn.Module):
    """Policy over the actions of a ``Discrete`` space."""

    def __init__(self, feat_size: int, units: int, layers: int, action_size: int) -> None:
        super().__init__()
        self.net = MLP(feat_size, units, layers, action_size, zero_output=True)

    def log_probs(self, feat: Tensor) -> Tensor:
        """``(..., F)`` to log-probabilities ``(..., A)`` of every action."""
        return unimix_probs(self.net(feat), UNIMIX).log()

    def log_prob(self, feat: Tensor, action: Tensor) -> Tensor:
        """Log-probability ``(...)`` of one-hot actions ``(..., A)``."""
        return (self.log_probs(feat) * action).sum(-1)

    def sample(self, feat: Tensor) -> Tensor:
        """One-hot action ``(..., A)``."""
        return one_hot_sample(self.log_probs(feat))

    def mode(self, feat: Tensor) -> Tensor:
        """The most likely action, one-hot ``(..., A)``."""
        log_probs = self.log_probs(feat)
        return _one_hot(log_probs.argmax(-1, keepdim=True), log_probs)

    def entropy(self, feat: Tensor) -> Tensor:
        """Entropy ``(...)`` [nat]."""
        log_probs = self.log_probs(feat)
        return -(log_probs.exp() * log_probs).sum(-1)


class GaussianHead(nn.Module):
    """Diagonal Gaussian over a ``Box``; samples are clipped to its bounds.

    Not squashed: recorded actions often lie exactly on a bound, where a tanh-Gaussian's density
    is not finite.
    """

    low: Tensor
    radius: Tensor

    def __init__(self, feat_size: int, units: int, layers: int, space: spaces.Box) -> None:
        super().__init__()
        if not (torch.isfinite(torch.as_tensor(space.low)).all() and space.is_bounded()):
            raise ValueError(f"a Box action space needs finite bounds; got {space}")
        size = int(space.shape[0])
        self.net = MLP(feat_size, units, layers, 2 * size, zero_output=True)
        low, high = torch.as_tensor(space.low).float(), torch.as_tensor(space.high).float()
        self.register_buffer("low", low, persistent=False)
        self.register_buffer("radius", (high - low) / 2, persistent=False)

    def moments(self, feat: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation ``(..., A)``, in units where the bounds are -1 and 1."""
        mean, raw = self.net(feat).chunk(2, -1)
        low, high = STD_RANGE
        return torch.tanh(mean), low + (high - low) * torch.sigmoid(raw)

    def log_prob(self, feat: Tensor, action: Tensor) -> Tensor:
        """Log-density ``(...)`` of actions ``(..., A)``, in units where the bounds are -1 and 1."""
        mean, std = self.moments(feat)
        x = (action - self.low) / self.radius - 1
        return (-0.5 * ((x - mean) / std) ** 2 - std.log() - 0.5 * math.log(2 * math.pi)).sum(-1)

    def sample(self, feat: Tensor) -> Tensor:
        """Action ``(..., A)`` within the bounds."""
        mean, std = self.moments(feat)
        return self._to_space(mean + std * torch.randn_like(mean))

    def mode(self, feat: Tensor) -> Tensor:
        """The mean action ``(..., A)``."""
        return self._to_space(self.moments(feat)[0])

    def entropy(self, feat: Tensor) -> Tensor:
        """Differential entropy ``(...)`` before clipping [nat]."""
        _, std = self.moments(feat)
        return (std.log() + 0.5 * math.log(2 * math.pi * math.e)).sum(-1)

    def _to_space(self, x: Tensor) -> Tensor:
        return self.low + (x.clamp(-1, 1) + 1) * self.radius


PolicyHead = CategoricalHead | GaussianHead


def make_policy_head(
    feat_size: int, units: int, layers: int, action_space: spaces.Space[Any]
) -> PolicyHead:
    """The head that fits the space.

    Raises:
        ValueError: for spaces other than ``Discrete`` and bounded one-axis ``Box``.
    """
    if isinstance(action_space, spaces.Discrete):
        return CategoricalHead(feat_size, units, layers, int(action_space.n))
    if isinstance(action_space, spaces.Box) and len(action_space.shape) == 1:
        return GaussianHead(feat_size, units, layers, action_space)
    raise ValueError(f"action space must be Discrete or a Box with one axis; got {action_space}")


def one_hot_sample(log_probs: Tensor) -> Tensor:
    """One-hot categorical sample ``(..., A)``; entries of -inf are never drawn."""
    noise = torch.empty_like(log_probs).exponential_()  # argmax(p / noise) is a sample of p
    return _one_hot((log_probs.exp() / noise).argmax(-1, keepdim=True), log_probs)


def _one_hot(index: Tensor, like: Tensor) -> Tensor:
    return torch.zeros_like(like).scatter_(-1, index, 1.0)
