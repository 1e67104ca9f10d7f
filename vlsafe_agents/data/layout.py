"""How an episode is stored: the one place that spells the names of Minari's HDF5 file.

A group an episode holds ``actions``, ``rewards``, ``terminations`` and ``truncations`` (T entries),
and ``observations/...`` and ``infos/...`` (T + 1 entries, the reset's first).
"""

from __future__ import annotations

import numpy as np

from vlsafe_agents.common.border import Array
from vlsafe_agents.data.episode import Episode

MAIN_FILE = "main_data.hdf5"
METADATA_FILE = "metadata.json"

ACTIONS, REWARDS = "actions", "rewards"
OBSERVATIONS = "observations"  # a group of named arrays; one array where the space is no Dict
TERMINATIONS, TRUNCATIONS = "terminations", "truncations"


def episode_name(number: int) -> str:
    """Name of an episode's group."""
    return f"episode_{number}"


def observation_name(name: str) -> str:
    """Name of an observation within an episode's group."""
    return f"{OBSERVATIONS}/{name}"


def info_name(name: str) -> str:
    """Name of an info within an episode's group."""
    return f"infos/{name}"


COST, ENV_COST = info_name("cost"), info_name("env_cost")  # older data have the first only
SAFETY_SCORE = info_name("safety_score")


def arrays_of(episode: Episode) -> dict[str, Array]:
    """All arrays of an episode under their names within its group."""
    ends = np.zeros((2, episode.num_steps), bool)
    ends[:, -1] = episode.terminated, episode.truncated
    named = {
        ACTIONS: episode.action,
        REWARDS: episode.reward,
        TERMINATIONS: ends[0],
        TRUNCATIONS: ends[1],
    }
    if episode.env_cost is not None:
        named[ENV_COST] = episode.env_cost
    if episode.safety_score is not None:
        named[SAFETY_SCORE] = episode.safety_score
    named |= {observation_name(name): array for name, array in episode.obs.items()}
    return named | {info_name(name): array for name, array in episode.infos.items()}
