"""Risk: chances of a cost event after an action, learnt from outcomes, and shields of them."""

from vlsafe_agents.risk.branching import BranchingConfig, branch_outcomes
from vlsafe_agents.risk.bundled import bundled_ids, bundled_risk
from vlsafe_agents.risk.judge import Judge
from vlsafe_agents.risk.model import RiskConfig, RiskModel
from vlsafe_agents.risk.outcomes import Outcomes
from vlsafe_agents.risk.shield import SafetyShield, ShieldedPolicy, best_actions, decide
from vlsafe_agents.risk.vector_shield import ShieldedVectorEnv

__all__ = [
    "BranchingConfig",
    "Judge",
    "Outcomes",
    "RiskConfig",
    "RiskModel",
    "SafetyShield",
    "ShieldedPolicy",
    "ShieldedVectorEnv",
    "best_actions",
    "branch_outcomes",
    "bundled_ids",
    "bundled_risk",
    "decide",
]
