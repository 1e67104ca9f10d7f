"""Yielding at roundabouts and crossings by predicting conflicts.

The ego vehicle is rolled along its route at several candidate speeds; the others are rolled along
every way on from their lanes, keeping their speed or braking.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from vlsafe_envs.simulators.engine.gaps import Columns
from vlsafe_envs.simulators.engine.lanes import closest_lane, local_coordinates, wrap_to_pi
from vlsafe_envs.simulators.engine.state import RoadTable, compiled
from vlsafe_envs.simulators.engine.ways import Ways

STEP = 0.2  # [s]
TIMES = np.arange(STEP, 5.0 + 1e-9, STEP)  # (T,) [s], at which the future is looked at
SIGHT = 70.0  # [m], vehicles farther away are not predicted
COMFORT = 4.0  # [m/s2], with which candidate speeds are reached
DECISION_TIME = 1.5  # [s], kept besides the time to stop
BRAKING, BRAKING_HORIZON = 3.0, 2.0  # [m/s2], [s]: others may also brake, looked at so far
MARGIN_ALONG, MARGIN_ACROSS = 2.0, 0.6  # [m], added to the sizes of two vehicles
STRAIGHT_AHEAD = 64.0  # [m], the way of an ego vehicle without a route

Array = npt.NDArray[np.float64]


@compiled
def safest_speed(
    table: RoadTable,
    ways: Ways,
    columns: Columns,
    total: int,
    route: Array,
    points: int,
    speeds: Array,
    boldness: float,
) -> float:
    """The fastest of ``speeds`` [m/s], falling, that leaves time to stop before any conflict.

    Without one, the speed with the latest conflict (the slowest of several).  ``boldness`` in
    [0, 1] is for those who have waited long: it shortens that time and the distance kept.
    ``route`` holds ``points`` points ``(K, 2)`` [m].
    """
    conflicts = np.full(speeds.size, np.inf)  # [s], until the first one
    poses = np.empty((speeds.size, TIMES.size, 4))  # x, y, cosine and sine of the heading
    for c in range(speeds.size):
        _roll_along_route(columns, route, points, speeds[c], poses[c])
    priority = _right_of_way(table, ways, route, points)
    for i in range(1, total):
        if _matters(columns, i):
            _find_conflicts(table, ways, columns, i, priority, poses, 1 - boldness / 2, conflicts)
    best = 0
    for c in range(speeds.size):
        if conflicts[c] > (DECISION_TIME + speeds[c] / COMFORT) * (1.0 - 0.4 * boldness):
            return speeds[c]
        if conflicts[c] >= conflicts[best]:
            best = c
    return speeds[best]


@compiled
def _roll_along_route(
    columns: Columns, route: Array, points: int, target: float, poses: Array
) -> None:
    """Write ego poses ``(T, 4)`` at ``TIMES``, changing to ``target`` [m/s] comfortably."""
    x, y = columns[0, 0], columns[1, 0]
    ahead_x, ahead_y = math.cos(columns[2, 0]), math.sin(columns[2, 0])
    # The present segment runs from (x, y) along (ahead_x, ahead_y); it is the k-th.
    k, rest = -1, STRAIGHT_AHEAD
    if points:
        k, rest = 0, max(math.hypot(route[0, 0] - x, route[0, 1] - y), 1e-9)
        ahead_x, ahead_y = (route[0, 0] - x) / rest, (route[0, 1] - y) / rest
    driven = 0.0  # [m], on the present segment
    for t in range(TIMES.size):
        change = min(max(target - columns[3, 0], -COMFORT * TIMES[t]), COMFORT * TIMES[t])
        driven += max(columns[3, 0] + change, 0.0) * STEP
        while driven >= rest and 0 <= k < points - 1:
            driven -= rest
            x, y = route[k, 0], route[k, 1]
            k += 1
            rest = max(math.hypot(route[k, 0] - x, route[k, 1] - y), 1e-9)
            ahead_x, ahead_y = (route[k, 0] - x) / rest, (route[k, 1] - y) / rest
        here = min(driven, rest)  # the known way ends there
        poses[t, 0], poses[t, 1] = x + here * ahead_x, y + here * ahead_y
        poses[t, 2], poses[t, 3] = ahead_x, ahead_y


@compiled
def _right_of_way(table: RoadTable, ways: Ways, route: Array, points: int) -> int:
    """Priority of the lane on which the ego vehicle crosses the junction ahead."""
    lane = 0
    for k in range(points - 1):
        heading = math.atan2(route[k + 1, 1] - route[k, 1], route[k + 1, 0] - route[k, 0])
        lane = closest_lane(table.lanes, route[k, 0], route[k, 1], heading, lane)
        if ways.crossing[lane]:
            return int(table.lanes[lane].priority)
    return 0


@compiled
def _matters(columns: Columns, i: int) -> bool:
    """Whether vehicle ``i`` is in sight and does not follow the ego vehicle.

    Whoever follows it keeps its own distance.
    """
    dx, dy = columns[0, i] - columns[0, 0], columns[1, i] - columns[1, 0]
    cos, sin = math.cos(columns[2, 0]), math.sin(columns[2, 0])
    behind = dx * cos + dy * sin < 0 and abs(dy * cos - dx * sin) < 3.0
    if behind and abs(wrap_to_pi(columns[2, i] - columns[2, 0])) < math.pi / 4:
        return False
    return math.hypot(dx, dy) <= SIGHT


@compiled
def _find_conflicts(
    table: RoadTable,
    ways: Ways,
    columns: Columns,
    i: int,
    right_of_way: int,
    poses: Array,
    caution: float,
    conflicts: Array,
) -> None:
    """Lower ``conflicts`` (C,) [s] to the first time at which vehicle ``i`` may be in the way.

    ``poses`` (C, T, 4) are those of the ego vehicle, one row a candidate speed.
    """
    speed = max(columns[3, i], 0.0)
    lane = closest_lane(table.lanes, columns[0, i], columns[1, i], columns[2, i], 0)
    along, across = local_coordinates(table.lanes, lane, columns[0, i], columns[1, i])
    sizes = (
        columns[4, i] / 2,
        columns[5, i] / 2,
        columns[4, 0] / 2 + caution * MARGIN_ALONG,
        columns[5, 0] / 2 + caution * MARGIN_ACROSS,
    )
    for way in range(ways.first_way[lane], ways.first_way[lane + 1]):
        if ways.priority[way] < right_of_way:  # it has to wait for the ego vehicle
            continue
        first, last = ways.first_point[way], ways.first_point[way + 1] - 1
        for braking in (0.0, BRAKING):
            for t in range(TIMES.size):
                if braking and TIMES[t] > BRAKING_HORIZON:
                    break
                time = min(TIMES[t], speed / braking) if braking else TIMES[t]
                driven = along + speed * time - braking / 2 * time * time
                x, y, cos, sin = ways.points[min(first + int(max(driven, 0.0)), last)]
                pose = (x - across * sin, y + across * cos, cos, sin)
                for c in range(conflicts.size):
                    if TIMES[t] < conflicts[c] and _touches(pose, poses[c, t], sizes):
                        conflicts[c] = TIMES[t]


@compiled
def _touches(
    other: tuple[float, float, float, float],
    ego: Array,
    sizes: tuple[float, float, float, float],
) -> bool:
    """Whether the box around a vehicle, turned to the ego vehicle's heading, reaches into it.

    Poses are x, y, cosine and sine; ``sizes`` half length and width of the vehicle, then of the
    ego vehicle with its margins [m].
    """
    dx, dy = other[0] - ego[0], other[1] - ego[1]
    cos = abs(other[2] * ego[2] + other[3] * ego[3])
    sin = abs(other[3] * ego[2] - other[2] * ego[3])
    length, width, reach_along, reach_across = sizes
    return (
        abs(dx * ego[2] + dy * ego[3]) < length * cos + width * sin + reach_along
        and abs(dy * ego[2] - dx * ego[3]) < length * sin + width * cos + reach_across
    )
