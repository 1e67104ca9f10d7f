"""How vehicles move on these roads, in compiled code.

The ego vehicle is highway-env's kinematic bicycle, 5 m x 2 m; the others keep to their paths.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from vlsafe_envs.engine import gaps
from vlsafe_envs.engine.state import VEHICLE_LENGTH, VEHICLE_WIDTH, compiled, compiled_core
from vlsafe_envs.tasks.paths import PathTable, pose
from vlsafe_envs.tasks.traffic import SIMULATION_FREQUENCY

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

DT = 1.0 / SIMULATION_FREQUENCY  # [s]

# Drivers of four-lane traffic: Treiber's IDM, between bumpers.
TIME_GAP = 1.0  # [s]
JAM_GAP = 2.5  # [m]
COMFORT_ACCELERATION = 2.0  # [m/s2]
COMFORT_BRAKING = 3.0  # [m/s2]
HARDEST_BRAKING = 6.0  # [m/s2]
SIDE_ROOM = 0.3  # [m], nearer than this beside their own strip the ego vehicle counts as on it


@compiled_core
def move_ego(ego: Array, acceleration: float, wheel: float, dt: float) -> None:
    """Move ``ego`` (x, y, heading, speed) on by ``dt`` [s]; it never reverses."""
    beta = math.atan(0.5 * math.tan(wheel))
    ego[0] += ego[3] * math.cos(ego[2] + beta) * dt
    ego[1] += ego[3] * math.sin(ego[2] + beta) * dt
    ego[2] += ego[3] * math.sin(beta) / (VEHICLE_LENGTH / 2) * dt
    ego[3] = max(ego[3] + acceleration * dt, 0.0)


@compiled_core
def idm(speed: float, wanted: float, gap: float, leader_speed: float) -> float:
    """Acceleration [m/s2] at ``gap`` [m] behind a leader (``inf``: none); Treiber et al. (2000)."""
    free = 1.0 - (speed / wanted) ** 4
    closing = (
        speed * (speed - leader_speed) / (2.0 * math.sqrt(COMFORT_ACCELERATION * COMFORT_BRAKING))
    )
    room = JAM_GAP + max(speed * TIME_GAP + closing, 0.0)
    acceleration = COMFORT_ACCELERATION * (free - (room / max(gap, 0.1)) ** 2)
    return max(acceleration, -HARDEST_BRAKING)


@compiled_core
def write_columns(
    ego: Array, table: PathTable, path: Integers, station: Array, speed: Array, columns: Array
) -> int:
    """Fill ``columns`` (see ``Scene.columns``): the ego vehicle, then who is on their path.

    Returns how many there are.
    """
    for row in range(4):
        columns[row, 0] = ego[row]
    total = 1
    for k in range(station.size):
        if 0.0 <= station[k] <= table.length[path[k]]:
            columns[0, total], columns[1, total], columns[2, total] = pose(
                table, path[k], station[k]
            )
            columns[3, total] = speed[k]
            total += 1
    for k in range(total):
        columns[4, k], columns[5, k] = VEHICLE_LENGTH, VEHICLE_WIDTH
    return total


@compiled
def show(
    ego: Array, table: PathTable, path: Integers, station: Array, speed: Array, columns: Array
) -> int:
    """:func:`write_columns`, for Python."""
    return write_columns(ego, table, path, station, speed, columns)


@compiled
def step_flow(
    ego: Array,
    command: Array,
    steps: int,
    table: PathTable,
    path: Integers,
    station: Array,
    speed: Array,
    columns: Array,
) -> tuple[int, bool]:
    """Simulate ``steps``; the others drive on at constant speed, whatever comes.

    Returns how many vehicles ``columns`` hold, and whether the ego vehicle touched one.
    """
    total, crashed = 1, False
    for _ in range(steps):
        move_ego(ego, command[0], command[1], DT)
        for k in range(station.size):
            station[k] += speed[k] * DT
        total = write_columns(ego, table, path, station, speed, columns)
        crashed = crashed or gaps.time_to_collision(columns, total, 0.0) == 0.0
    return total, crashed


@compiled
def step_lanes(
    ego: Array,
    command: Array,
    steps: int,
    table: PathTable,
    path: Integers,
    station: Array,
    speed: Array,
    wanted: Array,
    columns: Array,
) -> tuple[int, bool]:
    """Simulate ``steps``; the others keep their straight lane and follow by IDM, in a ring.

    Returns as :func:`step_flow` does.  ``wanted (N,)`` [m/s] is what each would drive alone.
    """
    total, crashed = 1, False
    acceleration = np.empty(station.size)
    for _ in range(steps):
        for k in range(station.size):
            gap, leader_speed = _leader(ego, table, path, station, speed, k)
            acceleration[k] = idm(speed[k], wanted[k], gap, leader_speed)
        move_ego(ego, command[0], command[1], DT)
        for k in range(station.size):
            station[k] = (station[k] + speed[k] * DT) % table.length[path[k]]
            speed[k] = max(speed[k] + acceleration[k] * DT, 0.0)
        total = write_columns(ego, table, path, station, speed, columns)
        crashed = crashed or gaps.time_to_collision(columns, total, 0.0) == 0.0
    return total, crashed


@compiled_core
def _leader(
    ego: Array, table: PathTable, path: Integers, station: Array, speed: Array, k: int
) -> tuple[float, float]:
    """Gap between bumpers [m] and speed [m/s] of whoever is next on vehicle ``k``'s lane."""
    ring = table.length[path[k]]
    gap, leader_speed = math.inf, 0.0
    for j in range(station.size):
        if j != k and path[j] == path[k]:
            ahead = (station[j] - station[k]) % ring - VEHICLE_LENGTH
            if ahead < gap:
                gap, leader_speed = ahead, speed[j]
    start = table.points[table.first[path[k]]]
    ahead = ego[0] - (start[0] + station[k])  # the ego vehicle never comes near the ring's seam
    sine, cosine = abs(math.sin(ego[2])), abs(math.cos(ego[2]))
    half_across = (VEHICLE_LENGTH * sine + VEHICLE_WIDTH * cosine) / 2
    half_along = (VEHICLE_LENGTH * cosine + VEHICLE_WIDTH * sine) / 2
    on_strip = abs(ego[1] - start[1]) < half_across + VEHICLE_WIDTH / 2 + SIDE_ROOM
    if on_strip and ahead > 0.0:
        bumper = ahead - half_along - VEHICLE_LENGTH / 2
        if bumper < gap:
            gap, leader_speed = bumper, ego[3] * math.cos(ego[2])
    return gap, leader_speed
