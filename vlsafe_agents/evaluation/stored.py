"""Reading what `vlsafe evaluate` and `vlsafe train` have written down of an agent."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from vlsafe_agents.evaluation.evaluate import TRAINING_FIGURES
from vlsafe_agents.evaluation.intervals import summarise
from vlsafe_agents.evaluation.metrics import EpisodeRecord
from wrappers.files import read_json

SETTINGS_FILE, TRAINING_FILE = "settings.json", "training.json"
SAME = ("env_id", "env_kwargs", "seeds")  # of evaluations that may be compared
REMEDY = "evaluate the agent again with `vlsafe evaluate`"
_KINDS: dict[str, type | tuple[type, ...]] = {
    "agent": str,
    "kind": (str, type(None)),
    "settings": (dict, type(None)),
    "env_id": str,
    "env_kwargs": dict,
    "options": dict,
    "seeds": list,
    "episodes": list,
    "training": (dict, type(None)),
}
_NEEDED = ("env_id", "env_kwargs", "seeds", "episodes")

Figures = Mapping[str, float | None]


@dataclass(frozen=True)
class StoredEvaluation:
    """The contents of an `evaluation.json`; None or empty stands for what it does not say."""

    agent: str | None
    kind: str | None  # "driver" or "agent"
    settings: Mapping[str, Any] | None  # that the agent was trained with
    env_id: str
    env_kwargs: Mapping[str, Any]
    seeds: Sequence[int]
    records: tuple[EpisodeRecord, ...]  # one a seed
    options: Mapping[str, Any] = field(default_factory=dict)  # how it was evaluated
    training: Figures = field(default_factory=dict)  # what learning cost

    def differs_in(self, other: StoredEvaluation) -> str | None:
        """What keeps two evaluations from standing in one table; None where nothing does."""
        return next((k for k in SAME if getattr(self, k) != getattr(other, k)), None)

    @cached_property
    def summary(self) -> dict[str, dict[str, float | None]]:
        """Every metric with its interval, computed from the episodes."""
        return summarise(self.records)


def read_evaluation(path: Path) -> StoredEvaluation:
    """Read a file that `vlsafe evaluate` has written.

    Raises ``FileNotFoundError`` where there is none and ``ValueError`` for any other file; both
    name it.
    """
    content = read_json(path, dict, REMEDY)
    missing = [key for key in _NEEDED if key not in content]
    if missing:
        raise ValueError(f"{path} is no evaluation: it lacks {', '.join(missing)}; {REMEDY}")
    for key, kind in _KINDS.items():
        if key in content and not isinstance(content[key], kind):
            raise ValueError(f"{path} has an entry {key!r} of another kind; {REMEDY}")
    try:
        records = tuple(EpisodeRecord.from_json(entry) for entry in content["episodes"])
        training = figures(content.get("training") or {})
    except ValueError as error:
        raise ValueError(f"{path} cannot be used: {error} {REMEDY.capitalize()}.") from None
    seeds = content["seeds"]
    if not records or len(seeds) != len(records) or not all(type(seed) is int for seed in seeds):
        raise ValueError(f"{path} does not hold an episode for each of its seeds; {REMEDY}")
    if "kind" not in content and not any(training.values()):
        training = {}  # before kinds were written down, 0 stood for what was not known
    return StoredEvaluation(
        agent=content.get("agent"),
        kind=content.get("kind"),
        settings=content.get("settings"),
        env_id=content["env_id"],
        env_kwargs=content["env_kwargs"],
        seeds=tuple(seeds),
        records=records,
        options=content.get("options", {}),
        training=training,
    )


def figures(facts: Mapping[str, Any]) -> dict[str, float | None]:
    """Those of `TRAINING_FIGURES` that are there.

    Raises ``ValueError`` for one that is no number.
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
