"""Action spaces and policies over them: all that depends on the kind of action is in this file.

To the networks an action is a vector ``(..., A)``: one-hot over all actions of a ``Discrete`` space
and over all combinations of a ``MultiDiscrete`` one, and the action itself, in the space's own
units, of a ``Box``.  :func:`action_kind` finds the kind, which converts actions and makes policies.

A policy's head also knows how actions are compared: all of them where they can be counted, a few
samples of a ``Box``.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from gymnasium import spaces
from torch import Tensor, nn

from vlsafe_agents.common.distributions import unimix_probs
from vlsafe_agents.vlsafe.config import ImprovementConfig
from vlsafe_agents.vlsafe.networks import MLP
from vlsafe_agents.vlsafe.policy_extraction import Candidates, entropy, restrict_to_support

UNIMIX = 0.01  # share of the uniform distribution, as in DreamerV3: no action gets probability 0
STD_RANGE = (0.05, 1.0)  # of a Gaussian policy, in units of half the action range
VALUE_SAMPLES = 2  # of a Gaussian policy's actions, for the value of a state
MOST_ACTIONS = 1024  # that a policy compares in every state
SPACES = (spaces.Discrete, spaces.MultiDiscrete, spaces.Box)

Array = npt.NDArray[Any]


class SlowCritic(Protocol):
    """What a policy asks of a critic's slow copy, without gradients."""

    def slow_all(self, feat: Tensor) -> Tensor:
        """``Q`` of every action that can be counted, ``(..., A)``."""
        ...

    def slow(self, feat: Tensor, action: Tensor) -> Tensor:
        """``Q`` ``(...)`` of action vectors ``(..., A)`` of a ``Box``."""
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
        evaluation: Evaluation | None,
        critics: tuple[SlowCritic, SlowCritic],
        settings: ImprovementConfig,
    ) -> Candidates:
        """Every action in states ``(N, H, F)``."""
        assert evaluation is not None
        with torch.no_grad():
            log_prior = restrict_to_support(prior.log_probs(feat), settings.support_threshold)
        return Candidates(log_prior, *(x[:, :-1] for x in evaluation))

    def mean_entropy(self, candidates: Candidates, feat: Tensor) -> Tensor:
        """Mean entropy [nat] in the states of ``candidates``, a scalar."""
        return entropy(candidates.log_policy.exp()).mean()


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

    def explore(self, feat: Tensor, threshold: float) -> Tensor:
        """A sample; a density has no threshold below which an action is out of the support."""
        return self.sample(feat)

    @torch.no_grad()
    def value(self, feat: Tensor, critic: SlowCritic) -> Tensor:
        """``V(s) = E_a Q_slow(s, a)``, ``(...)``, as a mean of a few samples."""
        draws = [critic.slow(feat, self.sample(feat)) for _ in range(VALUE_SAMPLES)]
        return torch.stack(draws).mean(0)

    @torch.no_grad()
    def value_and_q(
        self, feat: Tensor, action: Tensor, critic: SlowCritic
    ) -> tuple[Tensor, Tensor]:
        """``V(s)`` and ``Q_slow(s, a)`` of given action vectors, both ``(...)``."""
        return self.value(feat, critic), critic.slow(feat, action)

    def evaluate(
        self, feat: Tensor, critics: tuple[SlowCritic, SlowCritic]
    ) -> tuple[list[Tensor], Evaluation | None]:
        """Values of reward and cost ``(N, H + 1)``; samples are not kept."""
        return [self.value(feat, critic) for critic in critics], None

    def some_states(self, *per_state: Tensor) -> tuple[Tensor, ...]:
        """N of the N * H states, at random: ``(N, H, ...) -> (N, ...)``.

        Every state would be K more evaluations of each critic.
        """
        (count, steps), device = per_state[0].shape[:2], per_state[0].device
        chosen = torch.randint(0, count * steps, (count,), device=device)
        return tuple(x.flatten(0, 1)[chosen] for x in per_state)

    def compare(
        self,
        prior: GaussianHead,
        feat: Tensor,
        evaluation: Evaluation | None,
        critics: tuple[SlowCritic, SlowCritic],
        settings: ImprovementConfig,
    ) -> Candidates:
        """K actions in states ``(N, F)``, half from the prior, half from this policy."""
        count = settings.candidates
        states = feat.unsqueeze(1).expand(-1, count, -1)  # (N, K, F)
        with torch.no_grad():
            half = (count + 1) // 2
            action = torch.cat([prior.sample(states[:, :half]), self.sample(states[:, half:])], 1)
            log_prior = prior.log_prob(states, action)  # (N, K)
        log_policy = self.log_prob(states, action)  # (N, K)
        with torch.no_grad():
            both = torch.stack([log_prior, log_policy])
            share = torch.tensor([half / count, 1 - half / count], device=feat.device)
            log_proposal = (both + share.clamp_min(1e-9).log()[:, None, None]).logsumexp(0)
        return Candidates(
            log_prior - log_proposal,
            log_policy,
            *(critic.slow(states, action) for critic in critics),
        )

    def mean_entropy(self, candidates: Candidates, feat: Tensor) -> Tensor:
        """Mean differential entropy [nat] before clipping in states ``(N, F)``, a scalar."""
        _, std = self.moments(feat)
        return (std.log() + 0.5 * math.log(2 * math.pi * math.e)).sum(-1).mean()

    def _to_space(self, x: Tensor) -> Tensor:
        return self.low + (x.clamp(-1, 1) + 1) * self.radius


