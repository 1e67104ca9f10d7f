"""COptiDICE: offline learning of how often to be where, under a limit on cost."""

from vlsafe_agents.coptidice.coptidice import COptiDICE
from vlsafe_agents.coptidice.policies import DicePolicy

__all__ = ["COptiDICE", "DicePolicy"]
