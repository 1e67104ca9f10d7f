"""SB3's actors with critics of actions beside them, for agents that learn from recorded steps."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import (
    ActorCriticCnnPolicy,
    ActorCriticPolicy,
    MultiInputActorCriticPolicy,
)
from stable_baselines3.common.preprocessing import preprocess_obs
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, create_mlp
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.common.utils import polyak_update
from torch import nn

from vlsafe_agents.common.vehicle_policies import SeesVehicles


class ActionCritic(nn.Module):
    """Q(o, a) of several networks on one features extractor.

    Of a `Discrete` space each network has an output for every action; of others it reads the
    action beside the features: a `Box` scaled to [-1, 1] where its bounds are finite, the parts of
    `MultiDiscrete` as zeros and ones.

    Args:
        extractor: features of an observation, its own
        layers: units of the hidden layers
        count: networks
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        extractor: BaseFeaturesExtractor,
        layers: list[int],
        activation_fn: type[nn.Module],
        count: int,
        normalize_images: bool = True,
    ) -> None:
        super().__init__()
        self.observation_space, self.action_space = observation_space, action_space
        self.normalize_images = normalize_images
        self.features_extractor = extractor
        self.lists_actions = isinstance(action_space, spaces.Discrete)
        inputs, outputs = extractor.features_dim, 1
        if isinstance(action_space, spaces.Discrete):
            outputs = int(action_space.n)
        else:
            inputs += action_size(action_space)
        self.nets = nn.ModuleList(
            nn.Sequential(*create_mlp(inputs, outputs, layers, activation_fn)) for _ in range(count)
        )

    def forward(self, obs: PyTorchObs, actions: th.Tensor) -> th.Tensor:
        """Values (count, N) of actions (N, ...), counted from 0 where the space counts."""
        if self.lists_actions:
            chosen = actions.long().reshape(1, -1, 1).expand(len(self.nets), -1, 1)
            return self.of_all(obs).gather(-1, chosen).squeeze(-1)
        features = self._features(obs)  # (N, F)
        joined = th.cat([features, action_vector(actions, self.action_space)], -1)
        return th.stack([net(joined).squeeze(-1) for net in self.nets])

    def of_all(self, obs: PyTorchObs) -> th.Tensor:
        """Values (count, N, A) of all actions of a `Discrete` space."""
        features = self._features(obs)
        return th.stack([net(features) for net in self.nets])

    def of_several(self, obs: PyTorchObs, actions: th.Tensor) -> th.Tensor:
        """Values (count, S, N) of S actions (S, N, A) of a `Box` in each of N states."""
        features = self._features(obs).expand(len(actions), -1, -1)  # (S, N, F)
        vectors = action_vector(actions.flatten(0, 1), self.action_space)
        joined = th.cat([features, vectors.reshape(*features.shape[:2], -1)], -1)
        return th.stack([net(joined).squeeze(-1) for net in self.nets])

    def _features(self, obs: PyTorchObs) -> th.Tensor:
        seen = preprocess_obs(obs, self.observation_space, self.normalize_images)
        features: th.Tensor = self.features_extractor(seen)
        return features


class CriticsPolicy(ActorCriticPolicy):
    """SB3's actor-critic policy with critics of actions, each with a slow copy.

    One optimiser has all parameters; each loss reaches its own networks only, so that this is an
    optimiser for each of them. Layers are 256 wide and ReLU unless given otherwise.

    Args:
        critics: how many networks each critic has, by its name
    """

    default_net_arch: ClassVar[tuple[int, ...]] = (256, 256)

    def __init__(self, *args: Any, critics: Mapping[str, int], **kwargs: Any) -> None:
        self.critic_counts = dict(critics)
        if kwargs.get("net_arch") is None:
            kwargs["net_arch"] = list(self.default_net_arch)
        kwargs.setdefault("activation_fn", nn.ReLU)
        super().__init__(*args, **kwargs)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        shared = {"share_features_extractor": self.share_features_extractor}
        own = {"critics": self.critic_counts, **shared}
        return {**super()._get_constructor_parameters(), **own}

    def _build_mlp_extractor(self) -> None:
        # Called by SB3 before it creates the optimiser, which takes `self.parameters()`.
        super()._build_mlp_extractor()
        self.critics = nn.ModuleDict(
            {name: self._critic(count) for name, count in self.critic_counts.items()}
        )
        self.slow_critics = copy.deepcopy(self.critics).requires_grad_(False)

    def _critic(self, count: int) -> ActionCritic:
        arch = self.net_arch.get("vf", []) if isinstance(self.net_arch, dict) else self.net_arch
        return ActionCritic(
            self.observation_space,
            self.action_space,
            self.make_features_extractor(),
            list(arch),
            self.activation_fn,
            count,
            self.normalize_images,
        )

    def update_slow_critics(self, rate: float) -> None:
        """Move the slow critics towards the fast ones by this share of the way."""
        polyak_update(self.critics.parameters(), self.slow_critics.parameters(), rate)


class CriticsCnnPolicy(CriticsPolicy, ActorCriticCnnPolicy):
    """The same for image observations (SB3's NatureCNN features, one layer on them)."""

    default_net_arch = (256,)


class CriticsMultiInputPolicy(SeesVehicles, CriticsPolicy, MultiInputActorCriticPolicy):
    """The same for Dict observations, and sets of vehicles."""


def action_size(space: spaces.Space[Any]) -> int:
    """Length of an action as networks read it."""
    if isinstance(space, spaces.Discrete):
        return int(space.n)
    if isinstance(space, spaces.MultiDiscrete):
        return int(space.nvec.sum())
    return int(np.prod(space.shape or (1,)))


def action_vector(actions: th.Tensor, space: spaces.Space[Any]) -> th.Tensor:
    """Actions (N, ...) as networks read them, (N, A) float32; those that count, from 0."""
    if isinstance(space, spaces.Discrete):
        return nn.functional.one_hot(actions.long().flatten(), int(space.n)).float()
    if isinstance(space, spaces.MultiDiscrete):
        parts = actions.flatten(1).long().unbind(1)
        counts = [int(n) for n in space.nvec.reshape(-1)]
        hot = [
            nn.functional.one_hot(part, n).float() for part, n in zip(parts, counts, strict=True)
        ]
        return th.cat(hot, -1)
    vectors = actions.float().flatten(1)
    if isinstance(space, spaces.Box) and space.is_bounded():
        low = th.as_tensor(space.low, dtype=th.float32, device=actions.device).flatten()
        high = th.as_tensor(space.high, dtype=th.float32, device=actions.device).flatten()
        vectors = 2.0 * (vectors - low) / (high - low) - 1.0
    return vectors
