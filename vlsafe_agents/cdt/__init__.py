"""CDT: imitation of recorded actions, told how much is still to be earned and may be paid."""

from vlsafe_agents.cdt.cdt import CDT
from vlsafe_agents.cdt.policies import DecisionTransformerPolicy

__all__ = ["CDT", "DecisionTransformerPolicy"]
