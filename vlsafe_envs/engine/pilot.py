"""Low-level control by rule-based drivers: the meta-action or wheel angle that serves an intent."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vlsafe_envs.engine.commands import (
    ACCELERATIONS,
    HALF_LENGTH,
    MAX_ACCELERATION,
    STEERINGS,
    full_lock,
)
from vlsafe_envs.engine.dynamics import clip
from vlsafe_envs.engine.gaps import Columns
from vlsafe_envs.engine.lanes import wrap_to_pi
from vlsafe_envs.engine.neighbours import LANE_WIDTH
from vlsafe_envs.engine.state import FASTER, IDLE, LANE_LEFT, LANE_RIGHT, SLOWER, compiled
from vlsafe_envs.simulator import EgoStatus

SPEED_TIME = 0.6  # [s], time constant of highway-env's speed controller
HYSTERESIS = 0.5  # [m/s], gain in end speed that is worth leaving IDLE
URGENT_BRAKING = -3.0  # [m/s2], below it braking goes before changing lanes
LATERAL_TIME = 1.0  # [s], to leave a lateral offset
HEADING_TIME = 0.4  # [s], to leave a heading error; two decisions at 5 Hz
MAX_APPROACH_ANGLE = 0.35  # [rad], between the vehicle and its lane
LOOK_AHEAD, LOOK_AHEAD_TIME = 3.5, 0.3  # [m], [s], of steering along a route
ROUTE_SPACING = 4.0  # [m] between route points

Array = npt.NDArray[np.float64]


class Intent(NamedTuple):
    """What a driver wants now."""

    acceleration: float  # [m/s2]
    lane_change: int  # -1 left, 0 stay, +1 right
    steering: float  # [rad]; NaN: keep to the lane


@compiled
def choose_meta(intent: Intent, ego: EgoStatus, target_speeds: Array, period: float) -> int:
    """The meta-action that leaves the vehicle nearest to the speed wanted after ``period`` [s].

    FASTER and SLOWER set the speed next to the *present* one, so from below a target IDLE may be
    the stronger acceleration; comparing end speeds settles it.
    """
    if intent.lane_change != 0 and intent.acceleration > URGENT_BRAKING:
        return LANE_LEFT if intent.lane_change < 0 else LANE_RIGHT
    wanted = max(ego.speed + intent.acceleration * period, 0.0)
    index = int(np.argmin(np.abs(target_speeds - ego.speed)))
    faster = target_speeds[min(index + 1, target_speeds.size - 1)]
    slower = target_speeds[max(index - 1, 0)]
    left = math.exp(-period / SPEED_TIME)  # share of the speed error at the end
    idle_error = abs(ego.target_speed + (ego.speed - ego.target_speed) * left - wanted)
    faster_error = abs(faster + (ego.speed - faster) * left - wanted)
    slower_error = abs(slower + (ego.speed - slower) * left - wanted)
    if min(faster_error, slower_error) >= idle_error - HYSTERESIS:
        return IDLE
    return FASTER if faster_error <= slower_error else SLOWER


@compiled
def nearest_shares(acceleration: float, steering: float, speed: float) -> tuple[float, float]:
    """Shares in [-1, 1] for an acceleration [m/s2] and wheel angle [rad], to float32's precision.

    The inverse of ``commands.pedals``.
    """
    throttle = clip(acceleration / MAX_ACCELERATION, -1.0, 1.0)
    share = clip(steering / full_lock(speed), -1.0, 1.0)
    return np.float64(np.float32(throttle)), np.float64(np.float32(share))


@compiled
def nearest_cell(throttle: float, steering: float) -> int:
    """Index into the published grid of the cell closest to shares in [-1, 1]."""
    row, column = 0, 0
    for k in range(1, len(ACCELERATIONS)):
        if abs(ACCELERATIONS[k] / 2.0 - throttle) < abs(ACCELERATIONS[row] / 2.0 - throttle):
            row = k
    for k in range(1, len(STEERINGS)):
        if abs(STEERINGS[k] / 0.6 - steering) < abs(STEERINGS[column] / 0.6 - steering):
            column = k
    return row * len(STEERINGS) + column


@compiled
def keep_lane(target_lane: int, ego: EgoStatus) -> float:
    """Wheel angle [rad] towards the centre of lane ``target_lane`` of the ego vehicle's road.

    A proportional controller of lateral position over one of heading, as in highway-env's
    ``ControlledVehicle``, slowed down for a decision every 0.2 s.
    """
    offset = ego.lane_offset - LANE_WIDTH * (target_lane - ego.lane_id)
    speed = max(ego.speed, 1.0)
    sideways = clip(-offset / LATERAL_TIME / speed, -1.0, 1.0)
    reference = clip(math.asin(sideways), -MAX_APPROACH_ANGLE, MAX_APPROACH_ANGLE)
    turn_rate = (reference - ego.lane_heading_error) / HEADING_TIME  # [rad/s]
    slip = math.asin(clip(HALF_LENGTH * turn_rate / speed, -0.7, 0.7))
    return math.atan(2.0 * math.tan(slip))


@compiled
def pursue(columns: Columns, route: Array, points: int) -> float:
    """Wheel angle [rad] towards a route ``(K, 2)`` a little ahead (pure pursuit).

    NaN when there is nothing of its ``points`` points ahead.
    """
    x, y = columns[0, 0], columns[1, 0]
    nearest, least = 0, math.inf
    for k in range(points):
        distance = math.hypot(route[k, 0] - x, route[k, 1] - y)
        if distance < least:
            nearest, least = k, distance
    if points - nearest < 2:
        return math.nan
    reach = LOOK_AHEAD + LOOK_AHEAD_TIME * max(columns[3, 0], 0.0)
    aim_x, aim_y, before = route[nearest, 0], route[nearest, 1], least
    for k in range(nearest + 1, points):
        if reach <= before:
            break
        distance = math.hypot(route[k, 0] - x, route[k, 1] - y)
        share = min((reach - before) / (distance - before), 1.0) if distance > before else 1.0
        aim_x = route[k - 1, 0] + share * (route[k, 0] - route[k - 1, 0])
        aim_y = route[k - 1, 1] + share * (route[k, 1] - route[k - 1, 1])
        before = distance
    cos, sin = math.cos(columns[2, 0]), math.sin(columns[2, 0])
    ahead = (aim_x - x) * cos + (aim_y - y) * sin
    right = (aim_y - y) * cos - (aim_x - x) * sin
    curvature = 2.0 * right / max(ahead * ahead + right * right, 1.0)  # [1/m]
    return math.atan(2.0 * math.tan(math.asin(clip(HALF_LENGTH * curvature, -0.7, 0.7))))


@compiled
def curve_speed(route: Array, points: int, lateral_acceleration: float, reach: float) -> float:
    """Speed [m/s] that keeps to a lateral acceleration [m/s2] in the next ``reach`` metres."""
    sharpest, before = 0.0, 0.0
    for k in range(min(points, int(reach / ROUTE_SPACING) + 1) - 1):
        heading = math.atan2(route[k + 1, 1] - route[k, 1], route[k + 1, 0] - route[k, 0])
        if k > 0:
            sharpest = max(sharpest, abs(wrap_to_pi(heading - before)))
        before = heading
    curvature = sharpest / ROUTE_SPACING  # [1/m]
    return math.sqrt(lateral_acceleration / curvature) if curvature > 1e-6 else math.inf
