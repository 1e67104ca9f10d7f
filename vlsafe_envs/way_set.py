"""How near the ways that others may take come to the ego vehicle's: the observation ``"ways"``.

On roads with a route: one row for each row of ``"vehicles"`` (see ``vehicle_set``), float32
``(16, 21)``.  Rows without a vehicle are 0.  A *way* is one that a vehicle may take by its pose,
its speed and the road: along its lane, every way on from a crossing, and over to the lane beside
where it drives askew.  Of a vehicle that turns, its velocity alone says where it will not be.

===== ======================== ======================================================= ===========
index feature                  meaning                                                 bounds
===== ======================== ======================================================= ===========
0-4   go_separation_1s ...     least separation in the 1st, ... 5th second [m] of its  -10, 60
                               body, at its present speed on any of its ways, from the
                               ego vehicle's that goes ahead
5-9   peek_separation_1s ...   likewise, from one that goes for 0.5 s and then brakes  -10, 60
10-14 hold_separation_1s ...   likewise, from one that brakes                          -10, 60
15-17 go_hurried ...           least separation within 5 s [m] from an ego vehicle     -10, 60
                               that goes, peeks, holds, if it drives on at its present
                               speed or speeds up by 2 m/s2 to 30 km/h
18-20 go_touching ...          share of its ways on which it touches the ego vehicle   0, 1
                               that goes, peeks, holds, within 5 s in either case
===== ======================== ======================================================= ===========

The *separation* of two bodies is the largest gap along the axes of either: below 0 they overlap.
The ego vehicle keeps to its route, past accidents on lanes that are free; going ahead it comes to
the scenario's ``cruise_speed`` as fast as it can, and it brakes by 5 m/s2.  All is looked at ten
times a second.  Vehicles beyond what the simulator knows ways of (60 m on MetaDrive's maps) are as
far away as can be.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from vlsafe_envs.scene import Scene
from vlsafe_envs.simulator import RouteSimulator
from vlsafe_envs.simulators.engine.vehicle_set import HORIZON, VEHICLES
from vlsafe_envs.simulators.paths.paths import PossibleWays
from vlsafe_envs.simulators.paths.way_set import (
    FARTHEST,
    NEAREST,
    PLANS,
    WAY_SIZE,
    write_ways,
)

_PLANS = ("go", "peek", "hold")
WAY_FEATURES = (
    *(f"{plan}_separation_{second + 1}s" for plan in _PLANS for second in range(HORIZON)),
    *(f"{plan}_hurried" for plan in _PLANS),
    *(f"{plan}_touching" for plan in _PLANS),
)
_SEPARATIONS = PLANS * (HORIZON + 1)


class WaySimulator(RouteSimulator, Protocol):
    """A simulator that knows which ways the others may take."""

    def possible_ways(self) -> PossibleWays:
        """Where the others may be going, by their poses, their speeds and the road."""

    @property
    def way_ahead(self) -> npt.NDArray[np.float64]:
        """Points ``(K, 2)`` [m] of the way that going ahead takes, as ``Scene.route``."""

    @property
    def full_acceleration(self) -> float:
        """The most that the ego vehicle can speed up by [m/s2]."""


def ways_space() -> spaces.Box:
    """``Box (16, 21)`` with the bounds above."""
    low, high = np.zeros((2, VEHICLES, WAY_SIZE), np.float32)
    low[:, :_SEPARATIONS], high[:, :_SEPARATIONS] = NEAREST, FARTHEST
    high[:, _SEPARATIONS:] = 1.0
    return spaces.Box(low, high, dtype=np.float32)


def way_set(simulator: WaySimulator, scene: Scene, cruise_speed: float) -> npt.NDArray[np.float32]:
    """The numbers described above, float32 ``(16, 21)``.

    Args:
        simulator: knows the ways.
        scene: where everything is in it.
        cruise_speed: [m/s] that going ahead comes to.
    """
    out = np.empty((VEHICLES, WAY_SIZE), np.float32)
    columns, speeds = scene.columns, (float(cruise_speed), float(simulator.full_acceleration))
    ahead, ways = simulator.way_ahead, simulator.possible_ways()
    write_ways(columns, columns.shape[1], ahead, *speeds, ways, out)
    return out
