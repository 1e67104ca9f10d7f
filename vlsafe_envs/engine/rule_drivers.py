"""Rule-based drivers over one scene: from what they see to an action of the environment's kind."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vlsafe_envs.engine.commands import MAX_LATERAL_ACCELERATION
from vlsafe_envs.engine.conflicts import safest_speed
from vlsafe_envs.engine.gaps import Columns
from vlsafe_envs.engine.pilot import (
    Intent,
    choose_meta,
    curve_speed,
    keep_lane,
    nearest_cell,
    nearest_shares,
    pursue,
)
from vlsafe_envs.engine.rules import (
    MAX_BRAKING,
    drive_briskly,
    drive_highway,
    drive_recklessly,
    rush_junction,
)
from vlsafe_envs.engine.state import Records, RoadTable, compiled
from vlsafe_envs.engine.ways import Ways
from vlsafe_envs.scene import PACKED_ROUTE
from vlsafe_envs.simulator import EgoStatus, IdmAdvice

EXPERT, RECKLESS, BRISK = 0, 1, 2  # kinds of driver; the brisk one knows only highways
HIGHWAY, MERGE, JUNCTION = 0, 1, 2  # kinds of road
META_ACTION, GRID, CONTINUOUS = 0, 1, 2  # kinds of action
PATIENCE = (4.0, 12.0)  # [s] of standing still, between which the expert grows bold
SHARES = (1.0, 0.75, 0.5, 0.25, 0.0)  # of the cruise speed, that the expert tries at junctions
CURVE_REACH = 16.0  # [m]

DRIVER = np.dtype(
    [
        ("kind", "i8"),
        ("road", "i8"),
        ("action", "i8"),
        ("overtakes", "i8"),
        ("speed", "f8"),  # [m/s], that it wishes to drive
        ("period", "f8"),  # [s], of its decisions
        # What it remembers:
        ("standing", "f8"),  # [s]
        ("target_lane", "i8"),  # that it steers for
        ("lanes", "i8"),  # of the road when it chose that lane, 0: none chosen
        ("points", "i8"),  # of the route
        ("route", "f8", (PACKED_ROUTE + 1, 2)),  # [m]
    ],
    align=True,
)

Array = npt.NDArray[np.float64]


class Choice(NamedTuple):
    """Number of an action (kinds meta and grid), or shares of pedals and wheel in [-1, 1]."""

    number: int
    throttle: float
    steering: float


@compiled
def decide(
    drivers: Records,
    k: int,
    target_speeds: Array,
    table: RoadTable,
    ways: Ways,
    columns: Columns,
    total: int,
    ego: EgoStatus,
    route: Array,
    points: int,
    advice: IdmAdvice,
) -> Choice:
    """What driver ``k`` does in a scene of ``total`` road users with ``points`` route points.

    ``target_speeds`` [m/s] are those of meta-actions.  Only the expert reads ``advice``, which is
    for the speed that the driver wishes.
    """
    me = drivers[k]
    if me.road != JUNCTION:
        if me.kind == RECKLESS:
            intent = drive_recklessly(columns, total, ego, me.speed)
        elif me.kind == BRISK:
            intent = drive_briskly(columns, total, ego, me.speed)
        else:
            overtakes, merging = me.overtakes != 0, me.road == MERGE
            intent = drive_highway(columns, total, ego, advice, overtakes, merging)
    else:
        steering = _follow_route(drivers, k, columns, route, points)
        if me.kind == RECKLESS:
            intent = rush_junction(columns, total, ego, me.speed, steering)
        else:
            speed = _junction_speed(
                drivers, k, target_speeds, table, ways, columns, total, ego, route, points
            )
            intent = _approach(drivers, k, speed, ego, advice, steering)
    if me.action == META_ACTION:
        return Choice(choose_meta(intent, ego, target_speeds, me.period), 0.0, 0.0)
    wheel = intent.steering
    if math.isnan(wheel):
        wheel = keep_lane(_steer_for(drivers, k, intent, ego), ego)
    throttle, share = nearest_shares(intent.acceleration, wheel, ego.speed)
    return Choice(nearest_cell(throttle, share), throttle, share)


@compiled
def _steer_for(drivers: Records, k: int, intent: Intent, ego: EgoStatus) -> int:
    """The lane that driver ``k`` steers for, after a wish to change it."""
    me = drivers[k]
    if me.lanes != ego.lanes:
        me.target_lane, me.lanes = ego.lane_id, ego.lanes
    if intent.lane_change != 0:
        first, last = max(ego.lane_id - 1, 0), min(ego.lane_id + 1, ego.lanes - 1)
        me.target_lane = min(max(me.target_lane + intent.lane_change, first), last)
    return me.target_lane


@compiled
def _follow_route(drivers: Records, k: int, columns: Columns, route: Array, points: int) -> float:
    """Wheel angle [rad] along the route, and along the last one known while there is none.

    Where lanes part, the lane nearest to a vehicle may for a moment be the wrong one.
    """
    me = drivers[k]
    if points:
        me.route[0, 0], me.route[0, 1] = columns[0, 0], columns[1, 0]
        for j in range(points):
            me.route[j + 1, 0], me.route[j + 1, 1] = route[j, 0], route[j, 1]
        me.points = points + 1
    return pursue(columns, me.route, me.points)


@compiled
def _junction_speed(
    drivers: Records,
    k: int,
    target_speeds: Array,
    table: RoadTable,
    ways: Ways,
    columns: Columns,
    total: int,
    ego: EgoStatus,
    route: Array,
    points: int,
) -> float:
    """The fastest safe speed [m/s] that driver ``k`` can choose at a junction."""
    me = drivers[k]
    cruise = me.speed
    if me.action == META_ACTION:
        count = max(np.sum(target_speeds <= cruise), 1)  # they rise
        speeds = target_speeds[:count][::-1].copy()
    else:  # wheel angles are limited; highway-env's own are not
        limit = 0.7 * MAX_LATERAL_ACCELERATION
        cruise = min(cruise, curve_speed(route, points, limit, CURVE_REACH))
        speeds = np.array(SHARES) * cruise
    me.standing = me.standing + me.period if ego.speed < 0.5 else 0.0
    boldness = (me.standing - PATIENCE[0]) / (PATIENCE[1] - PATIENCE[0])
    boldness = min(max(boldness, 0.0), 1.0)
    return safest_speed(table, ways, columns, total, route, points, speeds, boldness)


@compiled
def _approach(
    drivers: Records, k: int, speed: float, ego: EgoStatus, advice: IdmAdvice, steering: float
) -> Intent:
    """Go for a speed [m/s]: the lane ahead is IDM's matter, crossing traffic set the speed."""
    if drivers[k].action == META_ACTION:
        acceleration = min(speed - ego.speed, max(advice.acceleration, MAX_BRAKING))
    else:
        acceleration = max((speed - ego.speed) / 0.6, MAX_BRAKING)
        acceleration = min(acceleration, advice.acceleration + 1.0)
    return Intent(acceleration, 0, steering)
