"""Action-value critics, one for reward and one for cost, with slow copies that make targets.

``Q(s, a) = B(s) + A(s, a)``: a two-hot baseline of the state, shared by all actions, and what an
action adds to it.  The split (Wang et al. 2016, dueling networks, arXiv 1511.06581) matters for
recorded drives: nine decisions in ten are the same action, and with separate outputs the values of
the rare ones lag behind while the critic grows from zero, which looks like a disadvantage.

Where actions can be counted, the value under a policy is not learned apart: ``V(s) = E_{a ~ pi}
Q(s, a)`` is a sum.  Of a ``Box``, ``B(s)`` is that value, and ``A(s, a)`` is the policy's own
advantage, with a mean of 0 over it: ``A = f(s, a) - E_{a' ~ pi} f(s, a')``, by samples of the
policy.  Without that mean ``f`` takes up what the baseline has not learned yet, which is many times
as large as what an action adds: on Pendulum it hardly told actions apart.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from vlsafe_agents.common.devices import averaged, gathered
from vlsafe_agents.common.distributions import symexp_bins, twohot_loss, twohot_mean
from vlsafe_agents.vlsafe.batch import masked_mean
from vlsafe_agents.vlsafe.networks import MLP


class Critic(nn.Module):
    """``Q(s, a)``, and a slow copy that makes its targets.

    Args:
        per_action: one output per action, where they can be counted, instead of actions as input.
        bins: number of two-hot bins (odd), spread by symexp up to ``bin_limit`` symlog units.
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
        in_size, out_size = (feat_size, action_size) if per_action else (feat_size + action_size, 1)
        self.net = nn.ModuleDict(
            {
                "baseline": MLP(feat_size, units, layers, bins, zero_output=True),
                "advantage": MLP(in_size, units, layers, out_size, zero_output=True),
            }
        )
        self.slow_net = copy.deepcopy(self.net).requires_grad_(False)
        self.register_buffer("bins", symexp_bins(bins, bin_limit), persistent=False)

    def loss(
        self, feat: Tensor, action: Tensor, target: Tensor, others: Tensor | None = None
    ) -> Tensor:
        """Two-hot loss of the baseline plus squared error of the advantage, ``(...)``.

        The advantage is fitted to what the baseline leaves of the target, at no gradient to it.
        Of a ``Box`` the baseline is fitted to what the advantage leaves: whatever was done, it is
        the policy's value.

        Args:
            action: vectors ``(..., A)``.
            target: ``(...)``.
            others: actions of a ``Box`` that the policy might have taken, ``(R, ..., A)``; None
                where actions can be counted.
        """
        logits = self.net["baseline"](feat)  # (..., K)
        rest = target - twohot_mean(logits.detach(), self.bins)
        if others is None:
            advantage = (self.net["advantage"](feat) * action).sum(-1)
            return twohot_loss(logits, target, self.bins) + 0.5 * (advantage - rest).square()
        effect = _effect(self.net, feat, torch.cat([action.unsqueeze(0), others]))  # (1 + R, ...)
        advantage = effect[0] - effect[1:].mean(0)
        left = target - advantage.detach()
        return twohot_loss(logits, left, self.bins) + 0.5 * (advantage - rest).square()

    @torch.no_grad()
    def slow_all(self, feat: Tensor) -> Tensor:
        """Slow ``Q`` of every discrete action, ``(..., A)``."""
        return self.slow_baseline(feat)[..., None] + self.slow_net["advantage"](feat)

    @torch.no_grad()
    def slow_baseline(self, feat: Tensor) -> Tensor:
        """Slow ``B(s)`` ``(...)``, of a ``Box`` the policy's value."""
        return twohot_mean(self.slow_net["baseline"](feat), self.bins)

    @torch.no_grad()
    def slow_effect(self, feat: Tensor, actions: Tensor) -> Tensor:
        """Slow ``f(s, a)`` ``(R, ...)`` of actions ``(R, ..., A)`` of a ``Box``.

        Only differences between actions of one state mean something.
        """
        return _effect(self.slow_net, feat, actions)

    @torch.no_grad()
    def follow(self, rate: float) -> None:
        """Move the slow copy a share ``rate`` of the way to the critic."""
        slow = [p.data for p in self.slow_net.parameters()]
        torch._foreach_lerp_(slow, [p.data for p in self.net.parameters()], rate)


def _effect(net: nn.ModuleDict, feat: Tensor, actions: Tensor) -> Tensor:
    """``f(s, a)`` ``(R, ...)`` for states ``(..., F)`` and R actions in each, ``(R, ..., A)``."""
    states = feat.expand(len(actions), *feat.shape)
    effect: Tensor = net["advantage"](torch.cat([states, actions], -1)).squeeze(-1)
    return effect


