"""How close the others are: times to collision and headways, over the columns of one scene.

Columns are float64 ``(6, rows)``: x, y [m], heading [rad], speed [m/s], length, width [m], one
entry a road user, the ego vehicle first; entries from ``total`` on are not read.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from vlsafe_envs.simulators.engine.state import compiled, compiled_core

TTC_THRESHOLD = 2.0  # [s]
HEADWAY_THRESHOLD = 0.5  # [s]
HEADWAY_RANGE = 100.0  # [m], a leader farther away is none
MIN_HEADWAY_SPEED = 1.0  # [m/s], below it the ego vehicle has no headway
STILL = 1e-9  # [m/s], slower drift along an axis is none

Columns = npt.NDArray[np.float64]


@compiled_core
def _overlap(place: float, speed: float, reach: float) -> tuple[float, float]:
    """When ``|place + speed * t| <= reach`` starts and stops to hold [s]."""
    if abs(speed) < STILL:
        return (-math.inf, math.inf) if abs(place) <= reach else (math.inf, -math.inf)
    a, b = (-reach - place) / speed, (reach - place) / speed
    return min(a, b), max(a, b)


@compiled_core
def time_to_collision(columns: Columns, total: int, horizon: float) -> float:
    """Time [s] until the ego vehicle touches another if all keep velocity and heading.

    See ``vlsafe_envs.costs.time_to_collision``.
    """
    cos, sin = math.cos(columns[2, 0]), math.sin(columns[2, 0])
    speed, length, width = columns[3, 0], columns[4, 0] / 2, columns[5, 0] / 2
    soonest = math.inf
    for k in range(1, total):
        dx, dy = columns[0, k] - columns[0, 0], columns[1, k] - columns[1, 0]
        other_speed, other_length, other_width = columns[3, k], columns[4, k] / 2, columns[5, k] / 2
        fastest = (abs(speed) + abs(other_speed)) * horizon
        if max(abs(dx), abs(dy)) > fastest + length + width + other_length + other_width:
            continue
        other_cos, other_sin = math.cos(columns[2, k]), math.sin(columns[2, k])
        drift_x = other_speed * other_cos - speed * cos
        drift_y = other_speed * other_sin - speed * sin
        along = abs(cos * other_cos + sin * other_sin)
        across = abs(cos * other_sin - sin * other_cos)
        edge_normals = (  # direction, and how far both bodies reach along it together
            (cos, sin, length + other_length * along + other_width * across),
            (-sin, cos, width + other_length * across + other_width * along),
            (other_cos, other_sin, other_length + length * along + width * across),
            (-other_sin, other_cos, other_width + length * across + width * along),
        )
        first, last = 0.0, math.inf
        for x, y, reach in edge_normals:
            enter, leave = _overlap(dx * x + dy * y, drift_x * x + drift_y * y, reach)
            first, last = max(first, enter), min(last, leave)
            if first > last or first > horizon or first >= soonest:
                break
        else:
            soonest = first
    return soonest


@compiled_core
def headway(columns: Columns, total: int) -> float:
    """Time [s] to the leader's rear bumper; see ``vlsafe_envs.costs.headway``."""
    speed = columns[3, 0]
    if speed < MIN_HEADWAY_SPEED:
        return math.inf
    cos, sin = math.cos(columns[2, 0]), math.sin(columns[2, 0])
    nearest = HEADWAY_RANGE
    for k in range(1, total):
        dx, dy = columns[0, k] - columns[0, 0], columns[1, k] - columns[1, 0]
        along, across = dx * cos + dy * sin, dy * cos - dx * sin
        length, width = columns[4, k], columns[5, k]
        # No rectangle reaches farther than half its length plus half its width.
        if along <= 0 or abs(across) > 0.5 * (length + width + columns[5, 0]):
            continue
        turn = columns[2, k] - columns[2, 0]
        turn_cos, turn_sin = abs(math.cos(turn)), abs(math.sin(turn))
        half_across = 0.5 * (length * turn_sin + width * turn_cos)
        if abs(across) < half_across + 0.5 * columns[5, 0]:
            half_along = 0.5 * (length * turn_cos + width * turn_sin)
            nearest = min(nearest, along - half_along - 0.5 * columns[4, 0])
    return max(nearest, 0.0) / speed if nearest < HEADWAY_RANGE else math.inf


@compiled_core
def unsafe_gap(time_to_collision: float, headway: float) -> float:
    """How unsafe the gap is, in [0, 1]; see ``vlsafe_envs.costs.unsafe_gap``."""
    by_ttc = 1.0 - time_to_collision / TTC_THRESHOLD
    by_headway = 1.0 - headway / HEADWAY_THRESHOLD
    return max(by_ttc, by_headway, 0.0)


@compiled
def unsafe_gaps(
    times_to_collision: npt.NDArray[np.float64], headways: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """:func:`unsafe_gap` of N ego vehicles, ``(N,)``."""
    unsafe = np.empty(headways.size)
    for k in range(headways.size):
        unsafe[k] = unsafe_gap(times_to_collision[k], headways[k])
    return unsafe
