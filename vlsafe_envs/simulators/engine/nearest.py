"""Who is nearest to the ego vehicle, in order, over one scene's columns (as in ``gaps``)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vlsafe_envs.simulators.engine.gaps import Columns
from vlsafe_envs.simulators.engine.state import Integers, compiled_core


@compiled_core
def nearest(
    columns: Columns,
    first: int,
    total: int,
    farthest: float,
    order: Integers,
    distances: npt.NDArray[np.float64],
) -> int:
    """Write the nearest of the rows ``[first, total)`` into ``order``; returns how many.

    Those beyond ``farthest`` [m] are left out.  Of equally near ones the first comes first.
    ``distances`` has the length of ``order`` and is scratch [m2].
    """
    kept = 0
    for k in range(first, total):
        dx, dy = columns[0, k] - columns[0, 0], columns[1, k] - columns[1, 0]
        distance = dx * dx + dy * dy
        if distance > farthest * farthest:
            continue
        place = kept
        while place > 0 and distances[place - 1] > distance:
            place -= 1
        if place == order.size:
            continue
        kept = min(kept + 1, order.size)
        for later in range(kept - 1, place, -1):
            order[later], distances[later] = order[later - 1], distances[later - 1]
        order[place], distances[place] = k, distance
    return kept
