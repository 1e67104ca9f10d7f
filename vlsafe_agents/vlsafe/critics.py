"""Action-value critics with two-hot outputs and slow copies, one for reward and one for cost.

There is no separate state-value network: ``V(s) = E_{a ~ pi} Q(s, a)`` is a sum over the actions
of a discrete space, and an average over a few sampled actions of a continuous one.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from vlsafe_agents.common.distributions import symexp_bins, twohot_loss, twohot_mean
from vlsafe_agents.vlsafe.networks import MLP
from vlsafe_agents.vlsafe.policy_heads import CategoricalHead, PolicyHead


class Critic(nn.Module):
    """``Q(s, a)``, and a slow copy that makes its targets.

    :param per_action: one output per action (discrete spaces) instead of actions as input.
    :param bins: number of two-hot bins (odd), spread by symexp up to ``bin_limit`` symlog units.
    """

    bins: Tensor

    def __init__(
        self,
        feat_size: int,
        action_size: int,
        units: int,
        layers: int,
        per_action: bool,
        bins: int,
        bin_limit: float,
    ) -> None:
        super().__init__()
        self.per_action = per_action
        self.action_size = action_size
        in_size = feat_size if per_action else feat_size + action_size
        out_size = bins * action_size if per_action else bins
        self.net = MLP(in_size, units, layers, out_size, zero_output=True)
        self.slow_net = copy.deepcopy(self.net).requires_grad_(False)
        self.register_buffer("bins", symexp_bins(bins, bin_limit), persistent=False)

    def loss(self, feat: Tensor, action: Tensor, target: Tensor) -> Tensor:
        """Two-hot cross-entropy ``(...)`` of ``Q(feat, action)`` against ``target`` ``(...)``.

        :param action: vectors ``(..., A)``.
        """
        if self.per_action:
            logits = self.net(feat).unflatten(-1, (self.action_size, -1))  # (..., A, K)
            index = action.argmax(-1)[..., None, None].expand(
                *action.shape[:-1], 1, logits.shape[-1]
            )
            logits = logits.gather(-2, index).squeeze(-2)  # (..., K)
        else:
            logits = self.net(torch.cat([feat, action], -1))  # (..., K)
        return twohot_loss(logits, target, self.bins)

    @torch.no_grad()
    def slow_all(self, feat: Tensor) -> Tensor:
        """Slow ``Q`` of every discrete action, ``(..., A)``."""
        logits = self.slow_net(feat).unflatten(-1, (self.action_size, -1))  # (..., A, K)
        return twohot_mean(logits, self.bins)

    @torch.no_grad()
    def slow(self, feat: Tensor, action: Tensor) -> Tensor:
        """Slow ``Q`` ``(...)`` of continuous actions ``(..., A)``."""
        return twohot_mean(self.slow_net(torch.cat([feat, action], -1)), self.bins)

    @torch.no_grad()
    def slow_value(self, feat: Tensor, policy: PolicyHead, samples: int = 2) -> Tensor:
        """``V(s) = E_{a ~ policy} Q_slow(s, a)``, ``(...)``; exact for discrete actions."""
        if isinstance(policy, CategoricalHead):
            return (policy.log_probs(feat).exp() * self.slow_all(feat)).sum(-1)
        draws = [self.slow(feat, policy.sample(feat)) for _ in range(samples)]
        return torch.stack(draws).mean(0)

    @torch.no_grad()
    def follow(self, rate: float) -> None:
        """Move the slow copy a share ``rate`` of the way to the critic."""
        slow = [p.data for p in self.slow_net.parameters()]
        torch._foreach_lerp_(slow, [p.data for p in self.net.parameters()], rate)


class Scale(nn.Module):
    """Running root mean square of advantages, to make temperatures independent of units.

    Departure from DreamerV3, which divides by the 5-95 percentile range of the *returns*: that
    range is mostly the spread between states, next to which the differences between the actions
    of one state, all that a policy chooses between, vanish.

    :param decay: of the moving average of squares; bias-corrected.
    :param floor: smallest scale, so that noise is not blown up where no action matters.
    """

    square: Tensor
    weight: Tensor

    def __init__(self, decay: float = 0.99, floor: float = 1e-2) -> None:
        super().__init__()
        self.decay, self.floor = decay, floor
        self.register_buffer("square", torch.zeros(()))
        self.register_buffer("weight", torch.zeros(()))

    @torch.no_grad()
    def update(self, advantage: Tensor, probs: Tensor) -> Tensor:
        """Take in advantages ``(..., A)`` under probabilities ``(..., A)``; return the scale."""
        self.square.lerp_((probs * advantage.square()).sum(-1).mean(), 1 - self.decay)
        self.weight.lerp_(torch.ones_like(self.weight), 1 - self.decay)
        return self.value

    @property
    def value(self) -> Tensor:
        """Current scale, a scalar tensor; 1 before the first update."""
        if self.weight == 0:
            return torch.ones_like(self.square)
        return (self.square / self.weight).sqrt().clamp_min(self.floor)
