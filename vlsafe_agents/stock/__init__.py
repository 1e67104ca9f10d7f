"""Algorithms of Stable-Baselines3 and sb3-contrib, blind to cost, with files that hold no code."""

from vlsafe_agents.stock.off_policy import DQN, QRDQN, SAC
from vlsafe_agents.stock.on_policy import PPO, TRPO, RecurrentPPO

__all__ = ["DQN", "PPO", "QRDQN", "SAC", "TRPO", "RecurrentPPO"]
