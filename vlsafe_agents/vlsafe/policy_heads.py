"""Policies over action vectors, and how they compare actions.

All actions are compared where they can be counted, a few samples of a ``Box``.  What an action
vector is, :mod:`~vlsafe_agents.vlsafe.actions` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from vlsafe_agents.common.clipped_normal import (
    EDGE,
    clipped_normal_entropy,
    clipped_normal_log_mass,
    clipped_normal_log_prob,
    clipped_normal_sample,
    clipped_normal_support,
)
from vlsafe_agents.common.devices import drawn, gathered
from vlsafe_agents.common.distributions import unimix_probs
from vlsafe_agents.vlsafe.config import ImprovementConfig
from vlsafe_agents.vlsafe.networks import MLP
from vlsafe_agents.vlsafe.policy_extraction import Candidates, entropy, restrict_to_support

UNIMIX = 0.01  # share of the uniform distribution, as in DreamerV3: no action gets probability 0
STD_RANGE = (0.05, 1.0)  # of a Gaussian policy, in units of half the action range
MEAN_RANGE = 1.5  # in the same units; beyond 1, so that almost all actions can lie on a bound
OTHERS = 2  # actions of a Gaussian policy that a critic compares an action with


class SlowCritic(Protocol):
    """What a policy asks of a critic's slow copy, without gradients."""

    def slow_all(self, feat: Tensor) -> Tensor:
        """``Q`` of every action that can be counted, ``(..., A)``."""
        ...

    def slow_baseline(self, feat: Tensor) -> Tensor:
        """Value ``(...)`` of a policy over a ``Box``."""
        ...

    def slow_effect(self, feat: Tensor, actions: Tensor) -> Tensor:
        """What actions ``(R, ..., A)`` of a ``Box`` add, ``(R, ...)``; differences count."""
        ...


class Evaluation(NamedTuple):
    """Policy and slow critics for every action in N dreams of H steps; computed once."""

    log_policy: Tensor  # (N, H + 1, A), with gradient
    q_reward: Tensor  # (N, H + 1, A), no gradient
    q_cost: Tensor  # (N, H + 1, A), no gradient


# --- policies -------------------------------------------------------------------------------------


class CategoricalHead(nn.Module):
    """Policy over actions that can be counted."""

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

    def explore(self, feat: Tensor, threshold: float) -> Tensor:
        """Any action of the support, all as likely; see :func:`restrict_to_support`."""
        log_probs = restrict_to_support(self.log_probs(feat), threshold)
        return one_hot_sample(torch.where(log_probs.isfinite(), 0.0, -torch.inf))

    def others(self, feat: Tensor) -> None:
        """No samples: critics know every action; see :meth:`GaussianHead.others`."""

    @torch.no_grad()
    def value_and_q(
        self, feat: Tensor, action: Tensor, critic: SlowCritic
    ) -> tuple[Tensor, Tensor]:
        """``V(s)`` and ``Q_slow(s, a)`` of given action vectors, both ``(...)``."""
        every = critic.slow_all(feat)  # (..., A)
        return (self.log_probs(feat).exp() * every).sum(-1), (action * every).sum(-1)

    def evaluate(
        self, feat: Tensor, critics: tuple[SlowCritic, SlowCritic]
    ) -> tuple[list[Tensor], Evaluation | None]:
        """Values of reward and cost ``(N, H + 1)``, and what they were made of."""
        reward, cost = (critic.slow_all(feat) for critic in critics)
        evaluation = Evaluation(self.log_probs(feat), reward, cost)
        probs = evaluation.log_policy.detach().exp()
        return [(probs * q).sum(-1) for q in (reward, cost)], evaluation

    def some_states(self, *per_state: Tensor) -> tuple[Tensor, ...]:
        """The states in which actions are compared, here all: tensors ``(N, H, ...)``."""
        return per_state

    def compare(
        self,
        prior: CategoricalHead,
        feat: Tensor,
        seen: Tensor,
        evaluation: Evaluation | None,
        critics: tuple[SlowCritic, SlowCritic],
        settings: ImprovementConfig,
    ) -> Candidates:
        """Every action in states ``(N, H, F)``; ``seen`` see :meth:`GaussianHead.compare`."""
        assert evaluation is not None
        with torch.no_grad():
            log_prior = restrict_to_support(prior.log_probs(feat), settings.support_threshold)
        return Candidates(log_prior, *(x[:, :-1] for x in evaluation))

    def mean_entropy(self, candidates: Candidates, feat: Tensor) -> Tensor:
        """Mean entropy [nat] in the states of ``candidates``, a scalar."""
        return entropy(candidates.log_policy.exp()).mean()


