"""SB3's SAC policies with a critic that predicts the cost return."""

from __future__ import annotations

from typing import Any

from stable_baselines3.common.policies import ContinuousCritic
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.sac.policies import CnnPolicy as SACCnnPolicy
from stable_baselines3.sac.policies import MultiInputPolicy as SACMultiInputPolicy
from stable_baselines3.sac.policies import SACPolicy

from vlsafe_agents.common.vehicle_policies import SeesVehicles


class CostSACPolicy(SACPolicy):
    """Actor, reward critics and one cost critic, which has a features extractor of its own."""

    cost_critic: ContinuousCritic
    cost_critic_target: ContinuousCritic

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)
        self.cost_critic, self.cost_critic_target = self._cost_critic(), self._cost_critic()
        self.cost_critic_target.load_state_dict(self.cost_critic.state_dict())
        rate: Any = {"lr": lr_schedule(1), **self.optimizer_kwargs}
        self.cost_critic.optimizer = self.optimizer_class(self.cost_critic.parameters(), **rate)
        self.cost_critic_target.set_training_mode(False)

    def _cost_critic(self) -> ContinuousCritic:
        own = {**self.critic_kwargs, "n_critics": 1, "share_features_extractor": False}
        arguments = self._update_features_extractor(own, None)
        return ContinuousCritic(**arguments).to(self.device)

    def set_training_mode(self, mode: bool) -> None:
        """SB3's, of the cost critic too."""
        super().set_training_mode(mode)
        self.cost_critic.set_training_mode(mode)


class CostSACCnnPolicy(CostSACPolicy, SACCnnPolicy):
    """The same for image observations (SB3's NatureCNN features)."""


class CostSACMultiInputPolicy(SeesVehicles, CostSACPolicy, SACMultiInputPolicy):
    """The same for Dict observations, and sets of vehicles."""


MlpPolicy = CostSACPolicy
CnnPolicy = CostSACCnnPolicy
MultiInputPolicy = CostSACMultiInputPolicy
