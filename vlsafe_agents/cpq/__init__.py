"""Constraints-penalised Q-learning: offline RL under a cost limit."""

from vlsafe_agents.cpq.cpq import CPQ

__all__ = ["CPQ"]
