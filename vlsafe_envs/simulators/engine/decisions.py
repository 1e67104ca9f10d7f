"""Rule-based drivers of many scenes decide together."""

from __future__ import annotations

import numpy as np

from vlsafe_envs.scene import PACKED_ROUTE
from vlsafe_envs.simulator import IdmAdvice
from vlsafe_envs.simulators.engine.batch import Array, TrafficBatch
from vlsafe_envs.simulators.engine.ego import (
    advise,
    ego_facts,
    fill_scene,
    route_points,
    start_shadow,
)
from vlsafe_envs.simulators.engine.population import BLANK
from vlsafe_envs.simulators.engine.rule_drivers import DRIVER, EXPERT, decide
from vlsafe_envs.simulators.engine.state import (
    VEHICLE,
    Integers,
    Records,
    RoadTable,
    compiled_for_threads,
)
from vlsafe_envs.simulators.engine.ways import Ways
from vlsafe_envs.threads import share_out

CHOICE = np.dtype([("number", "i8"), ("throttle", "f8"), ("steering", "f8")])


class Decisions:
    """One rule-based driver for every scene of a batch.

    Args:
        batch: the scenes.
        ways: over their road, where drivers have to know them.
    """

    def __init__(self, batch: TrafficBatch, ways: Ways) -> None:
        self._batch = batch
        self._ways = ways
        count = len(batch)
        self._drivers = np.zeros(count, DRIVER)
        self._shadows = np.zeros(count, VEHICLE)
        self._asked = np.zeros(count, np.int64)  # simulation step at which each last decided

    def assign(self, n: int, driver: Records) -> None:
        """Let ``driver``, one DRIVER record, drive scene ``n``, which has just been reset."""
        self._drivers[n] = driver[0]
        shadow = self._shadows[n : n + 1]
        shadow[:] = BLANK
        people = self._batch.scenes[n].people
        start_shadow(shadow, people.vehicles, people.ego, self._batch.scenes[n].regulated)
        self._asked[n] = 0

    def decide(self, rows: Integers) -> Records:
        """What the drivers of the scenes ``rows (K,)`` do now, CHOICE records ``(K,)``."""
        batch, count = self._batch, len(rows)
        now = np.array([batch.scenes[n].substeps for n in rows.tolist()])
        elapsed = (now - self._asked[rows]) / batch.config.simulation_frequency * (1 + 1e-6)
        self._asked[rows] = now
        choices = np.zeros(count, CHOICE)
        scenes = (batch.table, batch.vehicles, batch.routes, batch.worlds, *batch.aims)
        minds = (self._ways, self._drivers, self._shadows, batch.target_speeds)

        def work(first: int, last: int) -> None:
            part = slice(first, last)
            _decide_in_scenes(*scenes, *minds, rows[part], elapsed[part], choices[part])

        share_out(work, count)
        return choices


@compiled_for_threads
def _decide_in_scenes(
    table: RoadTable,
    vehicles: Records,
    routes: Integers,
    worlds: Records,
    plans: Integers,
    plan_ends: Integers,
    goals: Array,
    ways: Ways,
    drivers: Records,
    shadows: Records,
    target_speeds: Array,
    rows: Integers,
    elapsed: Array,
    choices: Records,
) -> None:
    columns = np.empty((6, vehicles.shape[1]))
    route = np.empty((PACKED_ROUTE, 2))
    for k in range(rows.size):
        n = rows[k]
        people, world, plan = vehicles[n], worlds[n : n + 1], plans[n][: plan_ends[n]]
        i, total = world[0].ego, world[0].vehicles + world[0].obstacles
        fill_scene(people, total, i, columns)
        ego = ego_facts(table, people, i, int(goals[n, 0]), goals[n, 1], goals[n, 2])
        points = route_points(table, people, i, plan, route)
        advice = IdmAdvice(0.0, 0, 0.0)
        if drivers[n].kind == EXPERT:
            speed = drivers[n].speed
            shadow = shadows[n : n + 1]
            advice = advise(table, people, routes[n], world, shadow, plan, elapsed[k], speed)
        choice = decide(
            drivers, n, target_speeds, table, ways, columns, total, ego, route, points, advice
        )
        choices[k].number = choice.number
        choices[k].throttle, choices[k].steering = choice.throttle, choice.steering
