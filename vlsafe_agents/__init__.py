"""Agents that learn to drive safely, and what is needed to feed and to judge them.

``VLSafe``, ``PPOLag`` and ``BC`` are loaded when first asked for, so that reading a data set does
not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vlsafe_agents.bc import BC
    from vlsafe_agents.ppo_lag import PPOLag
    from vlsafe_agents.vlsafe import VLSafe

__all__ = ["BC", "PPOLag", "VLSafe"]

_HOMES = {"BC": "bc", "PPOLag": "ppo_lag", "VLSafe": "vlsafe"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
