"""The kinds of models that are shared, and what their folders have of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vlsafe_agents.training.settings import MODEL_FILE


@dataclass(frozen=True)
class SharedKind:
    """One kind of model.

    Args:
        model: the model's file.
        template: of the card's text, in this folder.
        title: of the card, with ``{who}`` and ``{env_id}``.
        unknown: the title where no settings are known.
        tags: on the Hub.
        kept: empty ones, by name, of the facts that only whoever measured them can tell; they go
            with a model that is shared again.
    """

    model: str
    template: str
    title: str
    unknown: str
    tags: tuple[str, ...]
    kept: Mapping[str, Any]


_TAGS = ("reinforcement-learning", "safe-rl", "driving")
AGENT = SharedKind(
    MODEL_FILE,
    "card.md.j2",
    "{who} on {env_id}",
    "A trained agent",
    (*_TAGS, "stable-baselines3"),
    {"data": None, "evaluations": []},
)
RISK = SharedKind(
    "risk.zip",
    "risk_card.md.j2",
    "Risk model for {env_id}",
    "A risk model",
    (*_TAGS, "safety-shield"),
    {"evaluations": [], "examined": [], "commands": []},
)
