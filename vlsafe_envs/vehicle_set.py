"""The vehicles around the ego vehicle as a set: the observation ``"vehicles"``.

One row for each of the 16 nearest vehicles (on MetaDrive also objects on the road) within 100 m of
the ego vehicle, nearest first, float32 ``(16, 14)``.  Rows without a vehicle are 0.  Positions and
velocities are in the ego vehicle's frame: *ahead* along its heading, *right* to its right side.

===== ===================== ========================================================== ===========
index feature               meaning                                                    bounds
===== ===================== ========================================================== ===========
0     present               1 for a vehicle; 0: nobody, and the whole row is 0         0, 1
1     ahead                 of its centre from the ego vehicle's [m]                   -100, 100
2     right                 likewise [m]                                               -100, 100
3     velocity_ahead        minus the ego vehicle's [m/s]                              -80, 80
4     velocity_right        likewise [m/s]                                             -80, 80
5     heading_cos           cosine of its heading minus the ego vehicle's              -1, 1
6     heading_sin           sine of it, right positive                                 -1, 1
7     length                [m]                                                        0, 30
8     width                 [m]                                                        0, 30
9-13  plan_distance_1s ...  least distance of its centre, at constant velocity, from   0, 200
                            the ego vehicle's plan in the 1st, ... 5th second [m]
===== ===================== ========================================================== ===========

The plan says what going ahead would come to, minding nobody: along the route, from the present
speed to the scenario's ``cruise_speed`` at 5 m/s2, as the macro-action ``go``; without a route
straight along the lane, at 2 m/s2.  It is looked at five times a second, and is straight in
between.  Of a vehicle that waits, the distances at its own speed would say nothing.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from vlsafe_envs.scene import Scene
from vlsafe_envs.simulator import EgoStatus
from vlsafe_envs.simulators.engine.neighbours import RANGE
from vlsafe_envs.simulators.engine.vehicle_set import (
    HORIZON,
    LARGEST_BODY,
    LARGEST_DISTANCE,
    LARGEST_SPEED,
    VEHICLE_SIZE,
    VEHICLES,
    write_vehicles,
)

VEHICLE_SET_FEATURES = (
    "present",
    "ahead",
    "right",
    "velocity_ahead",
    "velocity_right",
    "heading_cos",
    "heading_sin",
    "length",
    "width",
    *(f"plan_distance_{second + 1}s" for second in range(HORIZON)),
)
_SIGNED = (RANGE, RANGE, LARGEST_SPEED, LARGEST_SPEED, 1.0, 1.0)
_POSITIVE = (LARGEST_BODY, LARGEST_BODY, *(LARGEST_DISTANCE,) * HORIZON)
_LOW = (0.0, *(-bound for bound in _SIGNED), *(0.0,) * len(_POSITIVE))
_HIGH = (1.0, *_SIGNED, *_POSITIVE)


def vehicles_space() -> spaces.Box:
    """``Box (16, 14)`` with the bounds above."""
    low, high = (np.tile(np.array(bounds, np.float32), (VEHICLES, 1)) for bounds in (_LOW, _HIGH))
    return spaces.Box(low, high, dtype=np.float32)


def plan_contact(vehicles: npt.NDArray[np.float32], within: float) -> float:
    """Seconds until somebody may be within ``within`` [m] of the ego vehicle's plan, ``inf``: none.

    Whole ones, rounded down, and centre from centre; ``vehicles`` is the set described above.
    """
    distances = vehicles[vehicles[:, 0] > 0.5, 9:]  # (N, 5)
    near = (distances < within).any(0)  # (5,)
    return float(near.argmax()) if near.any() else np.inf


def vehicle_set(scene: Scene, ego: EgoStatus, cruise_speed: float) -> npt.NDArray[np.float32]:
    """The set described above, float32 ``(16, 14)``.

    Args:
        scene: where everything is.
        ego: facts about the ego vehicle.
        cruise_speed: [m/s] that the ego vehicle's plan comes to.
    """
    out = np.empty((VEHICLES, VEHICLE_SIZE), np.float32)
    columns, route = scene.columns, scene.route
    write_vehicles(columns, columns.shape[1], ego, route, len(route), float(cruise_speed), out)
    return out
