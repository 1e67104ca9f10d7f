"""The ``Simulator`` protocol over the compiled engine."""

from __future__ import annotations

import pkgutil
from dataclasses import replace
from functools import cache

import numpy as np
import numpy.typing as npt
from highway_env.road.road import RoadNetwork

from vlsafe_envs.render import RoadShape
from vlsafe_envs.scenarios import SCENARIO_NAMES, TrafficConfig
from vlsafe_envs.scene import PACKED_ROUTE, Scene
from vlsafe_envs.simulator import EgoStatus, IdmAdvice
from vlsafe_envs.simulators.engine.dynamics import nearest_speed
from vlsafe_envs.simulators.engine.ego import (
    advise,
    ego_facts,
    fill_scene,
    route_points,
    start_shadow,
)
from vlsafe_envs.simulators.engine.entering import enter_perhaps, leave, read_crossing
from vlsafe_envs.simulators.engine.network import road_table
from vlsafe_envs.simulators.engine.population import Population
from vlsafe_envs.simulators.engine.simulation import NO_ACTION
from vlsafe_envs.simulators.engine.state import META, Integers, Records, RoadTable, empty_vehicles
from vlsafe_envs.simulators.highway_env.stages import stage_class
from vlsafe_envs.simulators.highway_env.traffic import ARRIVAL_DISTANCE, build_network, road_shape
from vlsafe_envs.state import State, restore_attributes, save_attributes

REGULATION_FREQUENCY = 2  # [Hz], of right-of-way checks at the intersection
_STATE = ("_substeps", "_density", "_plan", "_goal", "_shadow", "_shadow_substep")


@cache
def road_of(scenario: str, lanes: int) -> tuple[RoadNetwork, RoadTable]:
    """The network of a scenario and its arrays; roads never change, so they are shared."""
    config = TrafficConfig(scenario, vehicles=0, lanes=lanes)
    network = build_network(config)
    return network, road_table(network, stage_class(config).connected_lanes)


def supports(config: TrafficConfig) -> bool:
    """Whether the engine can simulate this traffic."""
    return type(config) is TrafficConfig and config.scenario in SCENARIO_NAMES


