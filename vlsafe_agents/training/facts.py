"""What learning has cost: ``training.json``."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vlsafe_agents.training.settings import SETTINGS_FILE
from wrappers.files import read_json

TRAINING_FILE = "training.json"
TRAINING_FIGURES = (
    "env_steps",
    "env_steps_lost",  # of these, by kills: driven, and not learned from
    "collisions_caused",
    "dataset_steps",
    "dataset_collisions",
    "gradient_steps",
    "wall_s",  # [s]
    # of a world model that was trained before, and that others may share
    "world_model_gradient_steps",
    "world_model_wall_s",  # [s]
)


def figures(facts: Mapping[str, Any]) -> dict[str, float | None]:
    """Those of ``TRAINING_FIGURES`` that are there.

    Raises:
        ValueError: for one that is no number.
    """
    found: dict[str, float | None] = {}
    for key in TRAINING_FIGURES:
        value = facts.get(key)
        if value is None:
            continue
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not 0 <= value < math.inf or value > sys.float_info.max:
            raise ValueError(f"Of training, {key} is {value!r}; expected a number of at least 0.")
        found[key] = value
    return found


def shared_costs(world_model: Any, above: tuple[Path, ...] = ()) -> dict[str, float | None]:
    """What a finished world model had cost that an agent shares, with any that it shares itself.

    Args:
        world_model: the folder of the agent that it was taken from; None for an agent that shares
            none, so that the costs are 0.  Where the folder is gone they are not known: None.
        above: folders that share it, and are not counted again.
    """
    names = ("gradient_steps", "wall_s")
    if world_model is None:
        return {f"world_model_{name}": 0 for name in names}
    not_known: dict[str, float | None] = {f"world_model_{name}": None for name in names}
    folder = Path(world_model) if isinstance(world_model, str | Path) else None
    if folder is None or folder in above:
        return not_known
    try:
        facts = figures(read_json(folder / TRAINING_FILE))
        settings: Mapping[str, Any] = read_json(folder / SETTINGS_FILE)
    except (OSError, ValueError):
        return not_known
    further = {key: value for key, value in facts.items() if key in not_known}
    if not further:
        further = shared_costs(settings.get("world_model"), (*above, folder))
    return {
        f"world_model_{name}": add(facts.get(name), further.get(f"world_model_{name}"))
        for name in names
    }


def add(*values: float | None) -> float | None:
    """Their sum; not known where one of them is not."""
    return None if None in values else sum(value for value in values if value is not None)
