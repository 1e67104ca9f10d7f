"""Many scenes of one road in stacked arrays, stepped and looked at in compiled code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vlsafe_envs.scene import PACKED_ROUTE, Scene
from vlsafe_envs.simulator import EgoStatus
from vlsafe_envs.simulators.engine.compiled_traffic import CompiledTraffic
from vlsafe_envs.simulators.engine.ego import ego_facts, fill_scene, route_points
from vlsafe_envs.simulators.engine.features import EGO_FEATURES, write_ego, write_features
from vlsafe_envs.simulators.engine.gaps import headway, time_to_collision
from vlsafe_envs.simulators.engine.simulation import NO_ACTION, simulate
from vlsafe_envs.simulators.engine.state import (
    ROUTE_STEPS,
    WORLD,
    Integers,
    Records,
    RoadTable,
    compiled_for_threads,
    empty_vehicles,
)
from vlsafe_envs.simulators.engine.vehicle_set import VEHICLE_SIZE, VEHICLES, write_vehicles
from vlsafe_envs.state import State
from vlsafe_envs.threads import share_out

Array = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.float32]

STATUS = np.dtype(
    [
        ("speed", "f8"),  # these are the fields of EgoStatus
        ("forward_speed", "f8"),
        ("crashed", "?"),
        ("on_road", "?"),
        ("arrived", "?"),
        ("lane_id", "i8"),
        ("lanes", "i8"),
        ("lane_offset", "f8"),
        ("lane_heading_error", "f8"),
        ("acceleration", "f8"),
        ("steering", "f8"),
        ("target_speed", "f8"),
        ("target_lane_id", "i8"),
        ("x", "f8"),  # [m]
        ("y", "f8"),
        ("time_to_collision", "f8"),  # [s]
        ("headway", "f8"),  # [s]
        ("total", "i8"),  # road users
        ("points", "i8"),  # of the route ahead
    ],
    align=True,
)


@dataclass
class View:
    """What is seen in N scenes at one instant, one row a scene."""

    status: Records  # (N,) STATUS
    columns: Array  # (N, 6, rows): x, y, heading, speed, length, width; the ego vehicle first
    routes: Array  # (N, PACKED_ROUTE, 2) [m], the way ahead
    vectors: Numbers  # (N, size) vector observations; (0, size), as all that is not wanted
    egos: Numbers  # (N, 16), the ego vehicle's part of them
    vehicles: Numbers  # (N, 16, 14) sets of vehicles

    @property
    def ego(self) -> EgoStatus:
        """Facts about the N ego vehicles; every field is an array ``(N,)``."""
        return ego_of(self.status)

    @property
    def drawing(self) -> tuple[Array, Integers, Array, Integers]:
        """What ``render.draw_many`` needs of the scenes."""
        return self.columns, self.status["total"], self.routes, self.status["points"]

    def scene(self, k: int) -> Scene:
        """The scene in row ``k``, by itself."""
        columns = self.columns[k, :, : self.status["total"][k]]
        return Scene(
            position=np.ascontiguousarray(columns[:2].T),  # (N, 2)
            heading=columns[2],
            speed=columns[3],
            length=columns[4],
            width=columns[5],
            route=self.routes[k, : self.status["points"][k]],
        )


def ego_of(status: Records) -> EgoStatus:
    """Facts about the ego vehicles of STATUS rows ``(N,)``; every field is an array ``(N,)``."""
    columns: dict[str, Any] = {name: status[name] for name in EgoStatus._fields}
    return EgoStatus(**columns)


class TrafficBatch:
    """Scenes of one configuration, stepped together by all threads.

    The scenes are ordinary :class:`CompiledTraffic` objects whose road users live in rows of
    shared arrays: each can be asked for its scene or for advice, and drives as it would alone.

    Args:
        scenes: at least one, all of the same configuration; nobody else may step them any more.
        horizon: [s] up to which collisions are foreseen.

    Raises:
        ValueError: for scenes of different configurations.
    """

    def __init__(self, scenes: Sequence[CompiledTraffic], horizon: float) -> None:
        self.scenes = list(scenes)
        self.config = self.scenes[0].config
        if any(scene.config != self.config for scene in self.scenes):
            raise ValueError("all scenes of a batch must have the same configuration")
        count = len(self.scenes)
        self._horizon = horizon
        self.table = self.scenes[0].people.table
        self.target_speeds = np.array(self.config.target_speeds, np.float64)
        self.worlds = np.zeros(count, WORLD)
        self.plans = np.zeros((count, ROUTE_STEPS), np.int64)
        self.plan_ends = np.zeros(count, np.int64)
        self.goals = np.zeros((count, 3))
        self._make_room(max(len(scene.people.vehicles) for scene in self.scenes))

    def __len__(self) -> int:
        return len(self.scenes)

    def _make_room(self, rows: int) -> None:
        """Move all scenes into arrays of ``rows`` road users each."""
        count = len(self.scenes)
        self.vehicles = empty_vehicles(count * rows).reshape(count, rows)
        self.routes = np.zeros((count, rows, ROUTE_STEPS, 2), np.int64)
        for n, scene in enumerate(self.scenes):
            world = self.worlds[n : n + 1]
            scene.people.move_to(self.vehicles[n], self.routes[n], world, self._make_room)

    def reset(self, n: int, rng: np.random.Generator, density: float | None = None) -> None:
        """Start scene ``n`` afresh, drawing from ``rng``; see ``Simulator.reset``."""
        self.scenes[n].reset(rng, density)
        self._read_aims(n)

    def restore(self, n: int, state: State, rng: np.random.Generator) -> None:
        """Put scene ``n`` where a scene of the same configuration was saved."""
        self.scenes[n].restore(state, rng)
        self._read_aims(n)

    def _read_aims(self, n: int) -> None:
        scene = self.scenes[n]
        self.plan_ends[n] = len(scene.plan)
        self.plans[n, : len(scene.plan)] = scene.plan
        self.goals[n] = scene.goal

    def step(self, rows: Integers, commands: npt.NDArray[Any]) -> None:
        """Apply one decision in each of the scenes ``rows (K,)``.

        ``commands`` are meta-actions ``(K,)``, or accelerations [m/s2] and wheel angles [rad]
        ``(K, 2)``.
        """
        codes = np.full(len(rows), NO_ACTION)
        if self.config.action == "meta":
            codes[:] = commands
        else:
            egos = self.worlds["ego"][rows]
            self.vehicles["acceleration"][rows, egos] = commands[:, 0]
            self.vehicles["steering"][rows, egos] = commands[:, 1]
        # A second always ends with a decision: substeps divide it.
        steps = self.config.substeps
        state = (self.table, self.vehicles, self.routes, self.worlds)

        def work(first: int, last: int) -> None:
            _step_scenes(*state, rows[first:last], codes[first:last], self.target_speeds, steps)

        share_out(work, len(rows))
        for n in rows.tolist():
            self.scenes[n].let_in_and_out(steps)

    @property
    def aims(self) -> tuple[Integers, Integers, Array]:
        """Where the ego vehicles go: plans ``(N, ROUTE_STEPS)``, their lengths, and goals."""
        return self.plans, self.plan_ends, self.goals

    def look(self, rows: Integers, vector: int = 0, cruise_speed: float | None = None) -> View:
        """What is seen in the scenes ``rows (K,)`` now.

        Args:
            rows: which scenes.
            vector: features of the vector observations; 0: none are wanted.
            cruise_speed: of the ego vehicles' plans [m/s]; ``None``: no sets of vehicles.
        """
        count, room = len(rows), self.vehicles.shape[1]
        sets = 0 if cruise_speed is None else count
        view = View(
            np.empty(count, STATUS),
            np.empty((count, 6, room)),
            np.empty((count, PACKED_ROUTE, 2)),
            np.empty((count if vector else 0, vector), np.float32),
            np.empty((sets, EGO_FEATURES), np.float32),
            np.empty((sets, VEHICLES, VEHICLE_SIZE), np.float32),
        )
        speed = float(cruise_speed or 0.0)
        state = (self.table, self.vehicles, self.worlds, *self.aims)

        def work(first: int, last: int) -> None:
            part = slice(first, last)
            seen = (view.status[part], view.columns[part], view.routes[part], speed)
            features = (view.vectors[part], view.egos[part], view.vehicles[part])
            written: Any = (*seen, *features)
            _look_at_scenes(*state, rows[part], self._horizon, *written)

        share_out(work, count)
        return view


@compiled_for_threads
def _step_scenes(
    table: RoadTable,
    vehicles: Records,
    routes: Integers,
    worlds: Records,
    rows: Integers,
    codes: Integers,
    target_speeds: Array,
    steps: int,
) -> None:
    for k in range(rows.size):
        n = rows[k]
        world = worlds[n : n + 1]
        simulate(table, vehicles[n], routes[n], world, codes[k], target_speeds, steps)


@compiled_for_threads
def _look_at_scenes(
    table: RoadTable,
    vehicles: Records,
    worlds: Records,
    plans: Integers,
    plan_ends: Integers,
    goals: Array,
    rows: Integers,
    horizon: float,
    status: Records,
    columns: Array,
    routes: Array,
    cruise_speed: float,
    vectors: Numbers,
    egos: Numbers,
    sets: Numbers,
) -> None:
    for k in range(rows.size):
        n = rows[k]
        i, total = worlds[n].ego, worlds[n].vehicles + worlds[n].obstacles
        goal_road, goal_along, goal_x = int(goals[n, 0]), goals[n, 1], goals[n, 2]
        me = status[k]
        ego = ego_facts(table, vehicles[n], i, goal_road, goal_along, goal_x)
        _write_ego(me, ego)
        fill_scene(vehicles[n], total, i, columns[k])
        me.x, me.y, me.total = columns[k, 0, 0], columns[k, 1, 0], total
        me.points = route_points(table, vehicles[n], i, plans[n][: plan_ends[n]], routes[k])
        me.time_to_collision = time_to_collision(columns[k], total, horizon)
        me.headway = headway(columns[k], total)
        if vectors.shape[0] > 0:
            write_features(columns[k], total, ego, routes[k], me.points, vectors[k])
        if sets.shape[0] > 0:
            write_ego(columns[k], ego, routes[k], me.points, egos[k])
            write_vehicles(columns[k], total, ego, routes[k], me.points, cruise_speed, sets[k])


@compiled_for_threads
def _write_ego(row: Any, ego: EgoStatus) -> None:
    row.speed, row.forward_speed = ego.speed, ego.forward_speed
    row.crashed, row.on_road, row.arrived = ego.crashed, ego.on_road, ego.arrived
    row.lane_id, row.lanes, row.target_lane_id = ego.lane_id, ego.lanes, ego.target_lane_id
    row.lane_offset, row.lane_heading_error = ego.lane_offset, ego.lane_heading_error
    row.acceleration, row.steering = ego.acceleration, ego.steering
    row.target_speed = ego.target_speed
