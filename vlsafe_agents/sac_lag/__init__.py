"""SAC with a cost critic and a Lagrange multiplier."""

from vlsafe_agents.sac_lag.policies import CnnPolicy, CostSACPolicy, MlpPolicy, MultiInputPolicy
from vlsafe_agents.sac_lag.sac_lag import SACLag

__all__ = ["CnnPolicy", "CostSACPolicy", "MlpPolicy", "MultiInputPolicy", "SACLag"]
