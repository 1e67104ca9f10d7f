"""PPO with a cost critic and a Lagrange multiplier, for Stable-Baselines3."""

from vlsafe_agents.ppo_lag.policies import (
    CnnPolicy,
    CostActorCriticPolicy,
    MlpPolicy,
    MultiInputPolicy,
)
from vlsafe_agents.ppo_lag.ppo_lag import PPOLag
from vlsafe_agents.ppo_lag.presets import PRESETS, preset

__all__ = [
    "PRESETS",
    "CnnPolicy",
    "CostActorCriticPolicy",
    "MlpPolicy",
    "MultiInputPolicy",
    "PPOLag",
    "preset",
]
