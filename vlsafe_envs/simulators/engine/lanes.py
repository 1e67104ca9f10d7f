"""Geometry of straight, sine and circular lanes, as in ``highway_env.road.lane``.

Expressions keep highway-env's order of operations, so that results agree to the last bit
wherever the mathematical functions do.
"""

from __future__ import annotations

import math

from vlsafe_envs.simulators.engine.state import (
    CIRCULAR,
    SINE,
    VEHICLE_LENGTH,
    Records,
    compiled_core,
    inlined,
)

TWO_PI = 2 * math.pi


@inlined
def wrap_to_pi(angle: float) -> float:
    """``angle`` [rad] moved into [-pi, pi)."""
    shifted = angle + math.pi
    if 0.0 <= shifted < TWO_PI:  # what the remainder would return, without its cost
        return shifted - math.pi
    return shifted % TWO_PI - math.pi


@inlined
def local_coordinates(lanes: Records, lane: int, x: float, y: float) -> tuple[float, float]:
    """Longitudinal and lateral coordinates [m] of a point on a lane."""
    this = lanes[lane]
    dx = x - this.start_x
    dy = y - this.start_y
    if this.kind == CIRCULAR:
        turned = wrap_to_pi(math.atan2(dy, dx) - this.phase)
        phi = this.phase + turned
        radius = math.sqrt(dx * dx + dy * dy)
        return this.turn * (phi - this.phase) * this.radius, this.turn * (this.radius - radius)
    longitudinal = dx * this.direction_x + dy * this.direction_y
    lateral = dx * -this.direction_y + dy * this.direction_x
    if this.kind == SINE:
        lateral -= this.amplitude * math.sin(this.pulsation * longitudinal + this.phase)
    return longitudinal, lateral


@compiled_core
def position_at(
    lanes: Records, lane: int, longitudinal: float, lateral: float
) -> tuple[float, float]:
    """World position [m] of local coordinates on a lane."""
    this = lanes[lane]
    if this.kind == CIRCULAR:
        phi = this.turn * longitudinal / this.radius + this.phase
        radius = this.radius - lateral * this.turn
        return this.start_x + radius * math.cos(phi), this.start_y + radius * math.sin(phi)
    if this.kind == SINE:
        lateral = lateral + this.amplitude * math.sin(this.pulsation * longitudinal + this.phase)
    x = this.start_x + longitudinal * this.direction_x + lateral * -this.direction_y
    y = this.start_y + longitudinal * this.direction_y + lateral * this.direction_x
    return x, y


@inlined
def heading_at(lanes: Records, lane: int, longitudinal: float) -> float:
    """Heading [rad] of a lane at a longitudinal coordinate [m]."""
    this = lanes[lane]
    if this.kind == CIRCULAR:
        phi = this.turn * longitudinal / this.radius + this.phase
        return phi + math.pi / 2 * this.turn
    if this.kind == SINE:
        slope = this.amplitude * this.pulsation
        bend = math.atan(slope * math.cos(this.pulsation * longitudinal + this.phase))
        return this.heading + bend
    return this.heading


@inlined
def coordinate_if_on_lane(
    lanes: Records, lane: int, x: float, y: float, margin: float
) -> tuple[bool, float]:
    """Whether a point lies on a lane widened by ``margin`` [m], and its coordinate along it.

    Cheap tests come first: most vehicles are nowhere near most lanes.
    """
    this = lanes[lane]
    reach = this.width / 2 + margin
    dx = x - this.start_x
    dy = y - this.start_y
    if this.kind == CIRCULAR:
        if abs(this.turn * (this.radius - math.sqrt(dx * dx + dy * dy))) > reach:
            return False, 0.0
    else:
        along = dx * this.direction_x + dy * this.direction_y
        if not -VEHICLE_LENGTH <= along < this.length + VEHICLE_LENGTH:
            return False, 0.0
    longitudinal, lateral = local_coordinates(lanes, lane, x, y)
    inside = (
        abs(lateral) <= reach and -VEHICLE_LENGTH <= longitudinal < this.length + VEHICLE_LENGTH
    )
    return inside, longitudinal


@compiled_core
def is_reachable(lanes: Records, lane: int, x: float, y: float) -> bool:
    """Whether a vehicle at a point may change to a lane."""
    this = lanes[lane]
    if this.forbidden != 0:
        return False
    longitudinal, lateral = local_coordinates(lanes, lane, x, y)
    near = abs(lateral) <= 2 * this.width
    return near and 0 <= longitudinal < this.length + VEHICLE_LENGTH


@inlined
def is_after_end(lanes: Records, lane: int, x: float, y: float) -> bool:
    """Whether a point is less than half a vehicle from the end of a lane, or beyond it."""
    longitudinal, _ = local_coordinates(lanes, lane, x, y)
    return longitudinal > lanes[lane].length - VEHICLE_LENGTH / 2


@inlined
def distance(lanes: Records, lane: int, x: float, y: float) -> float:
    """L1 distance [m] from a point to a lane."""
    s, r = local_coordinates(lanes, lane, x, y)
    return abs(r) + max(s - lanes[lane].length, 0.0) + max(0.0 - s, 0.0)


@compiled_core
def _surely_farther(lanes: Records, lane: int, x: float, y: float, bound: float) -> bool:
    """Whether a lane is farther than ``bound`` [m] by a test without trigonometry."""
    this = lanes[lane]
    dx = x - this.start_x
    dy = y - this.start_y
    if this.kind == CIRCULAR:
        return abs(this.radius - math.sqrt(dx * dx + dy * dy)) > bound
    along = dx * this.direction_x + dy * this.direction_y
    if max(along - this.length, -along) > bound:
        return True
    across = dx * -this.direction_y + dy * this.direction_x
    return abs(across) - abs(this.amplitude) > bound + 1e-6  # rounding cannot turn it


@inlined
def _distance_with_heading(lanes: Records, lane: int, x: float, y: float, heading: float) -> float:
    s, r = local_coordinates(lanes, lane, x, y)
    angle = abs(wrap_to_pi(heading - heading_at(lanes, lane, s)))
    return abs(r) + max(s - lanes[lane].length, 0.0) + max(0.0 - s, 0.0) + angle


@inlined
def closest_lane(lanes: Records, x: float, y: float, heading: float, guess: int) -> int:
    """The lane nearest in position and heading (the first one, if several are equally near).

    A good ``guess``, such as the lane of a moment ago, lets the others be ruled out quickly.
    """
    best = guess
    nearest = _distance_with_heading(lanes, guess, x, y, heading)
    for lane in range(lanes.shape[0]):
        if lane == guess or _surely_farther(lanes, lane, x, y, nearest):
            continue
        far = _distance_with_heading(lanes, lane, x, y, heading)
        if far < nearest or (far == nearest and lane < best):
            best, nearest = lane, far
    return best
