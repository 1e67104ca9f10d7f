"""CPQ's networks: critics of reward and cost, the recorded behaviour, and who acts by them."""

from __future__ import annotations

from typing import Any

import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticCnnPolicy, MultiInputActorCriticPolicy
from stable_baselines3.common.preprocessing import preprocess_obs
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, create_mlp
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import nn

from vlsafe_agents.common.action_critics import CriticsPolicy
from vlsafe_agents.common.vehicle_policies import SeesVehicles
from vlsafe_agents.cpq.losses import greedy

_LOG_STD = (-5.0, 2.0)


class SquashedActor(nn.Module):
    """A normal variable squashed into the bounds of a `Box`, with its own features."""

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Box,
        extractor: BaseFeaturesExtractor,
        layers: list[int],
        activation_fn: type[nn.Module],
        normalize_images: bool,
    ) -> None:
        super().__init__()
        if not action_space.is_bounded():
            raise ValueError(f"CPQ needs a Box with finite bounds, not {action_space}; bound it")
        self.observation_space, self.normalize_images = observation_space, normalize_images
        self.shape = action_space.shape
        size = int(th.as_tensor(action_space.low).numel())
        self.features_extractor = extractor
        self.net = nn.Sequential(
            *create_mlp(extractor.features_dim, 2 * size, layers, activation_fn)
        )
        self.register_buffer("low", th.as_tensor(action_space.low).float().flatten())
        self.register_buffer("high", th.as_tensor(action_space.high).float().flatten())

    def forward(self, obs: PyTorchObs) -> tuple[th.Tensor, th.Tensor]:
        """Mean and deviation (N, A) before squashing."""
        seen = preprocess_obs(obs, self.observation_space, self.normalize_images)
        mean, log_std = self.net(self.features_extractor(seen)).chunk(2, -1)
        return mean, log_std.clamp(*_LOG_STD).exp()

    def sample(self, obs: PyTorchObs, count: int) -> tuple[th.Tensor, th.Tensor]:
        """So many actions in each state, (count, N, *shape), and the logarithms of their densities.

        Densities (count, N) are those before squashing, whose gradients are the same.
        """
        normal = th.distributions.Normal(*self(obs))
        raw = normal.sample((count,))  # (count, N, A)
        return self._squashed(raw), normal.log_prob(raw).sum(-1)

    def most_likely(self, obs: PyTorchObs) -> th.Tensor:
        """Squashed means (N, *shape)."""
        return self._squashed(self(obs)[0])

    def _squashed(self, raw: th.Tensor) -> th.Tensor:
        share = 0.5 * (raw.tanh() + 1.0)
        actions: th.Tensor = self.low + share * (self.high - self.low)  # type: ignore[operator]
        return actions.reshape(*raw.shape[:-1], *self.shape)


class CPQPolicy(CriticsPolicy):
    """Acts by the critics; SB3's distribution is the recorded behaviour, which it does not act by.

    `Discrete`: the greedy action.  `Box`: an actor of its own.
    """

    threshold: th.Tensor  # of Q_c, a scalar; a file keeps it with the weights

    def _build_mlp_extractor(self) -> None:
        super()._build_mlp_extractor()
        self.register_buffer("threshold", th.tensor(th.inf))
        self.actor: SquashedActor | None = None
        if isinstance(self.action_space, spaces.Box):
            arch = self.net_arch.get("pi", []) if isinstance(self.net_arch, dict) else self.net_arch
            self.actor = SquashedActor(
                self.observation_space,
                self.action_space,
                self.make_features_extractor(),
                list(arch),
                self.activation_fn,
                self.normalize_images,
            )

    def greedy(self, obs: PyTorchObs) -> th.Tensor:
        """The critics' best action (N,) of a `Discrete` space, counted from 0."""
        q = self.critics["reward"].of_all(obs).amin(0)  # type: ignore[operator]
        cost_q = self.critics["cost"].of_all(obs).mean(0)  # type: ignore[operator]
        return greedy(q, cost_q, self.threshold)

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        if self.actor is None:
            return self.greedy(observation)
        if deterministic:
            return self.actor.most_likely(observation)
        return self.actor.sample(observation, 1)[0].squeeze(0)


class CPQCnnPolicy(CPQPolicy, ActorCriticCnnPolicy):
    """The same for image observations."""

    default_net_arch = (256,)


class CPQMultiInputPolicy(SeesVehicles, CPQPolicy, MultiInputActorCriticPolicy):
    """The same for Dict observations, and sets of vehicles."""
