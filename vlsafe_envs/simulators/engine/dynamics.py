"""Low-level controllers and the kinematic bicycle model of every vehicle.

Follows ``highway_env.vehicle.controller`` and ``highway_env.vehicle.kinematics``.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from vlsafe_envs.simulators.engine.lanes import (
    closest_lane,
    heading_at,
    is_reachable,
    local_coordinates,
    wrap_to_pi,
)
from vlsafe_envs.simulators.engine.network import follow_road
from vlsafe_envs.simulators.engine.state import (
    FASTER,
    IDM,
    LANE_LEFT,
    LANE_RIGHT,
    PLAIN,
    SLOWER,
    Integers,
    Records,
    RoadTable,
    compiled_core,
    inlined,
)

TAU_PURSUIT = 0.5 * 0.2  # [s]
KP_SPEED = 1 / 0.6  # [1/s]
KP_HEADING = 1 / 0.2  # [1/s]
KP_LATERAL = 1 / 0.6  # [1/s]
MAX_STEERING = math.pi / 3  # [rad]
MAX_SPEED = 40.0  # [m/s]
MIN_SPEED = -40.0  # [m/s]


@inlined
def not_zero(value: float) -> float:
    """``value``, pushed away from zero to at least 0.01 in size."""
    if abs(value) > 1e-2:
        return value
    return 1e-2 if value >= 0 else -1e-2


@inlined
def clip(value: float, low: float, high: float) -> float:
    """``value`` limited to ``[low, high]``."""
    return min(max(value, low), high)


@inlined
def steering_command(lanes: Records, vehicles: Records, i: int) -> float:
    """Steering angle [rad] that brings vehicle ``i`` to the centre of its target lane."""
    me = vehicles[i]
    along, across = local_coordinates(lanes, me.target_lane, me.x, me.y)
    lane_heading = heading_at(lanes, me.target_lane, along + me.speed * TAU_PURSUIT)
    if across == 0.0 and lane_heading == me.heading:
        return 0.0  # as below, without its trigonometry
    speed = not_zero(me.speed)
    heading = math.asin(clip(-KP_LATERAL * across / speed, -1.0, 1.0))
    wanted = lane_heading + clip(heading, -math.pi / 4, math.pi / 4)
    heading_rate = KP_HEADING * wrap_to_pi(wanted - me.heading)
    slip = math.asin(clip(me.length / 2 / speed * heading_rate, -1.0, 1.0))
    return clip(math.atan(2 * math.tan(slip)), -MAX_STEERING, MAX_STEERING)


@compiled_core
def control_ego(table: RoadTable, vehicles: Records, routes: Integers, i: int) -> None:
    """Track the target lane and the target speed of a meta-action vehicle."""
    follow_road(table, vehicles, routes, i)
    me = vehicles[i]
    me.steering = steering_command(table.lanes, vehicles, i)
    me.acceleration = KP_SPEED * (me.target_speed - me.speed)


@compiled_core
def nearest_speed(speed: float, target_speeds: npt.NDArray[np.float64]) -> int:
    """Index of the nearest of evenly spaced target speeds [m/s]."""
    last = target_speeds.size - 1
    x = (speed - target_speeds[0]) / (target_speeds[last] - target_speeds[0])
    return int(clip(np.rint(x * last), 0.0, float(last)))


@compiled_core
def meta_action(
    table: RoadTable,
    vehicles: Records,
    routes: Integers,
    i: int,
    action: int,
    target_speeds: npt.NDArray[np.float64],
) -> None:
    """Let a meta-action change the target speed or the target lane of vehicle ``i``."""
    me = vehicles[i]
    if action in (FASTER, SLOWER):
        index = nearest_speed(me.speed, target_speeds) + (1 if action == FASTER else -1)
        me.target_speed = target_speeds[min(max(index, 0), target_speeds.size - 1)]
    follow_road(table, vehicles, routes, i)
    if action in (LANE_LEFT, LANE_RIGHT):
        here = table.lanes[me.target_lane]
        road = table.roads[here.road]
        lane_id = here.id + (1 if action == LANE_RIGHT else -1)
        lane = road.first_lane + min(max(lane_id, 0), road.lanes - 1)
        if is_reachable(table.lanes, lane, me.x, me.y):
            me.target_lane = lane


@compiled_core
def locate(lanes: Records, vehicles: Records, i: int) -> None:
    """Renew what follows from the position and heading of vehicle ``i``."""
    me = vehicles[i]
    me.cos = math.cos(me.heading)
    me.sin = math.sin(me.heading)
    me.lane = closest_lane(lanes, me.x, me.y, me.heading, me.lane)


@inlined
def move(lanes: Records, vehicles: Records, i: int, dt: float) -> None:
    """Integrate the bicycle model of vehicle ``i`` over ``dt`` [s]."""
    me = vehicles[i]
    if me.kind == IDM:
        me.timer += dt
    if me.crashed != 0:
        me.steering = 0.0
        me.acceleration = -1.0 * me.speed
    if me.speed > MAX_SPEED:
        me.acceleration = min(me.acceleration, 1.0 * (MAX_SPEED - me.speed))
    elif me.speed < MIN_SPEED:
        me.acceleration = max(me.acceleration, 1.0 * (MIN_SPEED - me.speed))
    beta, cos, sin = 0.0, me.cos, me.sin
    if me.steering != 0.0:
        beta = math.atan(0.5 * math.tan(me.steering))
        cos, sin = math.cos(me.heading + beta), math.sin(me.heading + beta)
    me.x += me.speed * cos * dt
    me.y += me.speed * sin * dt
    if me.has_impact != 0:
        me.x += me.impact_x
        me.y += me.impact_y
        me.crashed = 1
        me.has_impact = 0
    if me.steering != 0.0:
        me.heading += me.speed * math.sin(beta) / (me.length / 2) * dt
        me.cos, me.sin = math.cos(me.heading), math.sin(me.heading)
    me.speed += me.acceleration * dt
    me.lane = closest_lane(lanes, me.x, me.y, me.heading, me.lane)


@inlined
def has_target_speed(vehicles: Records, i: int) -> bool:
    """Whether vehicle ``i`` tracks a target speed (plain vehicles hold their acceleration)."""
    return vehicles[i].kind < PLAIN
