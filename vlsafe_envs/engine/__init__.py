"""Traffic in compiled code: highway-env's rules over arrays, the same trajectories, far faster."""

from __future__ import annotations

from ..scenarios import SCENARIO_NAMES, TrafficConfig
from .code_cache import drop_stale_code
from .compiled_traffic import CompiledTraffic
from .simulation import simulate

__all__ = ["CompiledTraffic", "supports"]

drop_stale_code(simulate)


def supports(config: TrafficConfig) -> bool:
    """Whether the engine can simulate this traffic."""
    return type(config) is TrafficConfig and config.scenario in SCENARIO_NAMES
