"""The ego vehicle seen from outside: facts, the way ahead, and a shadow driver's advice."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from vlsafe_envs.simulator import EgoStatus, IdmAdvice
from vlsafe_envs.simulators.engine.drivers import LANE_CHANGE_DELAY, drive, rank_by_x
from vlsafe_envs.simulators.engine.lanes import (
    coordinate_if_on_lane,
    distance,
    heading_at,
    local_coordinates,
    position_at,
    wrap_to_pi,
)
from vlsafe_envs.simulators.engine.network import follow_road
from vlsafe_envs.simulators.engine.state import (
    IDM,
    META,
    NO_LANE_ID,
    Integers,
    Records,
    RoadTable,
    compiled,
    compiled_core,
)
from vlsafe_envs.simulators.highway_env.reading import ON_ROAD_MARGIN

ROUTE_SPACING = 4.0  # [m] between points


@compiled_core
def is_on_road(lanes: Records, x: float, y: float) -> bool:
    """Whether a point lies on any lane, or less than the margin beside one."""
    for lane in range(lanes.shape[0]):
        inside, _ = coordinate_if_on_lane(lanes, lane, x, y, ON_ROAD_MARGIN)
        if inside:
            return True
    return False


@compiled_core
def ego_facts(
    table: RoadTable, vehicles: Records, i: int, goal_road: int, goal_along: float, goal_x: float
) -> EgoStatus:
    """Facts about vehicle ``i``.

    The goal is ``goal_along`` [m] into ``goal_road`` (-1 for none), or beyond x = ``goal_x``.
    """
    me = vehicles[i]
    lane = table.lanes[me.lane]
    along, across = local_coordinates(table.lanes, me.lane, me.x, me.y)
    error = wrap_to_pi(me.heading - heading_at(table.lanes, me.lane, along))
    arrived = me.x > goal_x or (lane.road == goal_road and along >= goal_along)
    steers = me.kind == META
    return EgoStatus(
        me.speed,
        me.speed * math.cos(error),
        me.crashed != 0,
        is_on_road(table.lanes, me.x, me.y),
        arrived,
        lane.id,
        table.roads[lane.road].lanes,
        across,
        error,
        me.acceleration,
        me.steering,
        me.target_speed if steers else me.speed,
        table.lanes[me.target_lane].id if steers else lane.id,
    )


@compiled_core
def fill_scene(vehicles: Records, total: int, ego: int, columns: npt.NDArray[np.float64]) -> None:
    """Write x, y, heading, speed, length, width into rows of ``columns`` (6, N), ego first."""
    for k in range(total):
        i = ego if k == 0 else (k - 1 if k <= ego else k)
        me = vehicles[i]
        columns[0, k], columns[1, k] = me.x, me.y
        columns[2, k], columns[3, k] = me.heading, me.speed
        columns[4, k], columns[5, k] = me.length, me.width


@compiled_core
def _plan_position(plan: Integers, road: int) -> int:
    """Where ``road`` is first met in a plan, -1 for nowhere."""
    for k in range(plan.size):
        if plan[k] == road:
            return k
    return -1


@compiled_core
def route_points(
    table: RoadTable,
    vehicles: Records,
    i: int,
    plan: Integers,
    out: npt.NDArray[np.float64],
) -> int:
    """Write points ``(K, 2)`` [m] every 4 m along a plan from vehicle ``i``; returns how many."""
    lanes, roads = table.lanes, table.roads
    lane = vehicles[i].lane
    at = _plan_position(plan, lanes[lane].road)
    if at < 0:
        return 0
    along, _ = local_coordinates(lanes, lane, vehicles[i].x, vehicles[i].y)
    for k in range(out.shape[0]):
        along += ROUTE_SPACING
        while along > lanes[lane].length and at + 1 < plan.size:
            along -= lanes[lane].length
            x, y = position_at(lanes, lane, lanes[lane].length, 0.0)
            at += 1
            here, following = lanes[lane], roads[plan[at]]
            if following.lanes == roads[here.road].lanes:
                lane = following.first_lane + here.id
                continue
            lane = following.first_lane
            for other in range(lane + 1, following.first_lane + following.lanes):
                if distance(lanes, other, x, y) < distance(lanes, lane, x, y):
                    lane = other
        if along > lanes[lane].length:
            return k
        out[k, 0], out[k, 1] = position_at(lanes, lane, along, 0.0)
    return out.shape[0]


def start_shadow(shadow: Records, vehicles: Records, ego: int, regulated: bool) -> None:
    """Make ``shadow`` (one row) a driver who has just arrived in the ego vehicle's place."""
    me = shadow[0]
    me["kind"] = IDM
    me["timer"] = LANE_CHANGE_DELAY
    me["target_lane"] = vehicles[ego]["lane"]
    if regulated:
        me["distance_wanted"], me["comfort_acc_max"], me["comfort_acc_min"] = 7.0, 6.0, -3.0


