"""The simulation loop: all drivers decide, all vehicles move, all pairs are tested, in order."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vlsafe_envs.simulators.engine.collisions import collide_all
from vlsafe_envs.simulators.engine.drivers import drive, rank_by_x
from vlsafe_envs.simulators.engine.dynamics import control_ego, meta_action, move
from vlsafe_envs.simulators.engine.regulation import HORIZON, regulate
from vlsafe_envs.simulators.engine.state import IDM, META, Integers, Records, RoadTable, compiled

NO_ACTION = -1


@compiled
def simulate(
    table: RoadTable,
    vehicles: Records,
    routes: Integers,
    world: Records,
    action: int,
    target_speeds: npt.NDArray[np.float64],
    steps: int,
) -> None:
    """Give the ego vehicle a meta-action (or ``NO_ACTION``) and advance by ``steps`` steps.

    ``world`` is one WORLD row in an array ``(1,)``; ``vehicles`` and ``routes`` hold one row a
    road user and are changed in place.  ``target_speeds`` [m/s] are those of meta-actions.
    """
    state = world[0]
    count = state.vehicles
    total = count + state.obstacles
    outline_a, outline_b = np.empty((5, 2)), np.empty((5, 2))
    poses = np.empty((count if state.regulation_period > 0 else 0, HORIZON, 3))
    if action != NO_ACTION:
        meta_action(table, vehicles, routes, state.ego, action, target_speeds)
    for _ in range(steps):
        rank_by_x(table.lanes, vehicles, total)
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
