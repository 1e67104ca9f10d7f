"""Right of way at intersections, as in ``highway_env.road.regulation.RegulatedRoad``."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from vlsafe_envs.simulators.engine.lanes import heading_at, local_coordinates, position_at
from vlsafe_envs.simulators.engine.state import (
    IDM,
    NO_LANE_ID,
    PLAIN,
    Integers,
    Records,
    RoadTable,
    compiled_core,
)

HORIZON = 11  # predictions, every 0.25 s up to 2.75 s
STEP = 0.25  # [s]

Poses = npt.NDArray[np.float64]  # (vehicles, HORIZON, 3): x, y [m], heading [rad]


@compiled_core
def _step_lane(table: RoadTable, road: int, lane_id: int, current: int) -> int:
    """The lane that a step of a route means for a vehicle now on lane ``current``."""
    if lane_id == NO_LANE_ID:
        lane_id = min(table.lanes[current].id, table.roads[road].lanes - 1)
    return table.roads[road].first_lane + lane_id


@compiled_core
def _predict_along_route(
    table: RoadTable, vehicles: Records, routes: Integers, i: int, out: Poses
) -> None:
    """Poses of vehicle ``i``, keeping its speed along its route."""
    me = vehicles[i]
    start, _ = local_coordinates(table.lanes, me.lane, me.x, me.y)
    for k in range(HORIZON):
        along = start + me.speed * (STEP * (k + 1))
        lane = me.lane
        if me.route_at < me.route_end:
            at = me.route_at
            lane = _step_lane(table, routes[i, at, 0], routes[i, at, 1], me.lane)
            while at + 1 < me.route_end and along > table.lanes[lane].length:
                along -= table.lanes[lane].length
                at += 1
                lane = _step_lane(table, routes[i, at, 0], routes[i, at, 1], me.lane)
        out[i, k, 0], out[i, k, 1] = position_at(table.lanes, lane, along, 0.0)
        out[i, k, 2] = heading_at(table.lanes, lane, along)


@compiled_core
def _predict_held(vehicles: Records, i: int, out: Poses) -> None:
    """Poses of a plain vehicle, keeping its speed and steering."""
    me = vehicles[i]
    beta = math.atan(0.5 * math.tan(me.steering))
    x, y, heading = me.x, me.y, me.heading
    for k in range(HORIZON):
        x += me.speed * math.cos(heading + beta) * STEP
        y += me.speed * math.sin(heading + beta) * STEP
        heading += me.speed * math.sin(beta) / (me.length / 2) * STEP
        out[i, k, 0], out[i, k, 1], out[i, k, 2] = x, y, heading


@compiled_core
def _point_inside(
    px: float, py: float, centre: npt.NDArray[np.float64], half_length: float, half_width: float
) -> bool:
    """highway-env's test, which turns the point by +heading instead of -heading."""
    c, s = math.cos(centre[2]), math.sin(centre[2])
    dx, dy = px - centre[0], py - centre[1]
    return abs(c * dx - s * dy) <= half_length and abs(s * dx + c * dy) <= half_width


@compiled_core
def _reaches_into(
    a: npt.NDArray[np.float64], b: npt.NDArray[np.float64], half_length: float, half_width: float
) -> bool:
    """Whether a corner, edge middle or the centre of rectangle ``a`` lies in ``b``."""
    c, s = math.cos(a[2]), math.sin(a[2])
    for i in range(-1, 2):
        for j in range(-1, 2):
            dx, dy = i * half_length, j * half_width
            px = c * dx - s * dy + a[0]
            py = s * dx + c * dy + a[1]
            if _point_inside(px, py, b, half_length, half_width):
                return True
    return False


@compiled_core
def _conflict(
    a: npt.NDArray[np.float64], b: npt.NDArray[np.float64], length: float, width: float
) -> bool:
    """Whether two predicted ways (HORIZON, 3) meet at the same time."""
    half_length, half_width = 1.5 * length / 2, 0.9 * width / 2
    for k in range(HORIZON):
        dx, dy = b[k, 0] - a[k, 0], b[k, 1] - a[k, 1]
        if math.sqrt(dx * dx + dy * dy) > length:
            continue
        if _reaches_into(a[k], b[k], half_length, half_width):
            return True
        if _reaches_into(b[k], a[k], half_length, half_width):
            return True
    return False


@compiled_core
def _who_yields(lanes: Records, vehicles: Records, i: int, j: int) -> int:
    """The vehicle on the lane of lower priority, else the one behind."""
    a, b = vehicles[i], vehicles[j]
    if lanes[a.lane].priority != lanes[b.lane].priority:
        return j if lanes[a.lane].priority > lanes[b.lane].priority else i
    a_to_b = a.cos * (b.x - a.x) + a.sin * (b.y - a.y)
    b_to_a = b.cos * (a.x - b.x) + b.sin * (a.y - b.y)
    return i if a_to_b > b_to_a else j


@compiled_core
def regulate(
    table: RoadTable, vehicles: Records, routes: Integers, count: int, poses: Poses
) -> None:
    """Release all yielding vehicles, then stop one of every two whose ways conflict."""
    for i in range(count):
        me = vehicles[i]
        if me.yielding != 0:
            me.target_speed = table.lanes[me.lane].speed_limit
            me.yielding = 0
        if me.kind == PLAIN:
            _predict_held(vehicles, i, poses)
        else:
            _predict_along_route(table, vehicles, routes, i, poses)
    for i in range(count):
        for j in range(i + 1, count):
            if not _conflict(poses[i], poses[j], vehicles[i].length, vehicles[i].width):
                continue
            loser = vehicles[_who_yields(table.lanes, vehicles, i, j)]
            if loser.kind == IDM:
                loser.target_speed = 0.0
                loser.yielding = 1
