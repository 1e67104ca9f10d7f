"""Traffic in compiled code: highway-env's rules over arrays, the same trajectories, far faster."""

from __future__ import annotations

from .code_cache import drop_stale_code
from .compiled_traffic import CompiledTraffic, supports
from .simulation import simulate

__all__ = ["CompiledTraffic", "supports"]

drop_stale_code(simulate)
