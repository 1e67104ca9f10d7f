"""Traffic in compiled code: highway-env's rules over arrays, the same trajectories, far faster."""

from __future__ import annotations

from ..scenarios import SCENARIO_NAMES, TrafficConfig
from .compiled_traffic import CompiledTraffic

__all__ = ["CompiledTraffic", "supports"]


def supports(config: TrafficConfig) -> bool:
    """Whether the engine can simulate this traffic."""
    return type(config) is TrafficConfig and config.scenario in SCENARIO_NAMES
