"""Traffic in compiled code: highway-env's rules over arrays, the same trajectories, far faster."""

from __future__ import annotations

from vlsafe_envs.simulators.engine.compiled_traffic import CompiledTraffic, supports

__all__ = ["CompiledTraffic", "supports"]
