"""Collision test and impact, as in ``RoadObject.handle_collisions``.

Rectangles are tested by separating axes over one time step of constant velocity (see the
``are_polygons_intersecting`` of highway-env and https://www.codeproject.com/Articles/15573).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from vlsafe_envs.simulators.engine.state import OBSTACLE, Records, compiled_core

Points = npt.NDArray[np.float64]


@compiled_core
def _corners(vehicle: Any, out: Points) -> None:
    """Write the closed outline (5, 2) [m] of a road user."""
    c, s = vehicle.cos, vehicle.sin
    half_length, half_width = vehicle.length / 2, vehicle.width / 2
    for k in range(5):
        px = half_length if k in (2, 3) else -half_length
        py = half_width if k in (1, 2) else -half_width
        out[k, 0] = c * px + -s * py + vehicle.x
        out[k, 1] = s * px + c * py + vehicle.y


@compiled_core
def _project(outline: Points, axis_x: float, axis_y: float) -> tuple[float, float]:
    low, high = math.inf, -math.inf
    for k in range(5):
        along = outline[k, 0] * axis_x + outline[k, 1] * axis_y
        low, high = min(low, along), max(high, along)
    return low, high


@compiled_core
def _gap(low_a: float, high_a: float, low_b: float, high_b: float) -> float:
    """Distance between two intervals, negative when they overlap."""
    return low_b - high_a if low_a < low_b else low_a - high_b


@compiled_core
def _middle(outline: Points, column: int) -> float:
    return (outline[0, column] + outline[1, column] + outline[2, column] + outline[3, column]) / 4


@compiled_core
def _separate(
    a: Points, b: Points, move_x: float, move_y: float
) -> tuple[bool, bool, float, float]:
    """Do outlines touch now; will they, if ``a`` moves by ``move`` [m]; and the way apart [m]."""
    touching, will_touch = True, True
    least = math.inf
    way_x, way_y = 0.0, 0.0
    centre_x = _middle(a, 0) - _middle(b, 0)
    centre_y = _middle(a, 1) - _middle(b, 1)
    for polygon in range(2):
        outline = a if polygon == 0 else b
        for k in range(4):
            normal_x = -outline[k + 1, 1] + outline[k, 1]
            normal_y = outline[k + 1, 0] - outline[k, 0]
            norm = math.sqrt(normal_x * normal_x + normal_y * normal_y)
            normal_x /= norm
            normal_y /= norm
            low_a, high_a = _project(a, normal_x, normal_y)
            low_b, high_b = _project(b, normal_x, normal_y)
            if _gap(low_a, high_a, low_b, high_b) > 0:
                touching = False
            along = normal_x * move_x + normal_y * move_y
            if along < 0:
                low_a += along
            else:
                high_a += along
            gap = _gap(low_a, high_a, low_b, high_b)
            if gap > 0:
                will_touch = False
            if not touching and not will_touch:
                return False, False, 0.0, 0.0
            if abs(gap) < least:
                least = abs(gap)
                side = 1.0 if centre_x * normal_x + centre_y * normal_y > 0 else -1.0
                way_x, way_y = side * normal_x, side * normal_y
    return touching, will_touch, least * way_x, least * way_y


@compiled_core
def _collide(vehicles: Records, i: int, j: int, dt: float, a: Points, b: Points) -> None:
    """Detailed test of two near road users, and what follows from it."""
    me, other = vehicles[i], vehicles[j]
    _corners(me, a)
    _corners(other, b)
    move_x = me.speed * me.cos * dt - other.speed * other.cos * dt
    move_y = me.speed * me.sin * dt - other.speed * other.sin * dt
    touching, will_touch, way_x, way_y = _separate(a, b, move_x, move_y)
    if will_touch:
        me.has_impact = 1
        if other.kind == OBSTACLE:
            me.impact_x, me.impact_y = way_x, way_y
        else:
            me.impact_x, me.impact_y = way_x / 2, way_y / 2
            other.has_impact = 1
            other.impact_x, other.impact_y = -way_x / 2, -way_y / 2
    if touching:
        me.crashed = 1
        other.crashed = 1


@compiled_core
def collide_all(vehicles: Records, count: int, total: int, dt: float, a: Points, b: Points) -> None:
    """Test every vehicle against the vehicles and obstacles in later rows, in order.

    ``a`` and ``b`` are scratch outlines ``(5, 2)``.
    """
    for i in range(count):
        me = vehicles[i]
        for j in range(i + 1, total):
            other = vehicles[j]
            reach = (me.diagonal + other.diagonal) / 2 + me.speed * dt
            dx = other.x - me.x
            if abs(dx) > reach:
                continue
            dy = other.y - me.y
            if math.sqrt(dx * dx + dy * dy) > reach:
                continue
            if me.check_collisions != 0 or other.check_collisions != 0:
                _collide(vehicles, i, j, dt, a, b)