class GaussianHead(nn.Module):
    """Independent normal variables, one an axis, clipped to [-1, 1].

    Recorded actions often lie exactly on a bound.  A clipped normal has a mass there, where the
    density of a tanh-squashed one is not finite and that of a truncated one grows without limit
    the more of the data lie on the bound
    (:mod:`~vlsafe_agents.common.clipped_normal`).
    """

    def __init__(self, feat_size: int, units: int, layers: int, action_size: int) -> None:
        super().__init__()
        self.net = MLP(feat_size, units, layers, 2 * action_size, zero_output=True)

    def moments(self, feat: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation ``(..., A)`` before clipping."""
        mean, raw = self.net(feat).chunk(2, -1)
        low, high = STD_RANGE
        return MEAN_RANGE * torch.tanh(mean), low + (high - low) * torch.sigmoid(raw)

    def log_prob(self, feat: Tensor, action: Tensor) -> Tensor:
        """Log-probability ``(...)`` of actions ``(..., A)``: densities inside, masses on bounds."""
        return clipped_normal_log_prob(action, *self.moments(feat)).sum(-1)

    def sample(self, feat: Tensor) -> Tensor:
        """Action ``(..., A)`` in [-1, 1]."""
        mean, std = self.moments(feat)
        return (mean + std * drawn(partial(torch.randn, device=mean.device), mean.shape)).clamp(
            -1.0, 1.0
        )

    def mode(self, feat: Tensor) -> Tensor:
        """The mean action ``(..., A)``, clipped."""
        return self.moments(feat)[0].clamp(-1.0, 1.0)

    def explore(self, feat: Tensor, threshold: float) -> Tensor:
        """Any action of the support, all as likely; see :meth:`compare`."""
        low, high = clipped_normal_support(*self.moments(feat), threshold)
        uniform = drawn(partial(torch.rand, device=low.device), low.shape)
        return low + (high - low) * uniform

    def supported(self, feat: Tensor, count: int, threshold: float) -> tuple[Tensor, Tensor]:
        """``count`` samples ``(N, K, A)`` of the support, for states ``(N, F)``, and its log-mass.

        The mass is ``(N, 1)``.
        """
        mean, std = self.moments(feat)
        low, high = clipped_normal_support(mean, std, threshold)
        mass = clipped_normal_log_mass(low, high, mean, std).sum(-1, keepdim=True)
        many = (x.unsqueeze(1).expand(-1, count, -1) for x in (mean, std, low, high))
        return clipped_normal_sample(*many), mass

    def log_prob_supported(self, feat: Tensor, action: Tensor, threshold: float) -> Tensor:
        """:meth:`log_prob` ``(N, K)`` of actions ``(N, K, A)``, -inf outside of the support."""
        mean, std = (x.unsqueeze(1) for x in self.moments(feat))
        low, high = clipped_normal_support(mean, std, threshold)
        inside = ((action >= low - EDGE) & (action <= high + EDGE)).all(-1)
        log_prob = clipped_normal_log_prob(action, mean, std).sum(-1)
        return log_prob.masked_fill(~inside, -torch.inf)

    @torch.no_grad()
    def others(self, feat: Tensor) -> Tensor:
        """Samples ``(R, ..., A)``, for the mean over the policy of what an action adds."""
        return torch.stack([self.sample(feat) for _ in range(OTHERS)])

    @torch.no_grad()
    def value_and_q(
        self, feat: Tensor, action: Tensor, critic: SlowCritic
    ) -> tuple[Tensor, Tensor]:
        """``V(s)`` and ``Q_slow(s, a)`` of given action vectors, both ``(...)``."""
        actions = torch.cat([action.unsqueeze(0), self.others(feat)])
        effect = critic.slow_effect(feat, actions)  # (1 + R, ...)
        value = critic.slow_baseline(feat)
        return value, value + effect[0] - effect[1:].mean(0)

    def evaluate(
        self, feat: Tensor, critics: tuple[SlowCritic, SlowCritic]
    ) -> tuple[list[Tensor], Evaluation | None]:
        """Values of reward and cost ``(N, H + 1)``; there is nothing else to keep."""
        return [critic.slow_baseline(feat) for critic in critics], None

    def some_states(self, *per_state: Tensor) -> tuple[Tensor, ...]:
        """N of the N * H states, at random: ``(N, H, ...) -> (N, ...)``.

        Every state would be K more evaluations of each critic.
        """
        states = [gathered(x).flatten(0, 1) for x in per_state]
        draw = partial(torch.randint, 0, len(states[0]), device=states[0].device)
        chosen = drawn(draw, (len(per_state[0]),))
        return tuple(x[chosen] for x in states)

    def compare(
        self,
        prior: GaussianHead,
        feat: Tensor,
        seen: Tensor,
        evaluation: Evaluation | None,
        critics: tuple[SlowCritic, SlowCritic],
        settings: ImprovementConfig,
    ) -> Candidates:
        """K actions in states ``(N, F)``, half from the prior's support, half from this policy.

        The support holds an action if every axis of it is supported by itself: with many axes,
        nearly all actions of a product of normal variables lie far from its mode, so that a share
        of the joint density at the mode would leave out nearly everything that drivers do.

        Args:
            feat: features of the states ``(N, F)``, which the prior knows.
            seen: what this policy and the critics know of them.
        """
        count, threshold = settings.candidates, settings.support_threshold
        half = (count + 1) // 2
        states = seen.unsqueeze(1).expand(-1, count, -1)  # (N, K, F)
        with torch.no_grad():
            offered, mass = prior.supported(feat, half, threshold)
            action = torch.cat([offered, self.sample(states[:, half:])], 1)  # (N, K, A)
            log_prior = prior.log_prob_supported(feat, action, threshold) - mass  # (N, K)
        log_policy = self.log_prob(states, action)  # (N, K)
        with torch.no_grad():
            both = torch.stack([log_prior, log_policy])
            share = torch.tensor([half / count, 1 - half / count], device=feat.device)
            log_proposal = (both + share.clamp_min(1e-9).log()[:, None, None]).logsumexp(0)
        q_reward, q_cost = (_q_of(critic, seen, action, half) for critic in critics)
        return Candidates(log_prior - log_proposal, log_policy, q_reward, q_cost, log_proposal)

    def mean_entropy(self, candidates: Candidates, feat: Tensor) -> Tensor:
        """Mean entropy [nat] in states ``(N, F)``, a scalar; may be negative, as of densities."""
        return clipped_normal_entropy(*self.moments(feat)).sum(-1).mean()


def _q_of(critic: SlowCritic, feat: Tensor, action: Tensor, own: int) -> Tensor:
    """``Q_slow`` ``(N, K)`` of actions ``(N, K, A)``, from number ``own`` on the policy's own."""
    effect = critic.slow_effect(feat, action.transpose(0, 1)).t()  # (N, K)
    mean = effect[:, own:].mean(-1, keepdim=True)
    return critic.slow_baseline(feat).unsqueeze(-1) + effect - mean


def one_hot_sample(log_probs: Tensor) -> Tensor:
    """One-hot categorical sample ``(..., A)``; entries of -inf are never drawn."""
    noise = drawn(
        partial(_exponential, log_probs), log_probs.shape
    )  # argmax(p / noise) is a sample of p
    return _one_hot((log_probs.exp() / noise).argmax(-1, keepdim=True), log_probs)


def _exponential(like: Tensor, shape: Sequence[int]) -> Tensor:
    return torch.empty(shape, dtype=like.dtype, device=like.device).exponential_()


def _one_hot(index: Tensor, like: Tensor) -> Tensor:
    return torch.zeros_like(like).scatter_(-1, index, 1.0)
