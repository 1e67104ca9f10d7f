"""Who an agent is, by what was written down of it, never by what its folder is called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vlsafe_agents.algorithms import ALGORITHMS

# The order of rows; agents of one role follow each other by the names of their folders.
KEYS = (
    "expert",
    "driver",  # any other that comes with the environments
    *(key for row in ALGORITHMS.values() for key in row.roles or (row.name,)),
    "risk",  # a risk model that drives
    "other",  # an algorithm that is none of ours
    "unknown",
    "world_model",  # all its updates went into the model, so that nobody need drive by it
)


@dataclass(frozen=True)
class Role:
    """What an agent is; ``label`` is empty where that is not known."""

    key: str  # one of KEYS
    label: str = ""

    def titled(self, name: str) -> str:
        """The label with the folder's name, by which agents of one role are told apart."""
        return f"{self.label} ({name})" if self.label else name

    @property
    def explained(self) -> str:
        """The label, or that there is none."""
        return self.label or "algorithm not known"


UNKNOWN = Role("unknown")
RISK_PLANNER = Role("risk", "Risk planner")
_NO_ALGORITHMS = {RISK_PLANNER.key: RISK_PLANNER}  # what learns, and is no agent by itself


def role_of(kind: str | None, agent: str | None, settings: Mapping[str, Any] | None) -> Role:
    """The role of an agent.

    Args:
        kind: "driver" for one that comes with the environments, "agent" for one that has learned.
        agent: a driver's name.
        settings: what an agent was trained with, as in ``settings.json``.
    """
    if kind == "driver":
        return Role("expert", "Expert (rule-based)") if agent == "expert" else _driver(agent)
    stored = settings or {}
    algorithm = stored.get("algo")
    if not isinstance(algorithm, str):
        return UNKNOWN
    if algorithm in _NO_ALGORITHMS:
        return _NO_ALGORITHMS[algorithm]
    row = ALGORITHMS.get(algorithm)
    if row is None:
        package, _, name = algorithm.rpartition(":")
        return Role("other", f"{name} ({package})" if package else algorithm)
    return Role(row.name, row.label) if row.role is None else Role(*row.role(stored))


def _driver(name: str | None) -> Role:
    return Role("driver", f"Driver {name}" if name else "Driver")
