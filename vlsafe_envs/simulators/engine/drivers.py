"""The other drivers: IDM along the road, MOBIL across it.

Follows ``highway_env.vehicle.behavior.IDMVehicle`` and ``Road.neighbour_vehicles``.

References: Treiber, Hennecke and Helbing, Congested traffic states in empirical observations and
microscopic simulations, 2000 (IDM); Kesting, Treiber and Helbing, General lane-changing model
MOBIL for car-following models, 2007.
"""

from __future__ import annotations

import math

import numpy as np

from vlsafe_envs.simulators.engine.dynamics import (
    clip,
    has_target_speed,
    not_zero,
    steering_command,
)
from vlsafe_envs.simulators.engine.lanes import (
    coordinate_if_on_lane,
    is_reachable,
    local_coordinates,
)
from vlsafe_envs.simulators.engine.network import follow_road
from vlsafe_envs.simulators.engine.state import (
    NO_LANE_ID,
    OBSTACLE,
    PLAIN,
    STRAIGHT,
    VEHICLE_LENGTH,
    Integers,
    Records,
    RoadTable,
    compiled_core,
    inlined,
)

ACC_MAX = 6.0  # [m/s2]
TIME_WANTED = 1.5  # [s]
LANE_CHANGE_MIN_ACC_GAIN = 0.2  # [m/s2]
LANE_CHANGE_MAX_BRAKING_IMPOSED = 2.0  # [m/s2]
LANE_CHANGE_DELAY = 1.0  # [s]
NOBODY = -1


@inlined
def neighbours(
    table: RoadTable, vehicles: Records, total: int, i: int, lane: int
) -> tuple[int, int]:
    """Rows of the road users before and behind vehicle ``i`` on a lane, ``NOBODY`` for none.

    They have to be ranked (see :func:`rank_by_x`).
    """
    lanes, links = table.lanes, table.links
    if _runs_along_x(lanes, lane):
        return _neighbours_by_rank(lanes, vehicles, total, i, lane)
    s, _ = local_coordinates(lanes, lane, vehicles[i].x, vehicles[i].y)
    front, rear = NOBODY, NOBODY
    s_front, s_rear = math.inf, -math.inf
    first = lanes[lane].first_link
    end = first + lanes[lane].links
    for j in range(total):
        if j == i:
            continue
        for link in range(first, end):
            found, s_j = coordinate_if_on_lane(
                lanes, links[link].lane, vehicles[j].x, vehicles[j].y, 1.0
            )
            if not found:
                continue
            s_j += links[link].offset
            if s <= s_j and s_j <= s_front:
                s_front, front = s_j, j
            if s_j < s and s_j > s_rear:
                s_rear, rear = s_j, j
            break
    return front, rear


@inlined
def _runs_along_x(lanes: Records, lane: int) -> bool:
    """Whether the coordinate along a lane is x itself, and only that lane has its neighbours."""
    this = lanes[lane]
    straight = this.links == 1 and this.kind == STRAIGHT and this.start_x == 0.0
    return straight and this.direction_x == 1.0 and this.direction_y == 0.0


@compiled_core
def rank_by_x(lanes: Records, vehicles: Records, total: int) -> None:
    """Rank road users by x (equal ones by row), where some lane runs along x.

    Call it whenever they have moved and before anyone looks for neighbours.
    """
    if not _runs_along_x(lanes, 0):
        return
    for i in range(total):
        place = i
        while place > 0 and vehicles[vehicles[place - 1].ranked].x > vehicles[i].x:
            vehicles[place].ranked = vehicles[place - 1].ranked
            place -= 1
        vehicles[place].ranked = i
    for place in range(total):
        vehicles[vehicles[place].ranked].rank = place


@inlined
def _is_on_straight(lanes: Records, lane: int, vehicles: Records, j: int) -> bool:
    """Whether road user ``j`` is on a lane along x widened by 1 m on either side."""
    this = lanes[lane]
    if not abs(vehicles[j].y - this.start_y) <= this.width / 2 + 1.0:
        return False
    return -VEHICLE_LENGTH <= vehicles[j].x < this.length + VEHICLE_LENGTH


@inlined
def _neighbours_by_rank(
    lanes: Records, vehicles: Records, total: int, i: int, lane: int
) -> tuple[int, int]:
    """:func:`neighbours` on a lane along x: the hot loop of a highway looks at the nearest only.

    Of several at the same x, highway-env takes the last row in front and the first row behind.
    """
    front, rear = NOBODY, NOBODY
    x = vehicles[i].x
    first = vehicles[i].rank  # of those who are not behind
    while first > 0 and vehicles[vehicles[first - 1].ranked].x == x:
        first -= 1
    for place in range(first, total):
        j = vehicles[place].ranked
        if front != NOBODY and vehicles[j].x > vehicles[front].x:
            break
        if j != i and _is_on_straight(lanes, lane, vehicles, j):
            front = j
    for place in range(first - 1, -1, -1):
        j = vehicles[place].ranked
        if rear != NOBODY and vehicles[j].x < vehicles[rear].x:
            break
        if _is_on_straight(lanes, lane, vehicles, j):
            rear = j
    return front, rear


@inlined
def desired_gap(vehicles: Records, driver: int, behind: int, ahead: int) -> float:
    """Distance [m] that ``driver`` would have ``behind`` keep from ``ahead``."""
    rule, me, other = vehicles[driver], vehicles[behind], vehicles[ahead]
    ab = -rule.comfort_acc_max * rule.comfort_acc_min
    dv = (me.speed * me.cos - other.speed * other.cos) * me.cos + (
        me.speed * me.sin - other.speed * other.sin
    ) * me.sin
    return rule.distance_wanted + me.speed * TIME_WANTED + me.speed * dv / (2 * math.sqrt(ab))


