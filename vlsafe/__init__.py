"""The names that most programs want of the three packages; ``import vlsafe`` registers the ids.

Everything here has its home in ``vlsafe_envs``, ``vlsafe_agents`` or ``wrappers``, and is loaded
when first asked for::

    import gymnasium as gym
    import vlsafe

    env = gym.make("VLSafe-Highway-v0", observation="image")
    driver = vlsafe.VLSafe.from_pretrained("highway")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import vlsafe_envs
from vlsafe_agents.common.version import vlsafe_version

if TYPE_CHECKING:
    from vlsafe_agents import (
        BC,
        CDT,
        CPQ,
        CQL,
        DQN,
        IQL,
        PPO,
        QRDQN,
        SAC,
        TRPO,
        COptiDICE,
        PPOLag,
        RecurrentPPO,
        RecurrentPPOLag,
        SACLag,
        TRPOLag,
        VLSafe,
    )
    from vlsafe_agents.data import EpisodeDataset, from_d3rlpy, from_dsrl, from_flat_arrays
    from vlsafe_agents.evaluation import evaluate
    from vlsafe_agents.risk import RiskModel, SafetyShield, ShieldedPolicy
    from vlsafe_agents.training import TrainSettings, load_agent, train
    from wrappers import FunctionScorer, SafetyScorer, VLMCost, make_scorer

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
    "EpisodeDataset",
    "FunctionScorer",
    "PPOLag",
    "RecurrentPPO",
    "RecurrentPPOLag",
    "RiskModel",
    "SACLag",
    "SafetyScorer",
    "SafetyShield",
    "ShieldedPolicy",
    "TRPOLag",
    "TrainSettings",
    "VLMCost",
    "VLSafe",
    "evaluate",
    "from_d3rlpy",
    "from_dsrl",
    "from_flat_arrays",
    "known_ids",
    "load_agent",
    "make_scorer",
    "train",
]

_HOMES = (  # in the order in which they are looked through: what loads fast comes first
    "wrappers",
    "vlsafe_agents",
    "vlsafe_agents.training",
    "vlsafe_agents.data",
    "vlsafe_agents.risk",
    "vlsafe_agents.evaluation",
)

known_ids = vlsafe_envs.known_ids
__version__ = vlsafe_version()


def __getattr__(name: str) -> Any:
    if name in __all__:
        for home in map(import_module, _HOMES):
            if name in home.__all__:
                return getattr(home, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
