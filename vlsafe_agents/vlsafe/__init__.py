"""Offline safe reinforcement learning in imagination: world model, actor-critic, SB3 agent.

Symbols in shape comments:

====== =========================================================================
``B``  sequences in a batch
``T``  rows of a sequence
``N``  imagined trajectories (or independent samples)
``H``  imagined steps
``A``  actions: their number (``Discrete``, one-hot) or their size (``Box``)
``E``  size of an observation's embedding
``D``  deterministic part ``deter`` of the recurrent state
``S``  categorical variables of its stochastic part ``stoch``
``K``  classes of each (also bins of a two-hot output)
``F``  features ``D + S * K``, what heads, actor and critics read
====== =========================================================================

Time convention (DreamerV3's): index ``t`` means "on arriving at observation ``o_t``".
``action[t]`` led to ``o_t``; ``reward[t]``, ``cost[t]`` and ``is_terminal[t]`` arrived with it;
``next_action[t]`` was taken there.  In imagination, ``action[:, j]`` is taken in state ``j`` and
``reward[:, j]``, ``cost[:, j]``, ``cont[:, j]`` belong to state ``j + 1``.

``cost`` is at least 0 and bad when high; ``safety_score`` is p in [0, 1] and good when high.
"""

from vlsafe_agents.vlsafe.config import VLSafeConfig
from vlsafe_agents.vlsafe.policies import CnnPolicy, MlpPolicy, MultiInputPolicy, VLSafePolicy
from vlsafe_agents.vlsafe.presets import make_config
from vlsafe_agents.vlsafe.vlsafe import VLSafe

__all__ = [
    "CnnPolicy",
    "MlpPolicy",
    "MultiInputPolicy",
    "VLSafe",
    "VLSafeConfig",
    "VLSafePolicy",
    "make_config",
]
