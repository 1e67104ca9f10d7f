"""SB3's actor-critic policies with a second critic that predicts the cost return."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.policies import (
    ActorCriticCnnPolicy,
    ActorCriticPolicy,
    BasePolicy,
    MultiInputActorCriticPolicy,
)
from stable_baselines3.common.torch_layers import (
    BaseFeaturesExtractor,
    MlpExtractor,
    NatureCNN,
)
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import nn

from vlsafe_agents.common.bfloat16 import bfloat16_is_fast
from vlsafe_agents.common.vehicle_policies import SeesVehicles


class CostActorCriticPolicy(ActorCriticPolicy):
    """Actor, reward critic and cost critic.

    The cost critic has hidden layers of its own, of the reward critic's sizes (`net_arch["vf"]`).
    With `share_features_extractor=True` (SB3's default) all three heads read the same features;
    otherwise each has its own extractor. Everything else is SB3's `ActorCriticPolicy`; what a class
    derived from this one says in `forward` and `evaluate_actions` holds, as with SB3's PPO.

    Args:
        bfloat16: convolutions of images in bfloat16 with channels last, while all else stays in
            float32. On processors without instructions for it a warning says so, and nothing
            changes. Results differ in rounding.
    """

    def __init__(self, *args: Any, bfloat16: bool = False, **kwargs: Any) -> None:
        self.wants_bfloat16 = bool(bfloat16)
        super().__init__(*args, **kwargs)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {**super()._get_constructor_parameters(), "bfloat16": self.wants_bfloat16}

    def _build_mlp_extractor(self) -> None:
        # Called by SB3 before it creates the optimiser, which takes `self.parameters()`.
        super()._build_mlp_extractor()
        self.cost_features_extractor = self._cost_extractor()
        critic_layers = (
            self.net_arch.get("vf", []) if isinstance(self.net_arch, dict) else self.net_arch
        )
        self.cost_mlp = MlpExtractor(
            self._latent_dim(),
            net_arch={"pi": [], "vf": list(critic_layers or [])},
            activation_fn=self.activation_fn,
            device=self.device,
        )
        self.cost_value_net = nn.Linear(self.cost_mlp.latent_dim_vf, 1)

    def _cost_extractor(self) -> BaseFeaturesExtractor:
        """What the cost critic reads an observation with."""
        if self.share_features_extractor:
            return self.features_extractor
        return self.make_features_extractor()

    def _latent_dim(self) -> int:
        """How many numbers the cost critic's hidden layers get."""
        return self.features_dim

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)
        if self.ortho_init:
            self._initialise_cost_critic()
        if self.wants_bfloat16 and bfloat16_is_fast(self.device):
            for extractor in {x for x in self.modules() if isinstance(x, NatureCNN)}:
                _convolve_in_bfloat16(extractor)
        elif self.wants_bfloat16:
            warnings.warn(
                f"bfloat16=True has no effect: the device {self.device} has no instructions for "
                "it, and would be slower with it",
                stacklevel=2,
            )

    def _initialise_cost_critic(self) -> None:
        gains: dict[nn.Module, float] = {self.cost_mlp: float(np.sqrt(2)), self.cost_value_net: 1.0}
        if not self.share_features_extractor:
            gains[self.cost_features_extractor] = float(np.sqrt(2))
        for module, gain in gains.items():
            module.apply(partial(self.init_weights, gain=gain))

    def forward_with_cost(
        self, obs: PyTorchObs
    ) -> tuple[th.Tensor, th.Tensor, th.Tensor, th.Tensor]:
        """Sample an action and value the state.

        Returns:
            action (N, *action_shape), value (N, 1), cost value (N, 1), log-probability (N,)
        """
        if type(self).forward is not ActorCriticPolicy.forward:
            actions, values, log_prob = self.forward(obs)  # type: ignore[arg-type]
            return actions, values, self.predict_cost_values(obs), log_prob
        latent_pi, values, cost_values = self._heads(obs)
        distribution = self._get_action_dist_from_latent(latent_pi)
        actions = distribution.get_actions()
        log_prob = distribution.log_prob(actions)
        shape = self.action_space.shape or ()
        return actions.reshape((-1, *shape)), values, cost_values, log_prob

    def evaluate_actions_with_cost(
        self, obs: PyTorchObs, actions: th.Tensor
    ) -> tuple[th.Tensor, th.Tensor, th.Tensor, th.Tensor | None]:
        """Value states and actions under the current policy.

        Returns:
            value (N, 1), cost value (N, 1), log-probability (N,), entropy (N,) or None
        """
        if type(self).evaluate_actions is not ActorCriticPolicy.evaluate_actions:
            values, log_prob, entropy = self.evaluate_actions(obs, actions)
            return values, self.predict_cost_values(obs), log_prob, entropy
        latent_pi, values, cost_values = self._heads(obs)
        distribution = self._get_action_dist_from_latent(latent_pi)
        return values, cost_values, distribution.log_prob(actions), distribution.entropy()

    def predict_cost_values(self, obs: PyTorchObs) -> th.Tensor:
        """Predicted discounted cost return of each state, (N, 1)."""
        features = BasePolicy.extract_features(self, obs, self.cost_features_extractor)
        return self.cost_value_net(self.cost_mlp.forward_critic(features))

    def _heads(self, obs: PyTorchObs) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
        """Actor latent, value and cost value, computing shared features once."""
        features = self.extract_features(obs)
        if isinstance(features, tuple):
            pi_features, vf_features = features
            cost_features = BasePolicy.extract_features(self, obs, self.cost_features_extractor)
        else:
            pi_features = vf_features = cost_features = features
        latent_pi = self.mlp_extractor.forward_actor(pi_features)
        values = self.value_net(self.mlp_extractor.forward_critic(vf_features))
        cost_values = self.cost_value_net(self.cost_mlp.forward_critic(cost_features))
        return latent_pi, values, cost_values


def _convolve_in_bfloat16(extractor: NatureCNN) -> None:
    extractor.to(memory_format=th.channels_last)  # type: ignore[call-overload]
    plain = extractor.forward

    def forward(images: th.Tensor) -> th.Tensor:
        images = images.contiguous(memory_format=th.channels_last)
        with th.autocast(images.device.type, th.bfloat16, cache_enabled=False):
            return plain(images).float()

    extractor.forward = forward  # type: ignore[method-assign,assignment]


class CostActorCriticCnnPolicy(CostActorCriticPolicy, ActorCriticCnnPolicy):
    """The same for image observations (SB3's NatureCNN features)."""


class CostMultiInputActorCriticPolicy(
    SeesVehicles, CostActorCriticPolicy, MultiInputActorCriticPolicy
):
    """The same for Dict observations (SB3's CombinedExtractor features, and sets of vehicles)."""


MlpPolicy = CostActorCriticPolicy
CnnPolicy = CostActorCriticCnnPolicy
MultiInputPolicy = CostMultiInputActorCriticPolicy
