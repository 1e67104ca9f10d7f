"""Who is where around the ego vehicle: the neighbours in fixed slots, over one scene's columns.

Columns are as in ``gaps``.  A list of the nearest vehicles, nearest first, swaps its rows whenever
two distances cross; a slot such as "first ahead on the left lane" keeps its meaning, which learners
need far fewer drives to make sense of.  Where ways cross, most vehicles fit no slot of their own:
there a list of the others follows.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from vlsafe_envs.simulators.engine.nearest import nearest
from vlsafe_envs.simulators.engine.state import compiled

LANE_WIDTH = 4.0  # [m]
RANGE = 100.0  # [m], a vehicle farther away fills no slot
SIDE_SCALE = 25.0  # [m]; where ways cross it is RANGE, for those who come from the side
VELOCITY_SCALE = 30.0  # [m/s]
AHEAD, SECOND, BEHIND = 0, 1, 2  # slots of one lane, three a lane: left, own, right
BEYOND = 9  # then left ahead, right ahead, left behind, right behind of those lanes
SLOTS, FEATURES = 13, 7
OTHERS = 15  # that a vector has room for where ways cross: of 16 seen, one at least has a slot

Columns = npt.NDArray[np.float64]


@compiled
def _fill_slots(
    columns: Columns,
    total: int,
    lane_heading: float,
    lane_offset: float,
    rows: npt.NDArray[np.int64],
) -> None:
    """Row of the vehicle in each slot, -1 for none."""
    cos, sin = math.cos(lane_heading), math.sin(lane_heading)
    closest = np.full(SLOTS, math.inf)
    rows[:] = -1
    for k in range(1, total):
        dx, dy = columns[0, k] - columns[0, 0], columns[1, k] - columns[1, 0]
        distance = math.hypot(dx, dy)
        if distance > RANGE:
            continue
        along = dx * cos + dy * sin
        lane = round((dy * cos - dx * sin + lane_offset) / LANE_WIDTH)
        if abs(lane) <= 1:
            slot = 3 * (int(lane) + 1)
            distance = abs(along)
            if along < 0:
                slot += BEHIND
            elif distance < closest[slot]:
                closest[slot + SECOND], rows[slot + SECOND] = closest[slot], rows[slot]
            else:
                slot += SECOND
        else:
            slot = BEYOND + (1 if lane > 0 else 0) + (2 if along < 0 else 0)
        if distance < closest[slot]:
            closest[slot], rows[slot] = distance, k


@compiled
def _write_row(columns: Columns, k: int, side: float, row: npt.NDArray[np.floating]) -> None:
    """Write the seven features of vehicle ``k``; ``side`` [m] scales its offset to the right."""
    heading, speed = columns[2, 0], columns[3, 0]
    cos, sin = math.cos(heading), math.sin(heading)
    dx, dy = columns[0, k] - columns[0, 0], columns[1, k] - columns[1, 0]
    drift_x = columns[3, k] * math.cos(columns[2, k]) - speed * cos
    drift_y = columns[3, k] * math.sin(columns[2, k]) - speed * sin
    row[0] = 1.0
    row[1], row[2] = (dx * cos + dy * sin) / RANGE, (dy * cos - dx * sin) / side
    row[3] = (drift_x * cos + drift_y * sin) / VELOCITY_SCALE
    row[4] = (drift_y * cos - drift_x * sin) / VELOCITY_SCALE
    row[5] = math.sin(columns[2, k] - heading)
    row[6] = math.cos(columns[2, k] - heading)


@compiled
def neighbours(
    columns: Columns,
    total: int,
    lane_heading_error: float,
    lane_offset: float,
    features: npt.NDArray[np.floating],
) -> None:
    """Write ``features (13 or more, 7)``: present, ahead, right, velocity (2), heading (2).

    Lanes are told apart in the frame of the ego vehicle's lane, whose heading and centre follow
    from ``lane_heading_error`` [rad] and ``lane_offset`` [m, right positive] of the ego vehicle.
    An empty slot reads as a vehicle at the edge of the range that drives as the ego vehicle does.
    Further rows hold those who found no slot, nearest first; sideways offsets are / 100 m then.
    """
    side = SIDE_SCALE if len(features) == SLOTS else RANGE
    rows = np.empty(SLOTS, np.int64)
    lane_heading = columns[2, 0] - lane_heading_error
    _fill_slots(columns, total, lane_heading, lane_offset, rows)
    for slot in range(SLOTS):
        row = features[slot]
        if rows[slot] >= 0:
            _write_row(columns, rows[slot], side, row)
            continue
        row[:] = 0.0
        behind = slot >= BEYOND + 2 or (slot < BEYOND and slot % 3 == BEHIND)
        lane = slot // 3 - 1 if slot < BEYOND else 4 * ((slot - BEYOND) % 2) - 2
        row[1] = -1.0 if behind else 1.0
        row[2] = lane * LANE_WIDTH / side
        row[6] = 1.0
    if len(features) > SLOTS:
        _write_others(columns, total, rows, features[SLOTS:])


@compiled
def _write_others(
    columns: Columns,
    total: int,
    rows: npt.NDArray[np.int64],
    features: npt.NDArray[np.floating],
) -> None:
    """Write those who are in none of the slots' ``rows (13,)``, nearest first."""
    order = np.empty(SLOTS + len(features), np.int64)
    found = nearest(columns, 1, total, RANGE, order, np.empty(order.size))
    place = 0
    for k in order[:found]:
        if place < len(features) and not (rows == k).any():
            _write_row(columns, k, RANGE, features[place])
            place += 1
    for row in features[place:]:
        row[:] = 0.0
        row[1], row[6] = 1.0, 1.0
