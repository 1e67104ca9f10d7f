"""Conservative Q-learning for discrete actions, offline and blind to cost."""

from vlsafe_agents.cql.cql import CQL

__all__ = ["CQL"]
