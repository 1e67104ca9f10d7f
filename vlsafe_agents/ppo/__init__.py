"""Stable-Baselines3's PPO, blind to cost, with files that hold no code."""

from vlsafe_agents.ppo.ppo import PPO

__all__ = ["PPO"]