class Scale(nn.Module):
    """Running root mean square of advantages, to make temperatures independent of units.

    Departure from DreamerV3, which divides by the 5-95 percentile range of the *returns*: that
    range is mostly the spread between states, next to which the differences between the actions
    of one state, all that a policy chooses between, vanish.

    Args:
        decay: of the moving average of squares; bias-corrected.
        floor: smallest scale, so that noise is not blown up where no action matters.
    """

    square: Tensor
    weight: Tensor

    def __init__(self, decay: float = 0.99, floor: float = 1e-2) -> None:
        super().__init__()
        self.decay, self.floor = decay, floor
        self.register_buffer("square", torch.zeros(()))
        self.register_buffer("weight", torch.zeros(()))

    @torch.no_grad()
    def update(self, advantage: Tensor, probs: Tensor, weight: Tensor) -> None:
        """Take in advantages ``(..., A)`` under probabilities ``(..., A)``.

        Args:
            weight: of each state, ``(...)``, in the loss that the advantages are for.
        """
        square = averaged(masked_mean((probs * advantage.square()).sum(-1), weight))
        self.square.lerp_(square, 1 - self.decay)
        self.weight.lerp_(torch.ones_like(self.weight), 1 - self.decay)

    @property
    def value(self) -> Tensor:
        """Current scale, a scalar tensor; 1 before the first update."""
        if self.weight == 0:
            return torch.ones_like(self.square)
        return (self.square / self.weight).sqrt().clamp_min(self.floor)


class LeastCost(nn.Module):
    """Running quantile of the least ``Q_c`` that a supported action has, over recorded states.

    It says what the cost critic expects of the best that can be done, of each state anew: the
    analogue of FISOR's optimal feasible value ``V_h(s) = min_a Q_h(s, a)``, the minimum over the
    data's support (Zheng et al. 2024, arXiv 2401.10700, section 3.2), for a discounted sum of costs
    instead of a worst violation.

    Args:
        quantile: in [0, 1].
        decay: of the moving average of the batches' quantiles; bias-corrected.
    """

    total: Tensor
    weight: Tensor

    def __init__(self, quantile: float, decay: float = 0.99) -> None:
        super().__init__()
        self.quantile, self.decay = quantile, decay
        self.register_buffer("total", torch.zeros(()))
        self.register_buffer("weight", torch.zeros(()))

    @torch.no_grad()
    def update(self, q_cost: Tensor, log_prior: Tensor, rows: Tensor) -> None:
        """Take in a batch of states.

        Args:
            q_cost: ``(..., A)``.
            log_prior: same shape; -inf where an action is out of the support.
            rows: how many rows of the data each state stands for, ``(...)``; 0 leaves it out.
        """
        rows = gathered(rows)
        if not (rows > 0).any():
            return
        least = q_cost.masked_fill(~log_prior.isfinite(), torch.inf).amin(-1)
        found = weighted_quantile(gathered(least), rows, self.quantile)
        self.total.lerp_(found, 1 - self.decay)
        self.weight.lerp_(torch.ones_like(self.weight), 1 - self.decay)

    @property
    def value(self) -> Tensor:
        """Current quantile, a scalar tensor; 0 before the first update."""
        return self.total / self.weight.clamp_min(1e-12)

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        added = [prefix + name for name in ("total", "weight")]
        if not state.keys() & set(added):  # agents saved up to November 2026 have neither
            state |= dict.fromkeys(added, torch.zeros(()))
        super()._load_from_state_dict(state, prefix, *rest)


def weighted_quantile(x: Tensor, weight: Tensor, quantile: float) -> Tensor:
    """Smallest entry of ``x`` below or at which a share ``quantile`` of the weight lies, a scalar.

    Args:
        x: ``(...)``.
        weight: same shape, >= 0; entries of weight 0 do not count.
        quantile: in [0, 1]; 0 gives the minimum, 1 the maximum.

    Raises:
        ValueError: for shapes that differ, or if all weights are 0.
    """
    if x.shape != weight.shape or not (weight > 0).any():
        raise ValueError(
            "weighted_quantile needs values and weights of one shape, some positive; got "
            f"{tuple(x.shape)} and {tuple(weight.shape)}"
        )
    x, weight = x[weight > 0], weight[weight > 0]
    order = x.argsort()
    share = weight[order].double().cumsum(0)
    index = torch.searchsorted(share, quantile * share[-1] * (1 - 1e-9))
    return x[order[index.clamp_max(len(x) - 1)]]
