"""The simulation loop: all drivers decide, all vehicles move, all pairs are tested, in order."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .collisions import collide_all
from .drivers import drive
from .dynamics import control_ego, meta_action, move
from .regulation import HORIZON, regulate
from .state import IDM, META, Integers, Records, RoadTable, compiled

NO_ACTION = -1


@compiled
def simulate(
    table: RoadTable, vehicles: Records, routes: Integers, world: Records, steps: int
) -> None:
    """Advance a scene by ``steps`` simulation steps.

    ``world`` is one WORLD row in an array ``(1,)``; ``vehicles`` and ``routes`` hold one row a
    road user and are changed in place.
    """
    state = world[0]
    count = state.vehicles
    total = count + state.obstacles
    outline_a, outline_b = np.empty((5, 2)), np.empty((5, 2))
    poses = np.empty((count if state.regulation_period > 0 else 0, HORIZON, 3))
    for _ in range(steps):
        for i in range(count):
            if vehicles[i].kind == IDM:
                drive(table, vehicles, routes, count, total, i)
            elif vehicles[i].kind == META:
                control_ego(table, vehicles, routes, i)
        state.steps += 1
        if state.regulation_period > 0 and state.steps % state.regulation_period == 0:
            regulate(table, vehicles, routes, count, poses)
        for i in range(count):
            move(table.lanes, vehicles, i, state.dt)
        collide_all(vehicles, count, total, state.dt, outline_a, outline_b)


@compiled
def act_and_simulate(
    table: RoadTable,
    vehicles: Records,
    routes: Integers,
    world: Records,
    action: int,
    target_speeds: npt.NDArray[np.float64],
    steps: int,
) -> None:
    """Give the ego vehicle a meta-action (``NO_ACTION`` for none), then :func:`simulate`."""
    if action != NO_ACTION:
        meta_action(table, vehicles, routes, world[0].ego, action, target_speeds)
    simulate(table, vehicles, routes, world, steps)
