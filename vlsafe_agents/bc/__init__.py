"""Behaviour cloning, the simplest baseline on recorded drives."""

from vlsafe_agents.bc.bc import BC

__all__ = ["BC"]
