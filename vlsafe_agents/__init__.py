"""Agents that learn to drive safely, and what is needed to feed and to evaluate them.

The agents' classes are loaded when first asked for, so that reading a data set does not import
torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vlsafe_agents.algorithms import ALGORITHMS

if TYPE_CHECKING:
    from vlsafe_agents.bc import BC
    from vlsafe_agents.cdt import CDT
    from vlsafe_agents.coptidice import COptiDICE
    from vlsafe_agents.cpq import CPQ
    from vlsafe_agents.cql import CQL
    from vlsafe_agents.iql import IQL
    from vlsafe_agents.ppo_lag import PPOLag
    from vlsafe_agents.ppo_lag.recurrent import RecurrentPPOLag
    from vlsafe_agents.sac_lag import SACLag
    from vlsafe_agents.stock import DQN, PPO, QRDQN, SAC, TRPO, RecurrentPPO
    from vlsafe_agents.trpo_lag import TRPOLag
    from vlsafe_agents.vlsafe import VLSafe

__all__ = [
    "BC",
    "CDT",
    "CPQ",
    "CQL",
    "DQN",
    "IQL",
    "PPO",
    "QRDQN",
    "SAC",
    "TRPO",
    "COptiDICE",
    "PPOLag",
    "RecurrentPPO",
    "RecurrentPPOLag",
    "SACLag",
    "TRPOLag",
    "VLSafe",
]


def __getattr__(name: str) -> Any:
    for row in ALGORITHMS.values():
        if name == row.class_name:
            return row.load_class()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
