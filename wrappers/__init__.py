"""Eyes that judge: scorers that turn frames into a safety probability, and the wrapper that uses
them.

This package imports no other package of the project, so it works with any Gymnasium environment.
``ClipScorer`` is loaded on first use, because it needs PyTorch and ``transformers``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .calibrated import CalibratedScorer, Calibration, fit_calibration, held_out
from .controls import ConstantScorer, RandomScorer, ShuffledScorer
from .ensemble import EnsembleScorer
from .forms import fit_temperature
from .frame_windows import FrameHistory, context_frames, window_indices
from .oracle import OracleConfig, OracleScorer, safety_degree
from .prompts import Prompts
from .registry import known_scorers
from .scorer import SafetyScorer, make_scorer
from .vlm_cost import FrameJudge, VLMCost, combine_cost, cost_from_score
from .window_scorer import WindowScorer

if TYPE_CHECKING:
    from .clip_scorer import ClipScorer

__all__ = [
    "CalibratedScorer",
    "Calibration",
    "ClipScorer",
    "ConstantScorer",
    "EnsembleScorer",
    "FrameHistory",
    "FrameJudge",
    "OracleConfig",
    "OracleScorer",
    "Prompts",
    "RandomScorer",
    "SafetyScorer",
    "ShuffledScorer",
    "VLMCost",
    "WindowScorer",
    "combine_cost",
    "context_frames",
    "cost_from_score",
    "fit_calibration",
    "fit_temperature",
    "held_out",
    "known_scorers",
    "make_scorer",
    "safety_degree",
    "window_indices",
]


def __getattr__(name: str) -> Any:
    if name == "ClipScorer":
        from .clip_scorer import ClipScorer

        return ClipScorer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
