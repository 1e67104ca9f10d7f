"""Implicit Q-learning, offline and blind to cost."""

from vlsafe_agents.iql.iql import IQL

__all__ = ["IQL"]
