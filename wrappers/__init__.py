"""Scorers, which turn frames into a safety score, and the wrapper that makes it a cost.

This package imports no other package of the project, so it works with any Gymnasium environment.
``ClipScorer`` is loaded on first use, because it needs PyTorch and ``transformers``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wrappers.calibrated import CalibratedScorer, Calibration, fit_calibration, held_out
from wrappers.contrast import ContrastScorer
from wrappers.controls import ConstantScorer, RandomScorer, ShuffledScorer
from wrappers.ensemble import EnsembleScorer
from wrappers.forms import fit_temperature
from wrappers.frame_windows import FrameHistory, context_frames, window_indices
from wrappers.function_scorer import FunctionScorer
from wrappers.oracle import OracleConfig, OracleScorer, safety_degree
from wrappers.prompts import Prompts
from wrappers.registry import known_scorers, make_scorer
from wrappers.scorer import SafetyScorer
from wrappers.vlm_cost import FrameCost, FrameJudge, VLMCost, combine_cost, cost_from_score
from wrappers.window_scorer import WindowScorer

if TYPE_CHECKING:
    from wrappers.clip_scorer import ClipScorer

__all__ = [
    "CalibratedScorer",
    "Calibration",
    "ClipScorer",
    "ConstantScorer",
    "ContrastScorer",
    "EnsembleScorer",
    "FrameCost",
    "FrameHistory",
    "FrameJudge",
    "FunctionScorer",
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
        from wrappers.clip_scorer import ClipScorer

        return ClipScorer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
