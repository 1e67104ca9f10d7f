"""TRPO with a cost critic and a Lagrange multiplier."""

from vlsafe_agents.trpo_lag.trpo_lag import TRPOLag

__all__ = ["TRPOLag"]
