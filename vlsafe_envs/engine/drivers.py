"""The other drivers: IDM along the road, MOBIL across it.

Follows ``highway_env.vehicle.behavior.IDMVehicle`` and ``Road.neighbour_vehicles``.

References: Treiber, Hennecke and Helbing, Congested traffic states in empirical observations and
microscopic simulations, 2000 (IDM); Kesting, Treiber and Helbing, General lane-changing model
MOBIL for car-following models, 2007.
"""

from __future__ import annotations

import math

import numpy as np

from .dynamics import clip, has_target_speed, not_zero, steering_command
from .lanes import coordinate_if_on_lane, is_reachable, local_coordinates
from .network import follow_road
from .state import (
    NO_LANE_ID,
    OBSTACLE,
    PLAIN,
    STRAIGHT,
    VEHICLE_LENGTH,
    Integers,
    Records,
    RoadTable,
    compiled,
)

ACC_MAX = 6.0  # [m/s2]
TIME_WANTED = 1.5  # [s]
POLITENESS = 0.0
LANE_CHANGE_MIN_ACC_GAIN = 0.2  # [m/s2]
LANE_CHANGE_MAX_BRAKING_IMPOSED = 2.0  # [m/s2]
LANE_CHANGE_DELAY = 1.0  # [s]
NOBODY = -1


@compiled
def neighbours(
    table: RoadTable, vehicles: Records, total: int, i: int, lane: int
) -> tuple[int, int]:
    """Rows of the road users before and behind vehicle ``i`` on a lane, ``NOBODY`` for none."""
    lanes, links = table.lanes, table.links
    s, _ = local_coordinates(lanes, lane, vehicles[i].x, vehicles[i].y)
    if lanes[lane].links == 1 and lanes[lane].kind == STRAIGHT:
        return _neighbours_on_straight(lanes, vehicles, total, i, lane, s)
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


@compiled
def _neighbours_on_straight(
    lanes: Records, vehicles: Records, total: int, i: int, lane: int, s: float
) -> tuple[int, int]:
    """:func:`neighbours` on one straight lane: the hot loop of a highway, kept to few reads."""
    this = lanes[lane]
    start_x, start_y, length = this.start_x, this.start_y, this.length
    along_x, along_y = this.direction_x, this.direction_y
    reach = this.width / 2 + 1.0
    front, rear = NOBODY, NOBODY
    s_front, s_rear = length + VEHICLE_LENGTH, -math.inf
    for j in range(total):
        dx = vehicles[j].x - start_x
        dy = vehicles[j].y - start_y
        s_j = dx * along_x + dy * along_y
        if s_j > s_front or s_j <= s_rear or j == i:
            continue
        if abs(dx * -along_y + dy * along_x) > reach:
            continue
        if not -VEHICLE_LENGTH <= s_j < length + VEHICLE_LENGTH:
            continue
        if s <= s_j:
            s_front, front = s_j, j
        else:
            s_rear, rear = s_j, j
    return front, rear


@compiled
def desired_gap(vehicles: Records, driver: int, behind: int, ahead: int) -> float:
    """Distance [m] that ``driver`` would have ``behind`` keep from ``ahead``."""
    rule, me, other = vehicles[driver], vehicles[behind], vehicles[ahead]
    ab = -rule.comfort_acc_max * rule.comfort_acc_min
    dv = (me.speed * me.cos - other.speed * other.cos) * me.cos + (
        me.speed * me.sin - other.speed * other.sin
    ) * me.sin
    return rule.distance_wanted + me.speed * TIME_WANTED + me.speed * dv / (2 * math.sqrt(ab))


@compiled
def lane_distance(lanes: Records, vehicles: Records, i: int, j: int) -> float:
    """Signed distance [m] from vehicle ``i`` to ``j`` along the lane of ``i``."""
    lane = vehicles[i].lane
    s_j, _ = local_coordinates(lanes, lane, vehicles[j].x, vehicles[j].y)
    s_i, _ = local_coordinates(lanes, lane, vehicles[i].x, vehicles[i].y)
    return s_j - s_i


@compiled
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


@compiled
def _mobil_agrees(
    table: RoadTable, vehicles: Records, routes: Integers, total: int, i: int, lane: int
) -> bool:
    """Whether MOBIL recommends that vehicle ``i`` changes to ``lane``."""
    lanes, me = table.lanes, vehicles[i]
    ahead, behind = neighbours(table, vehicles, total, i, lane)
    old_ahead, old_behind = neighbours(table, vehicles, total, i, me.lane)
    subjects = (behind, i, i, behind, old_behind, old_behind)
    fronts = (i, ahead, old_ahead, ahead, i, old_ahead)
    accelerations = np.empty(6)
    for k in range(6):  # one call in a loop compiles faster than six calls
        accelerations[k] = idm_acceleration(lanes, vehicles, i, subjects[k], fronts[k])
    behind_after, mine_after, mine_before = accelerations[0], accelerations[1], accelerations[2]
    behind_before, old_behind_before = accelerations[3], accelerations[4]
    old_behind_after = accelerations[5]
    if behind_after < -LANE_CHANGE_MAX_BRAKING_IMPOSED:
        return False
    if me.route_at < me.route_end and routes[i, me.route_at, 1] != NO_LANE_ID:
        here = lanes[me.target_lane].id
        wanted = routes[i, me.route_at, 1]
        if np.sign(lanes[lane].id - here) != np.sign(wanted - here):
            return False
        return not mine_after < -LANE_CHANGE_MAX_BRAKING_IMPOSED
    gain = (
        mine_after
        - mine_before
        + POLITENESS * (behind_after - behind_before + old_behind_after - old_behind_before)
    )
    return not gain < LANE_CHANGE_MIN_ACC_GAIN


@compiled
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


@compiled
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


@compiled
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
