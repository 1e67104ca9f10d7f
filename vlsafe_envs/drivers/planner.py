"""Driving along a route: which steering holds it, and how fast one may go, in compiled code.

The planner tries accelerations from the wished one downwards and takes the first after which the
ego vehicle could either drive on at full speed or brake to a stop without touching anyone, were all
others to keep their speeds on all ways that may be theirs.  So it never enters a crossing that it
could not leave in time, and stops before one that it has not entered.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vlsafe_envs.simulators.engine import gaps
from vlsafe_envs.simulators.engine.commands import MAX_ACCELERATION, full_lock
from vlsafe_envs.simulators.engine.state import (
    VEHICLE_LENGTH,
    VEHICLE_WIDTH,
    compiled,
    compiled_core,
)
from vlsafe_envs.simulators.paths.motion import move_ego
from vlsafe_envs.simulators.paths.paths import PATH_STEP, PathTable, path_table, pose

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

LOOKAHEAD = 0.3  # [s] that a steering is tried for
LOOKS = 5  # at the distance from the route meanwhile
SLANT = 0.2  # [m2], worth of the heading's error at the end of it
TRY = 0.1  # [s] between looks into the future
HORIZON = 6.0  # [s]
ACCELERATION = 4.0  # [m/s2] that plans count on, of the 5 there are
BRAKING = 4.0  # [m/s2], likewise
SLACK = 0.96  # of the speed they might drive, likewise
BEND = 4.5  # [m/s2], lateral acceleration in bends
SLOWING = 2.5  # [m/s2], before bends
LENGTH_MARGIN = 0.8  # [m] kept free in front and behind
WIDTH_MARGIN = 0.4  # [m] kept free on both sides
MARGIN_SHARES = (1.0, 0.4, 0.1)  # of them: tried in turn, until somebody's way is free
TIME_GAP = 1.0  # [s] to a leader
JAM_GAP = 3.0  # [m] to a leader at rest
TOLERANCE = 0.25  # [m/s] by which a wished speed may be exceeded


class RoutePlan(NamedTuple):
    """A route prepared for driving."""

    table: PathTable  # of one path
    limit: Array  # (M,) [m/s], of every point of it: what its bends allow
    end: float  # [m], station of the arrival
    acceleration: float  # [m/s2] that plans count on


class Others(NamedTuple):
    """Where the others may be going: rows as of ``paths.world.Hypotheses``."""

    table: PathTable
    path: Integers
    station: Array
    speed: Array
    yields: bool  # whether they brake for the ego vehicle once it is on their lane


def route_plan(waypoints: Array, arrival: float, acceleration: float = ACCELERATION) -> RoutePlan:
    """Prepare waypoints ``(K, 2)`` [m]; arrival is ``arrival`` [m] before the last one.

    ``acceleration`` [m/s2] is what plans count on.
    """
    table = path_table([waypoints])
    heading = np.unwrap(table.points[:, 2])
    window = round(2.0 / PATH_STEP)  # looked at before and after a point, for its curvature
    padded = np.pad(heading, window, mode="edge")
    bend = np.abs(padded[2 * window :] - padded[: -2 * window]) / 4.0  # [1/m]
    limit = np.sqrt(BEND / np.maximum(bend, 1e-3))
    for k in range(len(limit) - 2, -1, -1):
        limit[k] = min(limit[k], math.sqrt(limit[k + 1] ** 2 + 2 * SLOWING * PATH_STEP))
    return RoutePlan(table, limit, float(table.length[0]) - arrival, acceleration)


@compiled_core
def nearest_station(table: PathTable, around: float, reach: float, x: float, y: float) -> float:
    """Station [m] of the point of the route nearest to (x, y), within ``reach`` of ``around``."""
    last = round(table.length[0] / PATH_STEP)
    low = min(max(math.floor((around - reach) / PATH_STEP), 0), last)
    high = min(max(math.ceil((around + reach) / PATH_STEP), 0), last)
    best, found = math.inf, low
    for k in range(low, high + 1):
        distance = (table.points[k, 0] - x) ** 2 + (table.points[k, 1] - y) ** 2
        if distance < best:
            best, found = distance, k
    heading = table.points[found, 2]
    dx, dy = x - table.points[found, 0], y - table.points[found, 1]
    return found * PATH_STEP + dx * math.cos(heading) + dy * math.sin(heading)


@compiled
def best_steering(plan: RoutePlan, around: float, ego: Array, shares: Array) -> float:
    """The share of full lock among ``shares`` that leaves the ego vehicle nearest to the route.

    Each is held for :data:`LOOKAHEAD`; ``ego`` is x, y, heading, speed.
    """
    speed = max(ego[3], 2.0)  # from a standstill it will soon be moving
    best, chosen = math.inf, 0.0
    trial = np.empty(4)
    for k in range(shares.size):
        trial[:] = ego
        trial[3] = speed
        wheel = shares[k] * full_lock(ego[3])
        loss, slant = 1e-4 * shares[k] ** 2, 0.0
        for step in range(1, LOOKS + 1):
            move_ego(trial, 0.0, wheel, LOOKAHEAD / LOOKS)
            there = around + speed * LOOKAHEAD * step / LOOKS
            there = nearest_station(plan.table, there, 3.0, trial[0], trial[1])
            x, y, heading = pose(plan.table, 0, there)
            offset = (trial[1] - y) * math.cos(heading) - (trial[0] - x) * math.sin(heading)
            slant = math.sin(trial[2] - heading)
            loss += offset**2 / LOOKS
        loss += SLANT * slant**2
        if loss < best:
            best, chosen = loss, shares[k]
    return chosen


@compiled_core
def _limit(plan: RoutePlan, station: float, cruise: float) -> float:
    k = min(max(round(station / PATH_STEP), 0), plan.limit.size - 1)
    return min(plan.limit[k], cruise)


@compiled_core
def _free_until(
    plan: RoutePlan,
    others: Others,
    skip: npt.NDArray[np.bool_],
    station: float,
    speed: float,
    first: float,
    goes: bool,
    cruise: float,
    pair: Array,
) -> float:
    """Seconds until the ego vehicle, after ``TRY`` at ``first`` [m/s2], touches somebody.

    From then on it ``goes`` on, as fast as it may, or brakes to a stop; ``inf``: nobody is touched.
    """
    at, v = station, speed
    for step in range(1, round(HORIZON / TRY) + 1):
        if step == 1:
            wanted = v + first * TRY
        elif goes:
            wanted = SLACK * _limit(plan, at + 0.3 * v, cruise)
            wanted = min(v + plan.acceleration * TRY, wanted)
            wanted = max(wanted, v - MAX_ACCELERATION * TRY)
        else:
            wanted = v - BRAKING * TRY
        wanted = max(wanted, 0.0)
        at += (v + wanted) / 2 * TRY
        v = wanted
        if at >= plan.end:
            return math.inf
        x, y, heading = pose(plan.table, 0, at)
        pair[0, 0], pair[1, 0], pair[2, 0] = x, y, heading
        time = step * TRY
        for k in range(others.station.size):
            if skip[k]:
                continue
            their = others.station[k] + others.speed[k] * time
            x, y, heading = pose(others.table, others.path[k], their)
            if max(abs(x - pair[0, 0]), abs(y - pair[1, 0])) > VEHICLE_LENGTH + 2.0:
                continue
            pair[0, 1], pair[1, 1], pair[2, 1] = x, y, heading
            if gaps.time_to_collision(pair, 2, 0.0) == 0.0:
                return time
    return math.inf


@compiled_core
def _follow(
    plan: RoutePlan, others: Others, skip: npt.NDArray[np.bool_], station: float, speed: float
) -> float:
    """Speed [m/s] that keeps the gap to the next vehicle on the route ahead; ``inf``: none."""
    wished = math.inf
    for k in range(others.station.size):
        if skip[k]:
            continue
        x, y, heading = pose(others.table, others.path[k], others.station[k])
        there = nearest_station(plan.table, station + 20.0, 20.0, x, y)
        if not station < there < station + 40.0:
            continue
        route_x, route_y, route_heading = pose(plan.table, 0, there)
        same_way = math.cos(heading - route_heading)
        if same_way > 0.7 and math.hypot(x - route_x, y - route_y) < VEHICLE_WIDTH:
            gap = there - station - VEHICLE_LENGTH
            ahead = others.speed[k] * same_way
            wished = min(wished, ahead + (gap - JAM_GAP - TIME_GAP * speed) * 0.6)
    return max(wished, 0.0)


@compiled
def _safest(
    plan: RoutePlan,
    others: Others,
    skip: npt.NDArray[np.bool_],
    station: float,
    speed: float,
    choices: Array,
    cruise: float,
) -> float:
    """The highest of rising ``choices`` that is safe, with as much margin as can be had."""
    pair = np.zeros((6, 2))
    latest, chosen = -1.0, choices[0]
    for share in MARGIN_SHARES:
        pair[4, 0] = VEHICLE_LENGTH + 2 * share * LENGTH_MARGIN
        pair[5, 0] = VEHICLE_WIDTH + 2 * share * WIDTH_MARGIN
        pair[4, 1], pair[5, 1] = VEHICLE_LENGTH, VEHICLE_WIDTH
        if share < 1.0:  # room is lost already: no creeping forward where one can stop
            now = choices[0]
            if (
                _free_until(plan, others, skip, station, speed, now, False, cruise, pair)
                == math.inf
            ):
                return now
        for k in range(choices.size - 1, -1, -1):
            for goes in (True, False):
                time = _free_until(
                    plan, others, skip, station, speed, choices[k], goes, cruise, pair
                )
                if time == math.inf:
                    return choices[k]
                if time > latest:
                    latest, chosen = time, choices[k]
    return chosen


@compiled
def best_acceleration(
    plan: RoutePlan,
    others: Others,
    ego: Array,
    station: float,
    cruise: float,
    choices: Array,
    cautious: bool,
) -> float:
    """The acceleration [m/s2] among rising ``choices``; see the module's text.

    ``ego`` is x, y, heading, speed, at ``station`` [m] of its route.  A driver who is not
    ``cautious`` looks neither into the future nor at leaders.
    """
    speed = ego[3]
    wished = min(cruise, _limit(plan, station + 0.3 * speed, cruise))
    skip = np.zeros(others.station.size, np.bool_)
    if cautious:
        cos, sin = math.cos(ego[2]), math.sin(ego[2])
        for k in range(others.station.size):
            x, y, _ = pose(others.table, others.path[k], others.station[k])
            ahead = (x - ego[0]) * cos + (y - ego[1]) * sin
            beside = abs((y - ego[1]) * cos - (x - ego[0]) * sin)
            skip[k] = others.yields and ahead < 0.0 and beside < VEHICLE_WIDTH
        if others.yields:  # elsewhere leaders do not brake, and whoever hangs back is run into
            wished = min(wished, _follow(plan, others, skip, station, speed))
    start = choices.size - 1
    while start > 0 and speed + choices[start] * TRY > wished + TOLERANCE:
        start -= 1
    if not cautious:
        return choices[start]
    return _safest(plan, others, skip, station, speed, choices[: start + 1], cruise)