@compiled_core
def _can_keep(table: RoadTable, target: int, current: int) -> bool:
    """Whether a plan to drive on lane ``target`` still makes sense from lane ``current``."""
    wanted, here = table.lanes[target], table.lanes[current]
    if wanted.road == here.road and abs(wanted.id - here.id) <= 1:
        return True
    return table.roads[wanted.road].origin == table.roads[here.road].target


@compiled_core
def _take_place(
    table: RoadTable,
    vehicles: Records,
    routes: Integers,
    ego: int,
    shadow: Records,
    plan: Integers,
) -> None:
    """Move the shadow driver, with the rest of the plan as its route, to the ego vehicle."""
    me, here = shadow[0], vehicles[ego]
    me.x, me.y, me.heading = here.x, here.y, here.heading
    me.cos, me.sin, me.speed, me.lane = here.cos, here.sin, here.speed, here.lane
    if here.kind == META:
        me.target_lane = here.target_lane
    elif not _can_keep(table, me.target_lane, me.lane):
        me.target_lane = me.lane
    me.route_at, me.route_end = 0, 0
    at = _plan_position(plan, table.lanes[me.lane].road)
    if at >= 0:
        for k in range(at, plan.size):
            routes[ego, me.route_end, 0] = plan[k]
            routes[ego, me.route_end, 1] = NO_LANE_ID
            me.route_end += 1


@compiled_core
def _prepare(
    table: RoadTable,
    vehicles: Records,
    routes: Integers,
    ego: int,
    shadow: Records,
    plan: Integers,
    elapsed: float,
) -> tuple[int, int]:
    """Put the shadow in the ego vehicle's row; returns road and id of the lane it aims at."""
    _take_place(table, vehicles, routes, ego, shadow, plan)
    shadow[0].timer += elapsed
    vehicles[ego] = shadow[0]
    follow_road(table, vehicles, routes, ego)
    lane = table.lanes[vehicles[ego].target_lane]
    return lane.road, lane.id


@compiled
def advise(
    table: RoadTable,
    vehicles: Records,
    routes: Integers,
    world: Records,
    shadow: Records,
    plan: Integers,
    elapsed: float,
    target_speed: float,
) -> IdmAdvice:
    """What the shadow driver does ``elapsed`` [s] after it was last asked.

    The shadow stands in the ego vehicle's row while it decides, so that the others are what it
    sees; the row is put back afterwards.
    """
    ego, count = world[0].ego, world[0].vehicles
    total = count + world[0].obstacles
    kept, kept_route = vehicles[ego : ego + 1].copy(), routes[ego].copy()
    shadow[0].target_speed = target_speed
    road, before = _prepare(table, vehicles, routes, ego, shadow, plan, elapsed)
    rank_by_x(table.lanes, vehicles, total)
    drive(table, vehicles, routes, count, total, ego)
    shadow[0] = vehicles[ego]
    vehicles[ego] = kept[0]
    routes[ego] = kept_route
    me = shadow[0]
    after = table.lanes[me.target_lane]
    change = int(np.sign(after.id - before)) if after.road == road else 0
    return IdmAdvice(me.acceleration, change, me.steering)
