"""COptiDICE's networks: the actor, nu as SB3's value, and chi beside it."""

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


class StateValue(nn.Module):
    """A number for each observation, with features of its own."""

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        extractor: BaseFeaturesExtractor,
        layers: list[int],
        activation_fn: type[nn.Module],
        normalize_images: bool,
    ) -> None:
        super().__init__()
        self.observation_space, self.normalize_images = observation_space, normalize_images
        self.features_extractor = extractor
        self.net = nn.Sequential(*create_mlp(extractor.features_dim, 1, layers, activation_fn))

    def forward(self, obs: PyTorchObs) -> th.Tensor:
        """Values (N,)."""
        seen = preprocess_obs(obs, self.observation_space, self.normalize_images)
        value: th.Tensor = self.net(self.features_extractor(seen)).squeeze(-1)
        return value


class DicePolicy(CriticsPolicy):
    """SB3's actor, whose `predict_values` is nu, and chi, which only the bound on the cost needs.

    Layers are 256 wide and ReLU unless given otherwise.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["critics"] = {}
        super().__init__(*args, **kwargs)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        found = super()._get_constructor_parameters()
        found.pop("critics")
        return found

    def _build_mlp_extractor(self) -> None:
        super()._build_mlp_extractor()
        arch = self.net_arch.get("vf", []) if isinstance(self.net_arch, dict) else self.net_arch
        self.chi = StateValue(
            self.observation_space,
            self.make_features_extractor(),
            list(arch),
            self.activation_fn,
            self.normalize_images,
        )


class DiceCnnPolicy(DicePolicy, ActorCriticCnnPolicy):
    """The same for image observations (SB3's NatureCNN features, one layer on them)."""

    default_net_arch = (256,)


class DiceMultiInputPolicy(SeesVehicles, DicePolicy, MultiInputActorCriticPolicy):
    """The same for Dict observations, and sets of vehicles."""
