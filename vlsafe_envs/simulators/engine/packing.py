"""Scenes as they stand in data sets (see ``Scene.pack``), of many at once."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from vlsafe_envs.scene import PACKED_COLUMNS, PACKED_ROUTE, PACKED_VEHICLES
from vlsafe_envs.simulators.engine.batch import View
from vlsafe_envs.simulators.engine.nearest import nearest
from vlsafe_envs.simulators.engine.state import Integers, compiled_for_threads
from vlsafe_envs.threads import share_out

_VEHICLE, _ROUTE = 1.0, 2.0  # as in Scene.pack

Packed = npt.NDArray[np.float32]


def pack_scenes(view: View) -> Packed:
    """What ``Scene.pack`` makes of each of N scenes: float32 ``(N, 48, 7)``."""
    count = len(view.status)
    packed = np.zeros((count, PACKED_VEHICLES + PACKED_ROUTE, PACKED_COLUMNS), np.float32)
    columns, totals, routes, points = view.drawing

    def work(first: int, last: int) -> None:
        part = slice(first, last)
        _pack_scenes(columns[part], totals[part], routes[part], points[part], packed[part])

    share_out(work, count)
    return packed


@compiled_for_threads
def _pack_scenes(
    columns: npt.NDArray[np.float64],
    totals: Integers,
    routes: npt.NDArray[np.float64],
    points: Integers,
    packed: Packed,
) -> None:
    order = np.empty(PACKED_VEHICLES, np.int64)
    distances = np.empty(PACKED_VEHICLES)
    for n in range(len(columns)):
        kept = nearest(columns[n], 0, totals[n], math.inf, order, distances)
        for row in range(kept):
            for column in range(6):
                packed[n, row, column] = columns[n, column, order[row]]
            packed[n, row, 6] = _VEHICLE
        for k in range(min(points[n], PACKED_ROUTE)):
            row = PACKED_VEHICLES + k
            packed[n, row, 0], packed[n, row, 1] = routes[n, k, 0], routes[n, k, 1]
            packed[n, row, 6] = _ROUTE
