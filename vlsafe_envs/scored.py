"""Environments, and batches of them, whose frames are scored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym

from vlsafe_envs.checks import check_choice, check_integer, shown
from wrappers.vlm_cost import COST_MODES


def scored(env: gym.Env[Any, Any], scorer: Any, cost: str) -> gym.Env[Any, Any]:
    """``env`` with a scorer of every frame, or ``env`` itself when ``scorer`` is ``None``."""
    if scorer is None:
        return env
    from wrappers import VLMCost

    check_scorer(scorer)
    return VLMCost(env, scorer, cost=cost)


def check_cost(cost: Any, scorer: Any) -> None:
    """Raise ``ValueError`` unless ``info["cost"]`` can be made in this way."""
    check_choice("cost", cost, COST_MODES)
    if cost == "vlm" and scorer is None:
        raise ValueError("cost='vlm' needs a scorer: give one, or leave out scorer=None")


def check_scorer(scorer: Any) -> None:
    """Raise ``ValueError`` for what can be no scorer, or asks for no number of pixels or frames."""
    if isinstance(scorer, str | Path):
        return
    if isinstance(scorer, type) or not callable(scorer):
        raise ValueError(
            f"scorer={shown(scorer)}: give the name of a scorer, such as 'bundled', an object with "
            "__call__(frames, infos) and an `identity`, or None for none"
        )
    for name in ("frame_size", "context_frames"):
        value = getattr(scorer, name, None)
        if value is not None:
            check_integer(f"scorer.{name}", value, 1, 4096)
