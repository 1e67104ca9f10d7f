"""How near the others' possible ways come to the ego vehicle's, in compiled code.

What the numbers mean is in ``vlsafe_envs.way_set``.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from vlsafe_envs.simulators.engine.commands import MAX_ACCELERATION
from vlsafe_envs.simulators.engine.gaps import Columns
from vlsafe_envs.simulators.engine.nearest import nearest
from vlsafe_envs.simulators.engine.neighbours import RANGE
from vlsafe_envs.simulators.engine.state import compiled, compiled_core
from vlsafe_envs.simulators.engine.vehicle_set import HORIZON, VEHICLES, way_driven
from vlsafe_envs.simulators.paths.paths import PossibleWays, pose

GO, PEEK, HOLD = 0, 1, 2  # plans of the ego vehicle
PLANS = 3
LOOKS = 10  # at them, a second
PEEK_SECONDS = 0.5  # [s] of going before braking
HURRY = 2.0  # [m/s2] that others may speed up by
TOWN_SPEED = 30.0 / 3.6  # [m/s] that they may come to, if they do not drive faster already
TOUCH = 0.3  # [m], nearer bodies count as touching
NEAREST, FARTHEST = -10.0, 60.0  # [m], bounds of separations
WAY_SIZE = PLANS * (HORIZON + 2)  # numbers of one vehicle

Floats = npt.NDArray[np.float64]


@compiled
def write_ways(
    columns: Columns,
    total: int,
    route: Floats,
    cruise_speed: float,
    acceleration: float,
    ways: PossibleWays,
    out: npt.NDArray[np.float32],
) -> None:
    """Write the numbers into ``out (16, 21)``, rows in the order of ``write_vehicles``.

    Args:
        columns: of the scene, with ``total`` road users.
        route: ``(K, 2)`` [m], points ahead of the ego vehicle.
        cruise_speed: [m/s] that its plan to go comes to, at ``acceleration`` [m/s2].
        ways: of the others.
        out: rows without a vehicle are 0.
    """
    out[:] = 0.0
    order = np.empty(VEHICLES, np.int64)
    found = nearest(columns, 1, total, RANGE, order, np.empty(VEHICLES))
    place = np.full(total, -1, np.int64)
    for k in range(found):
        place[order[k]] = k
        out[k, : PLANS * (HORIZON + 1)] = FARTHEST
    plans = np.empty((PLANS, HORIZON * LOOKS, 4))
    _write_plans(columns, route, cruise_speed, acceleration, plans)
    counts, touched = np.zeros(VEHICLES), np.empty(PLANS)
    for h in range(ways.path.size):
        k = place[ways.row[h]]
        if k >= 0:
            counts[k] += 1.0
            _write_way(columns, ways, h, plans, touched, out[k])
    shares = PLANS * (HORIZON + 1)
    for k in range(found):
        for plan in range(PLANS):
            out[k, shares + plan] /= max(counts[k], 1.0)


@compiled_core
def _write_way(
    columns: Columns,
    ways: PossibleWays,
    h: int,
    plans: Floats,
    touched: Floats,
    row: npt.NDArray[np.float32],
) -> None:
    """Lower the separations in ``row`` to those of way ``h``, and count the plans it touches.

    ``touched (3,)`` is scratch.
    """
    speed, station = ways.speed[h], ways.station[h]
    wanted = max(speed, TOWN_SPEED)
    half = (columns[4, ways.row[h]] / 2, columns[5, ways.row[h]] / 2)
    own = (columns[4, 0] / 2, columns[5, 0] / 2)
    touched[:] = 0.0
    for look in range(HORIZON * LOOKS):
        time = (look + 1) / LOOKS
        for hurried in range(2):
            if hurried and not (ways.moves[h] and speed < TOWN_SPEED):
                continue  # no faster than at the present speed
            way = way_driven(speed, wanted, HURRY, time) if hurried else speed * time
            x, y, heading = pose(ways.table, ways.path[h], station + way)
            cos, sin = math.cos(heading), math.sin(heading)
            for plan in range(PLANS):
                gap = _separation(plans[plan, look], own, x, y, cos, sin, half)
                gap = min(max(gap, NEAREST), FARTHEST)
                if gap < TOUCH:
                    touched[plan] = 1.0
                at = plan * HORIZON + look // LOOKS
                if not hurried:
                    row[at] = min(row[at], gap)
                at = PLANS * HORIZON + plan
                row[at] = min(row[at], gap)
    for plan in range(PLANS):
        row[PLANS * (HORIZON + 1) + plan] += touched[plan]


@compiled_core
def _separation(
    ego: Floats,
    own: tuple[float, float],
    x: float,
    y: float,
    cos: float,
    sin: float,
    half: tuple[float, float],
) -> float:
    """The largest gap [m] between two rectangles along their axes; below 0 they overlap."""
    dx, dy = x - ego[0], y - ego[1]
    along, across = abs(ego[2] * cos + ego[3] * sin), abs(ego[2] * sin - ego[3] * cos)
    gap = abs(dx * ego[2] + dy * ego[3]) - own[0] - half[0] * along - half[1] * across
    gap = max(gap, abs(dy * ego[2] - dx * ego[3]) - own[1] - half[0] * across - half[1] * along)
    gap = max(gap, abs(dx * cos + dy * sin) - half[0] - own[0] * along - own[1] * across)
    return max(gap, abs(dy * cos - dx * sin) - half[1] - own[0] * across - own[1] * along)


@compiled_core
def _write_plans(
    columns: Columns, route: Floats, cruise_speed: float, acceleration: float, plans: Floats
) -> None:
    """Where the ego vehicle will be by each plan: x, y [m], cosine and sine of the heading."""
    speed = columns[3, 0]
    peeked = way_driven(speed, cruise_speed, acceleration, PEEK_SECONDS)
    if speed < cruise_speed:
        fastest = min(speed + acceleration * PEEK_SECONDS, cruise_speed)
    else:
        fastest = max(speed - acceleration * PEEK_SECONDS, cruise_speed)
    for look in range(HORIZON * LOOKS):
        time = (look + 1) / LOOKS
        go = way_driven(speed, cruise_speed, acceleration, time)
        _place(columns, route, go, plans[GO, look])
        if time > PEEK_SECONDS:
            rest = time - PEEK_SECONDS
            go = peeked + way_driven(fastest, 0.0, MAX_ACCELERATION, rest)
        _place(columns, route, go, plans[PEEK, look])
        hold = way_driven(speed, 0.0, MAX_ACCELERATION, time)
        _place(columns, route, hold, plans[HOLD, look])


@compiled_core
def _place(columns: Columns, route: Floats, way: float, out: Floats) -> None:
    """Where the ego vehicle is after ``way`` [m] along its route, whose end goes straight on."""
    x, y = columns[0, 0], columns[1, 0]
    cos, sin = math.cos(columns[2, 0]), math.sin(columns[2, 0])
    left = way
    for k in range(len(route)):
        dx, dy = route[k, 0] - x, route[k, 1] - y
        length = math.hypot(dx, dy)
        if way < 0.05 or length < 1e-6:
            continue
        cos, sin = dx / length, dy / length
        if left <= length:
            break
        left -= length
        x, y = route[k, 0], route[k, 1]
    out[0], out[1], out[2], out[3] = x + left * cos, y + left * sin, cos, sin