class CompiledTraffic:
    """Steps the rules of highway-env in compiled code; see ``simulator.Simulator``.

    The same seed, configuration and actions give the same traffic as ``HighwayEnvTraffic``.

    Args:
        config: the road and its traffic.

    Raises:
        NotImplementedError: for a configuration that the engine does not know.
    """

    def __init__(self, config: TrafficConfig) -> None:
        if not supports(config):
            raise NotImplementedError(f"{type(config).__name__}, scenario {config.scenario!r}")
        self.config = config
        self._network, self._table = road_of(config.scenario, config.lanes)
        self._target_speeds = np.array(config.target_speeds, np.float64)
        self._people = Population(
            self._network, self._table, 1 / config.simulation_frequency, config.vehicles + 8
        )
        self._stage = stage_class(config)
        self._spawn = pkgutil.resolve_name(config.road.spawner)  # draws as the stage does
        if self._stage.regulated:
            period = int(1 / (1 / config.simulation_frequency) / REGULATION_FREQUENCY)
            self._people.world["regulation_period"] = period
            self._people.crossing = read_crossing(self._people)
        self._ready = False

    def reset(self, rng: np.random.Generator, density: float | None = None) -> None:
        """Spawn vehicles, drawing from ``rng`` in highway-env's order."""
        people = self._people
        people.clear()
        config = self.config if density is None else replace(self.config, density=density)
        self._density = config.density
        self._spawn(config, people, rng)
        ego = people.vehicles[people.ego]
        ego["speed"] = ego["target_speed"] = self.config.initial_speed
        if ego["kind"] == META:
            index = nearest_speed(self.config.initial_speed, self._target_speeds)
            ego["target_speed"] = self._target_speeds[index]
        self._rng = rng
        self._substeps = 0
        self._plan = people.routes[people.ego, : ego["route_end"], 0].copy()
        goal_road = int(self._plan[-1]) if len(self._plan) else -1
        self._goal = (goal_road, ARRIVAL_DISTANCE, self._stage.goal_x)
        self._shadow = empty_vehicles(1)
        self._shadow_substep = -1
        self._ready = True

    def save(self) -> State:
        """See ``Simulator.save``."""
        self._need_reset()
        return {"own": save_attributes(self, _STATE), "people": self._people.save()}

    def restore(self, state: State, rng: np.random.Generator) -> None:
        """See ``Simulator.restore``."""
        restore_attributes(self, state["own"])
        self._people.restore(state["people"])
        self._rng = rng
        self._ready = True

    @property
    def regulated(self) -> bool:
        """Whether the right of way is regulated, and drivers are those of the intersection."""
        return bool(self._stage.regulated)

    @property
    def people(self) -> Population:
        """The road users."""
        return self._people

    @property
    def substeps(self) -> int:
        """Simulation steps since reset."""
        return self._substeps

    @property
    def plan(self) -> Integers:
        """Roads ``(K,)`` that the ego vehicle was to drive at reset."""
        return self._plan

    @property
    def goal(self) -> tuple[int, float, float]:
        """Goal road (-1: none), [m] into it, and x [m] beyond which a vehicle has arrived."""
        return self._goal

    @property
    def network(self) -> RoadNetwork:
        """highway-env's road network, for drawing."""
        return self._network

    @property
    def vehicles(self) -> Records:
        """The vehicles now, as VEHICLE records in highway-env's order: a view, do not write."""
        return self._people.vehicles[: self._people.count]

    def _need_reset(self) -> None:
        if not self._ready:
            raise RuntimeError("reset the traffic before using it")

    def step(self, action: int | npt.NDArray[np.floating]) -> None:
        """Apply one decision for ``1 / policy_frequency`` seconds."""
        self._need_reset()
        code = NO_ACTION
        if self.config.action == "meta":
            code = int(action)
        else:
            ego = self._people.vehicles[self._people.ego]
            ego["acceleration"], ego["steering"] = (float(v) for v in np.asarray(action))
        left = self.config.substeps
        while left > 0:
            second = self.config.simulation_frequency
            steps = min(left, second - self._substeps % second)
            self._simulate(code, steps)
            code = NO_ACTION
            left -= steps

    def _simulate(self, code: int, steps: int) -> None:
        self._people.advance(code, self._target_speeds, steps)
        self.let_in_and_out(steps)

    def let_in_and_out(self, steps: int) -> None:
        """Count ``steps`` simulated; when a second is full, vehicles leave and may enter."""
        self._substeps += steps
        config, people = self.config, self._people
        if self._stage.regulated and self._substeps % config.simulation_frequency == 0:
            leave(people, people.crossing)
            if config.vehicles:
                chance = min(1.0, config.spawn_probability * self._density)
                enter_perhaps(people, people.crossing, self._rng, chance)

    @property
    def road(self) -> RoadShape:
        """The road, as it is drawn."""
        return road_shape(self.config)

    def close(self) -> None:
        """Nothing to give back."""

    @property
    def scene(self) -> Scene:
        """Where everything is now; obstacles are rows like vehicles, standing still."""
        self._need_reset()
        people = self._people
        columns = np.empty((6, people.total))
        fill_scene(people.vehicles, people.total, people.ego, columns)
        points = np.empty((PACKED_ROUTE, 2))
        count = route_points(self._table, people.vehicles, people.ego, self._plan, points)
        return Scene.of_columns(columns, points[:count])

    @property
    def ego(self) -> EgoStatus:
        """Facts about the ego vehicle now."""
        self._need_reset()
        people = self._people
        return ego_facts(self._table, people.vehicles, people.ego, *self._goal)

    def idm(self, target_speed: float) -> IdmAdvice:
        """What highway-env's IDM/MOBIL driver would do now in the ego vehicle's place.

        A shadow driver takes the ego vehicle's row for the length of the call.  Its lane-change
        timer runs with the simulation; its target lane is the ego vehicle's own (meta-actions) or
        is kept from call to call.
        """
        self._need_reset()
        people = self._people
        if self._shadow_substep < 0:
            start_shadow(self._shadow, people.vehicles, people.ego, self.regulated)
            self._shadow_substep = self._substeps
        elapsed = (self._substeps - self._shadow_substep) / self.config.simulation_frequency
        self._shadow_substep = self._substeps
        return advise(
            self._table,
            people.vehicles,
            people.routes,
            people.world,
            self._shadow,
            self._plan,
            elapsed * (1 + 1e-6),
            float(target_speed),
        )