# --- kinds of actions -----------------------------------------------------------------------------


class DiscreteActions:
    """``Discrete``: one-hot vectors."""

    countable = True

    def __init__(self, space: spaces.Discrete) -> None:
        self.size, self.start = int(space.n), int(space.start)

    def vector(self, action: Tensor) -> Tensor:
        """Recorded actions ``(...)`` as vectors ``(..., A)``."""
        return F.one_hot(action.long() - self.start, self.size).float()

    def to_env(self, vector: Array) -> Array:
        """Action vectors ``(N, A)`` as the environment takes them."""
        action: Array = vector.argmax(-1) + self.start
        return action

    def head(self, feat_size: int, units: int, layers: int) -> CategoricalHead:
        """A policy."""
        return CategoricalHead(feat_size, units, layers, self.size)


class MultiDiscreteActions:
    """``MultiDiscrete``: one-hot over the combinations of its P parts, the last part's fastest."""

    countable = True

    def __init__(self, space: spaces.MultiDiscrete) -> None:
        self.counts = tuple(int(n) for n in space.nvec)
        self.start = np.asarray(space.start, np.int64)  # (P,)
        self.dtype = space.dtype
        self.size = math.prod(self.counts)
        self.strides = [math.prod(self.counts[i + 1 :]) for i in range(len(self.counts))]
        if self.size > MOST_ACTIONS:
            raise ValueError(
                f"{space} has {self.size} combinations; a policy compares at most {MOST_ACTIONS}: "
                "give its parts fewer choices"
            )

    def vector(self, action: Tensor) -> Tensor:
        """Recorded actions ``(..., P)`` as vectors ``(..., A)``."""
        start, strides = action.new_tensor(self.start), action.new_tensor(self.strides)
        return F.one_hot(((action - start) * strides).sum(-1).long(), self.size).float()

    def to_env(self, vector: Array) -> Array:
        """Action vectors ``(N, A)`` as the environment takes them, ``(N, P)``."""
        parts = np.stack(np.unravel_index(vector.argmax(-1), self.counts), -1)
        return (parts + self.start).astype(self.dtype)

    def head(self, feat_size: int, units: int, layers: int) -> CategoricalHead:
        """A policy."""
        return CategoricalHead(feat_size, units, layers, self.size)


class BoxActions:
    """``Box`` with one axis: the action itself."""

    countable = False

    def __init__(self, space: spaces.Box) -> None:
        self.space, self.size = space, int(space.shape[0])

    def vector(self, action: Tensor) -> Tensor:
        """Recorded actions ``(..., A)``, clipped to the space."""
        low = torch.as_tensor(self.space.low, dtype=torch.float32, device=action.device)
        high = torch.as_tensor(self.space.high, dtype=torch.float32, device=action.device)
        return torch.clamp(action.float(), low, high)

    def to_env(self, vector: Array) -> Array:
        """Action vectors ``(N, A)`` as the environment takes them."""
        return np.clip(vector, self.space.low, self.space.high).astype(self.space.dtype)

    def head(self, feat_size: int, units: int, layers: int) -> GaussianHead:
        """A policy.

        Raises:
            ValueError: for bounds that are not finite.
        """
        return GaussianHead(feat_size, units, layers, self.space)


def action_kind(space: spaces.Space[Any]) -> DiscreteActions | MultiDiscreteActions | BoxActions:
    """The kind of a space's actions.

    Raises:
        ValueError: for spaces other than ``Discrete``, and ``MultiDiscrete`` and ``Box`` with one
            axis.
    """
    if isinstance(space, spaces.Discrete):
        return DiscreteActions(space)
    if isinstance(space, spaces.MultiDiscrete) and len(space.shape) == 1:
        return MultiDiscreteActions(space)
    if isinstance(space, spaces.Box) and len(space.shape) == 1:
        return BoxActions(space)
    raise ValueError(
        f"action space must be Discrete, or MultiDiscrete or a Box with one axis; got {space}"
    )


def one_hot_sample(log_probs: Tensor) -> Tensor:
    """One-hot categorical sample ``(..., A)``; entries of -inf are never drawn."""
    noise = torch.empty_like(log_probs).exponential_()  # argmax(p / noise) is a sample of p
    return _one_hot((log_probs.exp() / noise).argmax(-1, keepdim=True), log_probs)


def _one_hot(index: Tensor, like: Tensor) -> Tensor:
    return torch.zeros_like(like).scatter_(-1, index, 1.0)
