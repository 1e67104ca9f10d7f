"""The vector observation of one scene (see ``vlsafe_envs.observations``)."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from vlsafe_envs.simulator import EgoStatus
from vlsafe_envs.simulators.engine.gaps import Columns
from vlsafe_envs.simulators.engine.neighbours import FEATURES, OTHERS, SLOTS, neighbours
from vlsafe_envs.simulators.engine.state import compiled

EGO_FEATURES = 16
SIZE = EGO_FEATURES + SLOTS * FEATURES
CROSSING_SIZE = SIZE + OTHERS * FEATURES  # where ways cross
ROUTE_NEAR, ROUTE_FAR = 2, 9  # route points are 4 m apart: 12 m and 40 m ahead


@compiled
def write_features(
    columns: Columns,
    total: int,
    ego: EgoStatus,
    route: npt.NDArray[np.float64],
    points: int,
    out: npt.NDArray[np.float32],
) -> None:
    """Write the vector observation into ``out (107,)``, or longer with the others behind.

    The scene has ``total`` road users, and ``points`` route points in ``route (K, 2)`` [m].
    """
    write_ego(columns, ego, route, points, out[:EGO_FEATURES])
    slots = out[EGO_FEATURES:]  # a view
    rows = slots.reshape(slots.size // FEATURES, FEATURES)
    neighbours(columns, total, ego.lane_heading_error, ego.lane_offset, rows)
    _clip(slots)


@compiled
def write_ego(
    columns: Columns,
    ego: EgoStatus,
    route: npt.NDArray[np.float64],
    points: int,
    out: npt.NDArray[np.float32],
) -> None:
    """Write what the vector says of the ego vehicle and its way into ``out (16,)``."""
    out[0], out[1], out[2] = ego.speed / 40, ego.forward_speed / 40, ego.lane_offset / 4
    out[3], out[4] = math.sin(ego.lane_heading_error), math.cos(ego.lane_heading_error)
    out[5], out[6] = ego.acceleration / 10, ego.steering / (math.pi / 3)
    out[7] = ego.target_speed / 40
    out[8], out[9] = ego.lane_id / 4, (ego.lanes - 1 - ego.lane_id) / 4
    out[10] = ego.target_lane_id - ego.lane_id
    out[11:EGO_FEATURES] = 0.0
    if points > 0:
        out[11] = 1.0
        _write_bearing(columns, route[min(ROUTE_NEAR, points - 1)], out[12:14])
        _write_bearing(columns, route[min(ROUTE_FAR, points - 1)], out[14:16])
    _clip(out)


@compiled
def _clip(out: npt.NDArray[np.float32]) -> None:
    for k in range(out.size):
        out[k] = min(max(out[k], np.float32(-1.0)), np.float32(1.0))


@compiled
def _write_bearing(
    columns: Columns, point: npt.NDArray[np.float64], out: npt.NDArray[np.float32]
) -> None:
    """Sine and cosine of a point's bearing from the ego vehicle, right positive."""
    dx, dy = point[0] - columns[0, 0], point[1] - columns[1, 0]
    cos, sin = math.cos(columns[2, 0]), math.sin(columns[2, 0])
    distance = max(math.hypot(dx, dy), 1e-6)
    out[0], out[1] = (dy * cos - dx * sin) / distance, (dx * cos + dy * sin) / distance
