"""Rule-based drivers' intents: on highways, where lanes merge, at junctions, and recklessly."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vlsafe_envs.engine.dynamics import clip
from vlsafe_envs.engine.gaps import Columns, headway
from vlsafe_envs.engine.neighbours import LANE_WIDTH
from vlsafe_envs.engine.pilot import Intent
from vlsafe_envs.engine.state import compiled
from vlsafe_envs.simulator import EgoStatus, IdmAdvice

MAX_BRAKING = -6.0  # [m/s2]
RAMP_END = 315.0  # [m], x behind which nobody merges any more
FAR = 80.0  # [m], beyond which the brisk driver does not care for free way
CLOSING_TIME = 5.0  # [s], by which it weighs closing speed against free way
WORTH_A_CHANGE = 5.0  # [m], that another lane must be better
NO_LIMIT = math.inf

Array = npt.NDArray[np.float64]


class Place(NamedTuple):
    """Where a vehicle is, seen from the ego vehicle along its lane."""

    ahead: float  # [m]
    lane: float  # lanes to the right of the ego vehicle's


@compiled
def place(columns: Columns, ego: EgoStatus, k: int) -> Place:
    """Place of vehicle ``k``, on a road that is straight around the ego vehicle."""
    heading = columns[2, 0] - ego.lane_heading_error
    cos, sin = math.cos(heading), math.sin(heading)
    dx, dy = columns[0, k] - columns[0, 0], columns[1, k] - columns[1, 0]
    # y points down in the world, so turning +90 degrees from "ahead" is the right-hand side.
    return Place(dx * cos + dy * sin, np.rint((dy * cos - dx * sin + ego.lane_offset) / LANE_WIDTH))


@compiled
def lane_is_clear(columns: Columns, total: int, ego: EgoStatus, lane_change: int) -> bool:
    """Whether nobody is beside, nor comes from behind or is closed in upon within 2 s."""
    if lane_change == 0:
        return True
    for k in range(1, total):
        there = place(columns, ego, k)
        if there.lane != lane_change:
            continue
        closing = columns[3, 0] - columns[3, k]  # [m/s]
        if there.ahead <= 0:
            closing = -closing
        if abs(there.ahead) - columns[4, k] < 3.0 + 2.0 * max(closing, 0.0):
            return False
    return True


@compiled
def make_room(columns: Columns, total: int, ego: EgoStatus) -> float:
    """Acceleration [m/s2] that lets a vehicle on the ramp ahead come in front; inf: none."""
    if ego.lane_id != 1:  # only the right-hand lane is joined
        return NO_LIMIT
    cos, sin = math.cos(columns[2, 0]), math.sin(columns[2, 0])
    nearest, gap = 0, math.inf
    for k in range(1, total):
        dx, dy = columns[0, k] - columns[0, 0], columns[1, k] - columns[1, 0]
        ahead, right = dx * cos + dy * sin, dy * cos - dx * sin
        between = ahead - columns[4, k]  # [m]
        if between > -2.0 and ahead < 60.0 and right > 2.0 and between < gap:
            nearest, gap = k, between
    if nearest == 0:
        return NO_LIMIT
    if columns[3, nearest] < 2.0:  # stuck at the ramp's end: pass it slowly
        return clip(6.0 - ego.speed, -5.0, 1.0) if gap < 25.0 else 1.0
    wanted = 4.0 + 0.5 * ego.speed  # [m]
    closing = ego.speed - columns[3, nearest]
    return clip(0.3 * (gap - wanted) - 0.6 * closing, -3.0, 3.0)


@compiled
def drive_highway(
    columns: Columns, total: int, ego: EgoStatus, advice: IdmAdvice, overtakes: bool, merging: bool
) -> Intent:
    """IDM and MOBIL, but change lane only into a clear one, and make room for merging vehicles."""
    acceleration, change = advice.acceleration, advice.lane_change
    if merging:
        room = make_room(columns, total, ego)
        acceleration = min(acceleration, room)
        if columns[0, 0] < RAMP_END:
            change = -1 if room < NO_LIMIT else min(change, 0)
    if not overtakes or not lane_is_clear(columns, total, ego, change):
        change = 0
    return Intent(acceleration, change, math.nan)


@compiled
def _free_way(columns: Columns, total: int, ego: EgoStatus, side: int) -> tuple[float, float]:
    """Free way ahead [m] on the lane ``side`` lanes to the right, and closing speed [m/s].

    A lane that does not exist, or with a vehicle right beside, has no free way.
    """
    if not 0 <= ego.lane_id + side < ego.lanes:
        return 0.0, 0.0
    leader, least = 0, math.inf
    for k in range(1, total):
        there = place(columns, ego, k)
        if there.lane != side:
            continue
        if side != 0 and abs(there.ahead) < 7.0:
            return 0.0, 0.0
        if 0 < there.ahead < least:
            leader, least = k, there.ahead
    if leader == 0:
        return 150.0, 0.0
    return least - (columns[4, leader] + columns[4, 0]) / 2, ego.speed - columns[3, leader]


@compiled
def drive_briskly(columns: Columns, total: int, ego: EgoStatus, speed: float) -> Intent:
    """At ``speed`` [m/s] on the lane with the freest way, 1 s behind whoever is slower.

    Looks for a better lane all the time, not only when it is blocked, and follows more closely than
    IDM does.
    """
    own, closing = _free_way(columns, total, ego, 0)
    follow = 0.5 * (own - (5.0 + 1.0 * ego.speed)) - closing  # [m/s2]
    acceleration = clip(min(2.0 * (speed - ego.speed), follow), MAX_BRAKING, 5.0)
    change = 0
    if ego.target_lane_id == ego.lane_id:
        best = _worth(own, closing) + WORTH_A_CHANGE
        for side in (-1, 1):
            free, closing = _free_way(columns, total, ego, side)
            if free <= 0.0 or _worth(free, closing) <= best:
                continue
            if lane_is_clear(columns, total, ego, side):
                change, best = side, _worth(free, closing)
    return Intent(acceleration, change, math.nan)


@compiled
def _worth(free: float, closing: float) -> float:
    """Free way [m] that is not used up soon; a leader who draws away counts up to 5 m/s."""
    return min(free, FAR) - CLOSING_TIME * max(closing, -5.0)


@compiled
def drive_recklessly(columns: Columns, total: int, ego: EgoStatus, speed: float) -> Intent:
    """At ``speed`` [m/s], unless the leader is about to be hit; round it if a hole is near."""
    acceleration = clip(2.0 * (speed - ego.speed), -5.0, 5.0)
    own, closing = _free_way(columns, total, ego, 0)
    late = own < 4.0 + max(closing, 0.0) * 1.0  # [m]
    if late:
        acceleration = MAX_BRAKING
    change = 0
    if own < 40.0 and ego.target_lane_id == ego.lane_id:
        left, right = (
            _free_way(columns, total, ego, -1)[0],
            _free_way(columns, total, ego, 1)[0],
        )
        change = -1 if left >= right else 1
        if max(left, right) <= own + 5.0:
            change = 0
        elif late:
            acceleration = -2.0  # swerve rather than brake
    return Intent(acceleration, change, math.nan)


@compiled
def rush_junction(
    columns: Columns, total: int, ego: EgoStatus, speed: float, steering: float
) -> Intent:
    """At ``speed`` [m/s] along the route, unless somebody stands close ahead."""
    if headway(columns, total) < 0.8:
        return Intent(MAX_BRAKING, 0, steering)
    return Intent(clip(2.0 * (speed - ego.speed), -5.0, 5.0), 0, steering)
