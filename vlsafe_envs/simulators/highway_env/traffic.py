"""Traffic simulated by highway-env's own roads and vehicles: the reference, and slow.

Only highway-env's road and vehicle code runs here.  Its environments serve as *stages*: they
build a road and spawn vehicles, but never observe, reward or step.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
from typing import Any

import numpy as np
import numpy.typing as npt
from highway_env.road.road import LaneIndex, Road, RoadNetwork
from highway_env.vehicle.behavior import IDMVehicle
from highway_env.vehicle.controller import ControlledVehicle, MDPVehicle
from highway_env.vehicle.kinematics import Vehicle

from vlsafe_envs.render import RoadShape
from vlsafe_envs.scenarios import TrafficConfig
from vlsafe_envs.scene import Scene
from vlsafe_envs.simulator import EgoStatus, IdmAdvice
from vlsafe_envs.simulators.highway_env.reading import read_ego, read_scene
from vlsafe_envs.simulators.highway_env.route import plan_of, route_ahead
from vlsafe_envs.simulators.highway_env.stages import Stage, stage_class
from vlsafe_envs.state import State

_STATE = ("_stage", "_plan", "_shadow", "_shadow_substep", "_substeps")
META_ACTIONS = ("LANE_LEFT", "IDLE", "LANE_RIGHT", "FASTER", "SLOWER")
ARRIVAL_DISTANCE = 25.0  # [m] into the exit road


class DirectEgo(Vehicle):
    """An ego vehicle that holds the acceleration and steering that it was given.

    It carries a route, to be drawn and observed; nothing steers it along the route.
    """

    route: list[LaneIndex] | None = None
    plan_route_to = ControlledVehicle.plan_route_to

    def predict_trajectory_constant_speed(
        self, times: npt.NDArray[np.float64]
    ) -> tuple[list[npt.NDArray[np.float64]], list[float]]:
        """Positions and headings at ``times`` [s], speed and steering held.

        Same arithmetic as ``Vehicle``'s, which copies the whole road to compute it.
        """
        beta = np.arctan(0.5 * np.tan(self.action["steering"]))
        position, heading = self.position.copy(), self.heading
        positions, headings = [], []
        for dt in np.diff(np.concatenate(([0.0], times))):
            way = np.array([np.cos(heading + beta), np.sin(heading + beta)])
            position = position + self.speed * way * dt
            heading += self.speed * np.sin(beta) / (self.LENGTH / 2) * dt
            positions.append(position)
            headings.append(heading)
        return positions, headings


def build_network(config: TrafficConfig) -> RoadNetwork:
    """The road that ``config`` describes, without vehicles; the same at every reset."""
    stage = stage_class(config)(config, MDPVehicle, np.random.default_rng(0))
    stage.build_road()
    return stage.road.network


def road_shape(config: TrafficConfig) -> RoadShape:
    """The road that ``config`` describes, as it is drawn."""
    return _road_shape(config.scenario, config.lanes)


@functools.lru_cache(maxsize=16)
def _road_shape(scenario: str, lanes: int) -> RoadShape:
    return RoadShape.from_network(build_network(TrafficConfig(scenario, vehicles=0, lanes=lanes)))


def ego_class(config: TrafficConfig) -> Any:
    """What builds the ego vehicle: ``MDPVehicle`` for meta-actions, else :class:`DirectEgo`."""
    if config.action != "meta":
        return DirectEgo
    speeds = np.array(config.target_speeds)

    def build(*args: Any, **kwargs: Any) -> MDPVehicle:
        return MDPVehicle(*args, target_speeds=speeds, **kwargs)

    return build


class HighwayEnvTraffic:
    """The :class:`~vlsafe_envs.simulator.Simulator` protocol over highway-env's Python objects.

    Args:
        config: the road and its traffic.
    """

    def __init__(self, config: TrafficConfig) -> None:
        self.config = config
        self._stage: Stage | None = None

    def reset(self, rng: np.random.Generator, density: float | None = None) -> None:
        """Build the road and spawn vehicles, drawing from ``rng`` in highway-env's order."""
        config = self.config
        if density is not None:
            config = dataclasses.replace(config, density=density)
        self._stage = stage_class(config)(config, ego_class(config), rng)
        self._stage.build_road()
        self._stage.spawn()
        ego = self._ego
        ego.speed = float(self.config.initial_speed)
        if isinstance(ego, MDPVehicle):
            ego.speed_index = ego.speed_to_index(ego.speed)
            ego.target_speed = float(ego.index_to_speed(ego.speed_index))
        self._plan = plan_of(ego.route)
        self._shadow: IDMVehicle | None = None
        self._substeps = self._shadow_substep = 0

    @property
    def _ego(self) -> Vehicle:
        if self._stage is None:
            raise RuntimeError("reset the traffic before using it")
        return self._stage.vehicle

    @property
    def _road(self) -> Road:
        assert self._stage is not None
        return self._stage.road

    @property
    def network(self) -> RoadNetwork:
        """highway-env's road network."""
        return self._road.network

    def step(self, action: int | npt.NDArray[np.floating]) -> None:
        """Apply one decision for ``1 / policy_frequency`` seconds."""
        ego = self._ego
        if self.config.action == "meta":
            ego.act(META_ACTIONS[int(action)])
        else:
            acceleration, steering = (float(value) for value in np.asarray(action))
            ego.act({"acceleration": acceleration, "steering": steering})
        dt = 1 / self.config.simulation_frequency
        for _ in range(self.config.substeps):
            self._road.act()
            self._road.step(dt)
            self._substeps += 1
            if self._substeps % self.config.simulation_frequency == 0:
                assert self._stage is not None
                self._stage.each_second()

    def save(self) -> State:
        """See ``Simulator.save``."""
        self._ego  # raises before the first reset  # noqa: B018
        return _copied({name: getattr(self, name) for name in _STATE}, self._road.np_random)

    def restore(self, state: State, rng: np.random.Generator) -> None:
        """See ``Simulator.restore``."""
        self.__dict__.update(_copied(state, rng))

    @property
    def road(self) -> RoadShape:
        """The road, as it is drawn."""
        return road_shape(self.config)

    def close(self) -> None:
        """Nothing to give back."""

    @property
    def scene(self) -> Scene:
        """Where everything is now; obstacles are rows like vehicles, standing still."""
        ego = self._ego
        route = route_ahead(self.network, self._plan, ego.lane_index, ego.position)
        return read_scene(self._road, ego, route)

    @property
    def ego(self) -> EgoStatus:
        """Facts about the ego vehicle now."""
        ego = self._ego
        longitudinal = ego.lane.local_coordinates(ego.position)[0]
        return read_ego(self.network, ego, self._arrived(longitudinal))

    def _arrived(self, longitudinal: float) -> bool:
        """Whether the ego vehicle reached its goal; ``longitudinal`` [m] along its lane."""
        ego = self._ego
        assert self._stage is not None
        if self._stage.goal_x < math.inf:
            return bool(ego.position[0] > self._stage.goal_x)
        on_exit = bool(self._plan) and tuple(ego.lane_index[:2]) == self._plan[-1]
        return on_exit and longitudinal >= ARRIVAL_DISTANCE

    def idm(self, target_speed: float) -> IdmAdvice:
        """What highway-env's IDM/MOBIL driver would do now in the ego vehicle's place.

        A shadow ``IDMVehicle``, never on the road, takes the ego vehicle's state; the ego vehicle
        is off the road meanwhile, or the shadow would brake for it.  The shadow's lane-change
        timer runs with the simulation, so MOBIL decides at most once a second.  Its target lane
        is the ego vehicle's own (meta-actions) or is kept from call to call.
        """
        ego = self._ego
        shadow = self._synchronised_shadow(ego)
        shadow.target_speed = float(target_speed)
        place = self._road.vehicles.index(ego)
        del self._road.vehicles[place]
        try:
            shadow.follow_road()
            before = shadow.target_lane_index
            shadow.act()
        finally:
            self._road.vehicles.insert(place, ego)
        after = shadow.target_lane_index
        change = int(np.sign(after[2] - before[2])) if after[:2] == before[:2] else 0
        return IdmAdvice(
            acceleration=float(shadow.action["acceleration"]),
            lane_change=change,
            steering=float(shadow.action["steering"]),
        )

    def _synchronised_shadow(self, ego: Vehicle) -> IDMVehicle:
        """The shadow driver, moved to where the ego vehicle is now."""
        shadow = self._shadow
        if shadow is None:
            driver = self._stage.driver_class  # type: ignore[union-attr]
            shadow = driver(ego.road, ego.position, ego.heading, ego.speed)
            shadow.timer = IDMVehicle.LANE_CHANGE_DELAY
            self._shadow, self._shadow_substep = shadow, self._substeps
        shadow.position, shadow.heading, shadow.speed = ego.position, ego.heading, ego.speed
        shadow.lane_index, shadow.lane = ego.lane_index, ego.lane
        shadow.route = [(*edge, None) for edge in self._route_left(ego.lane_index)] or None
        elapsed = (self._substeps - self._shadow_substep) / self.config.simulation_frequency
        self._shadow_substep = self._substeps
        # highway-env asks for *more* than the delay; at 1 Hz exactly 1 s has passed.
        shadow.timer += elapsed * (1 + 1e-6)
        shadow.action = {"steering": 0.0, "acceleration": 0.0}
        if isinstance(ego, MDPVehicle):
            shadow.target_lane_index = ego.target_lane_index
        elif not self._can_keep(shadow.target_lane_index, ego.lane_index):
            shadow.target_lane_index = ego.lane_index
        return shadow

    def _can_keep(self, target: LaneIndex, current: LaneIndex) -> bool:
        """Whether a plan to drive on ``target`` still makes sense from lane ``current``."""
        same_road = target[:2] == current[:2]
        return (same_road and abs(target[2] - current[2]) <= 1) or target[0] == current[1]

    def _route_left(self, lane_index: LaneIndex) -> list[tuple[str, str]]:
        edge = (lane_index[0], lane_index[1])
        return self._plan[self._plan.index(edge) :] if edge in self._plan else []


def _copied(state: State, rng: np.random.Generator) -> State:
    """A copy of all objects that draws from ``rng``; the network, which never changes, is shared.

    highway-env's road and stage hold the generator each; in the copy both are ``rng`` again.
    """
    road = state["_stage"].road
    shared = [road.network, *road.network.lanes_list()]
    memo: dict[int, Any] = {id(thing): thing for thing in shared}
    memo |= {id(generator): rng for generator in (road.np_random, state["_stage"].np_random)}
    return copy.deepcopy(state, memo)
