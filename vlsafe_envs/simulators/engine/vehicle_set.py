"""The nearest vehicles of one scene as a set (see ``vlsafe_envs.vehicle_set``)."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from vlsafe_envs.simulator import EgoStatus
from vlsafe_envs.simulators.engine.commands import MAX_ACCELERATION
from vlsafe_envs.simulators.engine.gaps import Columns
from vlsafe_envs.simulators.engine.nearest import nearest
from vlsafe_envs.simulators.engine.neighbours import RANGE
from vlsafe_envs.simulators.engine.state import compiled, compiled_core

VEHICLES = 16
HORIZON = 5  # [s] of the ego vehicle's way ahead
LOOKS = 5  # at it, a second
LANE_ACCELERATION = 2.0  # [m/s2] of the ego vehicle's plan along a lane
ROUTE_ACCELERATION = MAX_ACCELERATION  # [m/s2] along a route, as the macro-action "go"
VEHICLE_SIZE = 9 + HORIZON  # features of one vehicle
LARGEST_SPEED = 80.0  # [m/s], of two vehicles relative to each other
LARGEST_BODY = 30.0  # [m]
LARGEST_DISTANCE = 200.0  # [m], to the plan

Points = npt.NDArray[np.float64]


@compiled
def write_vehicles(
    columns: Columns,
    total: int,
    ego: EgoStatus,
    route: Points,
    points: int,
    cruise_speed: float,
    out: npt.NDArray[np.float32],
) -> None:
    """Write the set into ``out (16, 14)``; rows without a vehicle are 0.

    The scene has ``total`` road users, and ``points`` route points in ``route (K, 2)`` [m];
    ``cruise_speed`` [m/s] is what the ego vehicle's plan comes to.
    """
    out[:] = 0.0
    order = np.empty(VEHICLES, np.int64)
    found = nearest(columns, 1, total, RANGE, order, np.empty(VEHICLES))
    if found == 0:
        return
    plan = np.empty((HORIZON * LOOKS, 2))
    lane_heading = columns[2, 0] - ego.lane_heading_error
    _write_plan(columns, lane_heading, route, points, cruise_speed, plan)
    for place in range(found):
        _write_vehicle(columns, order[place], plan, out[place])


@compiled_core
def _write_vehicle(columns: Columns, k: int, plan: Points, row: npt.NDArray[np.float32]) -> None:
    heading, speed = columns[2, 0], columns[3, 0]
    cos, sin = math.cos(heading), math.sin(heading)
    dx, dy = columns[0, k] - columns[0, 0], columns[1, k] - columns[1, 0]
    velocity_x = columns[3, k] * math.cos(columns[2, k])
    velocity_y = columns[3, k] * math.sin(columns[2, k])
    drift_x, drift_y = velocity_x - speed * cos, velocity_y - speed * sin
    row[0] = 1.0
    row[1], row[2] = dx * cos + dy * sin, dy * cos - dx * sin  # within RANGE
    row[3] = _within(drift_x * cos + drift_y * sin, LARGEST_SPEED)
    row[4] = _within(drift_y * cos - drift_x * sin, LARGEST_SPEED)
    row[5], row[6] = math.cos(columns[2, k] - heading), math.sin(columns[2, k] - heading)
    row[7], row[8] = min(columns[4, k], LARGEST_BODY), min(columns[5, k], LARGEST_BODY)
    from_x, from_y = dx, dy  # of its centre from the ego vehicle's in the plan, at the last look
    for second in range(HORIZON):
        least = LARGEST_DISTANCE
        for look in range(second * LOOKS, (second + 1) * LOOKS):
            time = (look + 1) / LOOKS
            x = columns[0, k] + velocity_x * time - plan[look, 0]
            y = columns[1, k] + velocity_y * time - plan[look, 1]
            least = min(least, _from_origin(from_x, from_y, x, y))
            from_x, from_y = x, y
        row[9 + second] = least


@compiled_core
def _from_origin(from_x: float, from_y: float, x: float, y: float) -> float:
    """Least distance of (0, 0) from the straight way between two points."""
    way_x, way_y = x - from_x, y - from_y
    squared = way_x * way_x + way_y * way_y
    share = 0.0
    if squared > 0.0:
        share = min(max(-(from_x * way_x + from_y * way_y) / squared, 0.0), 1.0)
    return math.hypot(from_x + share * way_x, from_y + share * way_y)


@compiled_core
def _within(value: float, limit: float) -> float:
    return min(max(value, -limit), limit)


@compiled_core
def _write_plan(
    columns: Columns,
    lane_heading: float,
    route: Points,
    points: int,
    cruise_speed: float,
    plan: Points,
) -> None:
    """Where the ego vehicle will be, ``plan (25, 2)`` [m], if it goes ahead minding nobody.

    Along its route, whose last piece goes straight on, or along its lane's heading without one;
    its speed comes to ``cruise_speed`` at ``LANE_ACCELERATION`` or ``ROUTE_ACCELERATION``.
    """
    x, y, speed = columns[0, 0], columns[1, 0], columns[3, 0]
    towards_x, towards_y = math.cos(lane_heading), math.sin(lane_heading)
    passed, piece, k = 0.0, math.inf, 0  # way to (x, y), length of the piece from there, its end
    acceleration = LANE_ACCELERATION
    if points > 0:
        acceleration = ROUTE_ACCELERATION
        piece = math.hypot(route[0, 0] - x, route[0, 1] - y)
    for look in range(HORIZON * LOOKS):
        way = way_driven(speed, cruise_speed, acceleration, (look + 1) / LOOKS)
        while k < points and way - passed >= piece:
            passed += piece
            x, y, k = route[k, 0], route[k, 1], k + 1
            if k < points:
                piece = math.hypot(route[k, 0] - x, route[k, 1] - y)
            elif points > 1:
                towards_x, towards_y = x - route[k - 2, 0], y - route[k - 2, 1]
        along_x, along_y = towards_x, towards_y
        if k < points:
            along_x, along_y = route[k, 0] - x, route[k, 1] - y
        length = max(math.hypot(along_x, along_y), 1e-6)
        plan[look, 0] = x + along_x / length * (way - passed)
        plan[look, 1] = y + along_y / length * (way - passed)


@compiled_core
def way_driven(speed: float, wanted: float, acceleration: float, time: float) -> float:
    """Metres driven in ``time`` [s] if the speed comes to ``wanted`` [m/s] and stays there."""
    change = acceleration if wanted > speed else -acceleration
    there = min((wanted - speed) / change, time)
    return speed * there + change * there * there / 2 + wanted * (time - there)