@inlined
def lane_distance(lanes: Records, vehicles: Records, i: int, j: int) -> float:
    """Signed distance [m] from vehicle ``i`` to ``j`` along the lane of ``i``."""
    lane = vehicles[i].lane
    s_j, _ = local_coordinates(lanes, lane, vehicles[j].x, vehicles[j].y)
    s_i, _ = local_coordinates(lanes, lane, vehicles[i].x, vehicles[i].y)
    return s_j - s_i


@inlined
def idm_acceleration(
    lanes: Records, vehicles: Records, driver: int, subject: int, front: int
) -> float:
    """Acceleration [m/s2] of ``subject`` behind ``front`` by the rules of ``driver``."""
    if subject == NOBODY or vehicles[subject].kind == OBSTACLE:
        return 0.0
    rule, me = vehicles[driver], vehicles[subject]
    target_speed = me.target_speed if has_target_speed(vehicles, subject) else 0.0
    limit = lanes[me.lane].speed_limit
    if not math.isnan(limit):
        target_speed = clip(target_speed, 0.0, limit)
    ratio = max(me.speed, 0.0) / abs(not_zero(target_speed))
    acceleration = rule.comfort_acc_max * (1 - ratio**rule.delta)
    if front != NOBODY:
        gap = not_zero(lane_distance(lanes, vehicles, subject, front))
        share = desired_gap(vehicles, driver, subject, front) / gap
        acceleration -= rule.comfort_acc_max * (share * share)
    return acceleration


@compiled_core
def _mobil_agrees(
    table: RoadTable, vehicles: Records, routes: Integers, total: int, i: int, lane: int
) -> bool:
    """Whether MOBIL recommends that vehicle ``i`` changes to ``lane``."""
    lanes, me = table.lanes, vehicles[i]
    ahead, behind = neighbours(table, vehicles, total, i, lane)
    old_ahead, _ = neighbours(table, vehicles, total, i, me.lane)
    subjects, fronts = (behind, i, i), (i, ahead, old_ahead)
    after, before = 0.0, 0.0
    for k in range(3):  # one call in a loop compiles faster than three calls
        acceleration = idm_acceleration(lanes, vehicles, i, subjects[k], fronts[k])
        if k == 0 and acceleration < -LANE_CHANGE_MAX_BRAKING_IMPOSED:
            return False
        if k == 1:
            after = acceleration
        before = acceleration  # the last one stays
    if me.route_at < me.route_end and routes[i, me.route_at, 1] != NO_LANE_ID:
        here = lanes[me.target_lane].id
        wanted = routes[i, me.route_at, 1]
        if np.sign(lanes[lane].id - here) != np.sign(wanted - here):
            return False
        return not after < -LANE_CHANGE_MAX_BRAKING_IMPOSED
    # highway-env's drivers are not polite: what others gain or lose does not count.
    return not after - before < LANE_CHANGE_MIN_ACC_GAIN


@compiled_core
def _abort_contested_change(table: RoadTable, vehicles: Records, count: int, i: int) -> None:
    """Give up a lane change if someone close ahead is changing into the same lane."""
    lanes, me = table.lanes, vehicles[i]
    if lanes[me.lane].road != lanes[me.target_lane].road:
        return
    for j in range(count):
        other = vehicles[j]
        if j == i or other.kind == PLAIN:
            continue
        if other.lane == me.target_lane or other.target_lane != me.target_lane:
            continue
        gap = lane_distance(lanes, vehicles, i, j)
        if 0 < gap < desired_gap(vehicles, i, i, j):
            me.target_lane = me.lane
            return


@inlined
def _consider_lane_change(
    table: RoadTable, vehicles: Records, routes: Integers, count: int, total: int, i: int
) -> None:
    """Decide about changing lane: at most once a second, and not during a change."""
    me = vehicles[i]
    if me.lane != me.target_lane:
        _abort_contested_change(table, vehicles, count, i)
        return
    if not me.timer > LANE_CHANGE_DELAY:
        return
    me.timer = 0.0
    here = table.lanes[me.lane]
    road = table.roads[here.road]
    lane = me.lane
    for lane_id in (here.id - 1, here.id + 1):
        if lane_id < 0 or lane_id >= road.lanes:
            continue
        candidate = lane + lane_id - here.id
        if not is_reachable(table.lanes, candidate, me.x, me.y) or abs(me.speed) < 1:
            continue
        if _mobil_agrees(table, vehicles, routes, total, i, candidate):
            me.target_lane = candidate


@inlined
def drive(
    table: RoadTable, vehicles: Records, routes: Integers, count: int, total: int, i: int
) -> None:
    """Let IDM and MOBIL choose the commands of vehicle ``i``; a crashed one keeps its last.

    Rows ``[0, count)`` are vehicles, rows ``[count, total)`` obstacles.
    """
    me = vehicles[i]
    if me.crashed != 0:
        return
    follow_road(table, vehicles, routes, i)
    _consider_lane_change(table, vehicles, routes, count, total, i)
    me.steering = steering_command(table.lanes, vehicles, i)
    acceleration = math.inf
    for lane in (me.lane, me.target_lane):  # during a lane change mind both lanes
        front, _ = neighbours(table, vehicles, total, i, lane)
        acceleration = min(acceleration, idm_acceleration(table.lanes, vehicles, i, i, front))
        if me.lane == me.target_lane:
            break
    me.acceleration = clip(acceleration, -ACC_MAX, ACC_MAX)
