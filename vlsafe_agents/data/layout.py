"""How an episode is stored: the one place that spells the names of Minari's HDF5 file.

A group an episode holds ``actions``, ``rewards``, ``terminations`` and ``truncations`` (T entries),
and ``observations/...`` and ``infos/...`` (T + 1 entries, the reset's first).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from vlsafe_agents.common.border import Array
from vlsafe_agents.data.episode import Branch, Episode

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


BRANCHES_OF = "branches_of"  # in the metadata of a set of branches: the id of the recorded set


def branch_attributes(episode: Episode) -> dict[str, Any]:
    """Attributes of the group of an episode that leaves another one; of others there are none."""
    if episode.branch is None:
        return {}
    return {f"branch_{name}": value for name, value in vars(episode.branch).items()}


def branch_of(attributes: Mapping[str, Any], where: str) -> Branch | None:
    """Inverse of :func:`branch_attributes`.

    Raises:
        ValueError: naming ``where``, for attributes that are incomplete or no numbers.
    """
    names = ("episode", "step", "macro", "why")
    found = {name: attributes[f"branch_{name}"] for name in names if f"branch_{name}" in attributes}
    if not found:
        return None
    try:
        return Branch(
            int(found["episode"]), int(found["step"]), *(str(found[n]) for n in names[2:])
        )
    except (KeyError, TypeError, ValueError):
        raise ValueError(
            f"{where}: its attributes branch_... are {found}; expected {', '.join(names)}"
        ) from None
