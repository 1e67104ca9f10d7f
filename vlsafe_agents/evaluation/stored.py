"""Reading what `vlsafe evaluate` and `vlsafe train` have written down of an agent."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from vlsafe_agents.evaluation.intervals import summarise
from vlsafe_agents.evaluation.metrics import EpisodeRecord
from vlsafe_agents.training.facts import figures
from wrappers.files import read_json

SAME = ("env_id", "env_kwargs", "seeds")  # of evaluations that may be compared
STOCHASTIC_SUFFIX = "_stochastic"  # of the file of drives whose actions were sampled
REMEDY = "evaluate the agent again with `vlsafe evaluate`"
_KINDS: dict[str, type | tuple[type, ...]] = {
    "agent": str,
    "kind": (str, type(None)),
    "settings": (dict, type(None)),
    "env_id": str,
    "env_kwargs": dict,
    "options": dict,
    "shielded": (dict, type(None)),
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
    shielded: Mapping[str, Any] | None = None  # by what its actions were checked

    def differs_in(self, other: StoredEvaluation) -> str | None:
        """What keeps two evaluations from standing in one table; None where nothing does."""
        return next((k for k in SAME if getattr(self, k) != getattr(other, k)), None)

    @property
    def shield(self) -> str:
        """What it was shielded by, for a name, see :func:`shield_name`; empty without a shield."""
        return "" if self.shielded is None else shield_name(self.shielded)

    @property
    def cost_limit(self) -> float | None:
        """The limit that an agent for a range of them drove under; None of other agents."""
        limit = self.options.get("cost_limit")
        return None if isinstance(limit, bool) or not isinstance(limit, int | float) else limit

    @property
    def stochastic(self) -> bool:
        """Whether its actions were sampled; otherwise they were the likeliest."""
        return self.options.get("stochastic") is True

    @property
    def conditions(self) -> str:
        """What it drove under but for the environment, for a name; empty without any of it."""
        limit = "" if self.cost_limit is None else f"limit {self.cost_limit:g}"
        sampled = "stochastic" if self.stochastic else ""
        return ", ".join(part for part in (sampled, limit, self.shield) if part)

    @cached_property
    def summary(self) -> dict[str, dict[str, float | None]]:
        """Every metric with its interval, computed from the episodes."""
        return summarise(self.records)


def shield_name(shielded: Mapping[str, Any]) -> str:
    """A shield in a few words, of what an evaluation says of it: risk model and threshold."""
    threshold = shielded.get("threshold")
    known = isinstance(threshold, int | float) and not isinstance(threshold, bool)
    return f"shield {Path(str(shielded.get('model'))).name} {threshold:g}" if known else "shield"


def limit_suffix(limit: float) -> str:
    """What a limit that was asked for adds to the name of an evaluation's file."""
    return f"_limit_{limit:g}"


def shield_suffix(shielded: Mapping[str, Any]) -> str:
    """What a shield adds to the name of an evaluation's file."""
    return "_" + re.sub(r"[^\w.-]", "-", shield_name(shielded))


def read_evaluation(path: Path) -> StoredEvaluation:
    """Read a file that `vlsafe evaluate` has written.

    Raises:
        FileNotFoundError: where there is none.
        ValueError: for any other file; both name it.
    """
    return evaluation_of(read_json(path, dict, REMEDY), str(path))


def evaluation_of(content: Mapping[str, Any], path: str) -> StoredEvaluation:
    """The contents of such a file.

    Args:
        path: where they were found, for messages.

    Raises:
        ValueError: for any other contents.
    """
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
        shielded=content.get("shielded"),
    )
