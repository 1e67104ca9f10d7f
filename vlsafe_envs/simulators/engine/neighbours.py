"""Who is where around the ego vehicle: the neighbours in fixed slots, over one scene's columns.

Columns are as in ``gaps``.  A list of the nearest vehicles, nearest first, swaps its rows whenever
two distances cross; a slot such as "first ahead on the left lane" keeps its meaning, which learners
need far fewer drives to make sense of.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from vlsafe_envs.simulators.engine.state import compiled

LANE_WIDTH = 4.0  # [m]
RANGE = 100.0  # [m], a vehicle farther away fills no slot
SIDE_SCALE = 25.0  # [m]
VELOCITY_SCALE = 30.0  # [m/s]
AHEAD, SECOND, BEHIND = 0, 1, 2  # slots of one lane, three a lane: left, own, right
BEYOND = 9  # then left ahead, right ahead, left behind, right behind of those lanes
SLOTS, FEATURES = 13, 7

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
    nearest = np.full(SLOTS, math.inf)
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
            elif distance < nearest[slot]:
                nearest[slot + SECOND], rows[slot + SECOND] = nearest[slot], rows[slot]
            else:
                slot += SECOND
        else:
            slot = BEYOND + (1 if lane > 0 else 0) + (2 if along < 0 else 0)
        if distance < nearest[slot]:
            nearest[slot], rows[slot] = distance, k


@compiled
def neighbours(
    columns: Columns,
    total: int,
    lane_heading_error: float,
    lane_offset: float,
    features: npt.NDArray[np.floating],
) -> None:
    """Write ``features (13, 7)``: present, ahead, right, velocity (2), heading sine and cosine.

    Lanes are told apart in the frame of the ego vehicle's lane, whose heading and centre follow
    from ``lane_heading_error`` [rad] and ``lane_offset`` [m, right positive] of the ego vehicle.
    An empty slot reads as a vehicle at the edge of the range that drives as the ego vehicle does.
    """
    rows = np.empty(SLOTS, np.int64)
    heading, speed = columns[2, 0], columns[3, 0]
    _fill_slots(columns, total, heading - lane_heading_error, lane_offset, rows)
    cos, sin = math.cos(heading), math.sin(heading)
    for slot in range(SLOTS):
        row, k = features[slot], rows[slot]
        if k < 0:
            row[:] = 0.0
            behind = slot >= BEYOND + 2 or (slot < BEYOND and slot % 3 == BEHIND)
            lane = slot // 3 - 1 if slot < BEYOND else 4 * ((slot - BEYOND) % 2) - 2
            row[1] = -1.0 if behind else 1.0
            row[2] = lane * LANE_WIDTH / SIDE_SCALE
            row[6] = 1.0
            continue
        dx, dy = columns[0, k] - columns[0, 0], columns[1, k] - columns[1, 0]
        drift_x = columns[3, k] * math.cos(columns[2, k]) - speed * cos
        drift_y = columns[3, k] * math.sin(columns[2, k]) - speed * sin
        row[0] = 1.0
        row[1], row[2] = (dx * cos + dy * sin) / RANGE, (dy * cos - dx * sin) / SIDE_SCALE
        row[3] = (drift_x * cos + drift_y * sin) / VELOCITY_SCALE
        row[4] = (drift_y * cos - drift_x * sin) / VELOCITY_SCALE
        row[5] = math.sin(columns[2, k] - heading)
        row[6] = math.cos(columns[2, k] - heading)
