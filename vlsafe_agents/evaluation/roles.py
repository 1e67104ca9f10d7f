"""Who an agent is, by what was written down of it, never by what its folder is called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_ALGORITHMS = {"ppo_lag": "PPO-Lag", "ppo": "PPO", "bc": "Behaviour cloning"}
_UPDATES = {"gated": "VLSafe gated", "lagrangian": "VLSafe Lagrangian"}
# The order of rows; agents of one role follow each other by the names of their folders.
KEYS = (
    "expert",
    "driver",  # any other that comes with the environments
    "bc",
    "ppo_lag",
    "ppo",
    "vlsafe",
    "control",  # VLSafe with a constant for the judge's score
    "cost_blind",
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


def role_of(kind: str | None, agent: str | None, settings: Mapping[str, Any] | None) -> Role:
    """The role of an agent.

    Args:
        kind: "driver" for one that comes with the environments, "agent" for one that has learned.
        agent: a driver's name.
        settings: what an agent was trained with, as in ``settings.json``.
    """
    if kind == "driver":
        return Role("expert", "Expert (rule-based)") if agent == "expert" else _driver(agent)
    algorithm = (settings or {}).get("algo")
    if not isinstance(algorithm, str):
        return UNKNOWN
    if algorithm == "vlsafe":
        return _vlsafe(settings or {})
    label = _ALGORITHMS.get(algorithm)
    return Role(algorithm, label) if label else Role("other", algorithm)


def _driver(name: str | None) -> Role:
    return Role("driver", f"Driver {name}" if name else "Driver")


def _vlsafe(settings: Mapping[str, Any]) -> Role:
    options, config = (settings.get(key) or {} for key in ("options", "config"))
    if not (isinstance(options, Mapping) and isinstance(config, Mapping)):
        return Role("vlsafe", "VLSafe")
    if config.get("model_warmup") == 1.0:
        return Role("world_model", "World model only")
    update, safety = options.get("update"), options.get("safety", "score")
    if safety is None or update == "none":
        return Role("cost_blind", "Cost-blind")
    label = _UPDATES.get(str(update), "VLSafe")
    return Role("vlsafe", label) if safety == "score" else Role("control", f"{label}, p = {safety}")
