"""Eyes that judge: scorers that turn frames into a safety probability, and the wrapper that uses
them.

This package imports no other package of the project, so it works with any Gymnasium environment.
``ClipScorer`` is loaded on first use, because it needs PyTorch and ``transformers``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .controls import ConstantScorer, ShuffledScorer
from .oracle import OracleConfig, OracleScorer, safety_degree
from .scorer import SafetyScorer, make_scorer
from .vlm_cost import FrameJudge, VLMCost, combine_cost, cost_from_score

if TYPE_CHECKING:
    from .clip_scorer import ClipScorer

__all__ = [
    "ClipScorer",
    "ConstantScorer",
    "FrameJudge",
    "OracleConfig",
    "OracleScorer",
    "SafetyScorer",
    "ShuffledScorer",
    "VLMCost",
    "combine_cost",
    "cost_from_score",
    "make_scorer",
    "safety_degree",
]


def __getattr__(name: str) -> Any:
    if name == "ClipScorer":
        from .clip_scorer import ClipScorer

        return ClipScorer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
