"""highway-env's environments used as stages: they build a road and spawn vehicles, no more.

The corrected versions are meant (merge v1, roundabout v1, intersection v2): drivers look for
neighbours across the ends of lanes.
"""

from __future__ import annotations

import math
import pkgutil
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np
from highway_env.envs.highway_env import HighwayEnv
from highway_env.envs.intersection_env import IntersectionEnv
from highway_env.envs.merge_env import MergeEnv
from highway_env.envs.roundabout_env import RoundaboutEnv
from highway_env.road.road import Road
from highway_env.vehicle.behavior import IDMVehicle
from highway_env.vehicle.kinematics import Vehicle

from vlsafe_envs.scenarios import TrafficConfig

MERGE_EGO_START = 30.0  # [m]
ROUNDABOUT_ENTRIES = ("eer", "ees"), ("ner", "nes"), ("wer", "wes")
ROUNDABOUT_CIRCLE = ("we", "sx"), ("wx", "we"), ("ne", "wx"), ("nx", "ne"), ("ee", "nx")


class IntersectionDriver(IDMVehicle):
    """The other vehicles of the intersection.

    highway-env's intersection writes its IDM constants into the vehicle *class*, for every
    environment of the process; a class of its own keeps them here.
    """


class Stage(Protocol):
    """What the traffic needs from a highway-env environment."""

    road: Road
    driver_class: type[IDMVehicle]
    goal_x: float

    @property
    def vehicle(self) -> Vehicle:
        """The ego vehicle."""

    def build_road(self) -> None:
        """Make ``road``, without vehicles."""

    def spawn(self) -> None:
        """Put the ego vehicle and the others on the road."""

    def each_second(self) -> None:
        """Called after every simulated second."""


class _Stage:
    """Stands in for the constructor of highway-env's environments, which would do far more."""

    driver_class: type[IDMVehicle] = IDMVehicle
    connected_lanes = True
    regulated = False  # who has the right of way is decided, and vehicles enter every second
    goal_x = math.inf  # [m], beyond which a vehicle has arrived
    road: Road
    vehicle: Vehicle

    def __init__(self, traffic: TrafficConfig, ego_class: Any, rng: np.random.Generator) -> None:
        self.traffic = traffic
        self.np_random = rng
        self.controlled_vehicles: list[Vehicle] = []
        self.action_type = SimpleNamespace(vehicle_class=ego_class)
        driver = self.driver_class
        self.config = {
            "lanes_count": traffic.lanes,
            "vehicles_count": traffic.vehicles,
            "vehicles_density": traffic.density,
            "ego_spacing": traffic.ego_spacing,
            "initial_lane_id": None,
            "controlled_vehicles": 1,
            "destination": traffic.destination,
            "incoming_vehicle_destination": None,
            "simulation_frequency": traffic.simulation_frequency,
            "show_trajectories": False,
            "neighbour_vehicles_connected_lanes": self.connected_lanes,
            "other_vehicles_type": f"{driver.__module__}.{driver.__name__}",
        }

    def each_second(self) -> None:
        """Nothing happens by default."""

    def _has_room(self, position: np.ndarray, distance: float) -> bool:
        """Whether no vehicle's centre is within ``distance`` [m] of ``position``."""
        gaps = [np.linalg.norm(v.position - position) for v in self.road.vehicles]
        return not gaps or bool(min(gaps) >= distance)

    def _keep_others(self, count: int) -> None:
        """Drop the last spawned vehicles beyond ``count``, never the ego vehicle."""
        others = [v for v in self.road.vehicles if v is not self.vehicle][:count]
        self.road.vehicles = [v for v in self.road.vehicles if v is self.vehicle or v in others]


class HighwayStage(_Stage, HighwayEnv):
    """A straight highway, as ``highway-v0`` builds it."""

    connected_lanes = False  # as in highway-v0: there is only one road segment

    def build_road(self) -> None:
        """Make the straight road."""
        self._create_road()

    def spawn(self) -> None:
        """Spawn all vehicles in a row, as ``highway-v0`` does."""
        self._create_vehicles()


class MergeStage(_Stage, MergeEnv):
    """A highway of two lanes that vehicles join from a ramp, as in ``merge-v1``.

    With 4 vehicles at density 1 it draws exactly what ``merge-v1`` draws.  More vehicles join on
    the highway ahead, and one more comes up the ramp for every five.
    """

    goal_x = 370.0  # where highway-env ends a merge episode

    def build_road(self) -> None:
        """Make the highway and the ramp, whose end is an obstacle."""
        self._make_road()

    def spawn(self) -> None:
        """Put the ego vehicle, the others on the highway and those on the ramp."""
        network = self.road.network
        start = network.get_lane(("a", "b", 1)).position(MERGE_EGO_START, 0.0)
        self.vehicle = self.action_type.vehicle_class(self.road, start, speed=30.0)
        self.road.vehicles.append(self.vehicle)
        on_ramp = min(1 + max(self.traffic.vehicles - 1, 0) // 5, self.traffic.vehicles)
        ahead = [(115.0 + 25.0 * k, 29.0) for k in range(12)]
        slots = [(90.0, 29.0), (70.0, 31.0), (5.0, 31.5), *ahead]  # (x [m], speed [m/s])
        for x, speed in slots[: self.traffic.vehicles - on_ramp]:
            x = MERGE_EGO_START + (x - MERGE_EGO_START) / self.traffic.density
            self._spawn_on_highway(x, speed)
        for k in range(on_ramp):
            place = network.get_lane(("j", "k", 0)).position(110.0 - 30.0 * k, 0.0)
            merging = self.driver_class(self.road, place, speed=20.0)
            merging.target_speed = 30.0
            self.road.vehicles.append(merging)

    def _spawn_on_highway(self, x: float, speed: float) -> None:
        lane_id = int(self.np_random.integers(2))
        x += self.np_random.uniform(-5.0, 5.0)
        speed += self.np_random.uniform(-1.0, 1.0)
        for candidate in (lane_id, 1 - lane_id):
            place = self.road.network.get_lane(("a", "b", candidate)).position(x, 0.0)
            same_lane = [v for v in self.road.vehicles if abs(v.position[1] - place[1]) < 1]
            if all(abs(v.position[0] - x) >= 8.0 for v in same_lane):
                self.road.vehicles.append(self.driver_class(self.road, place, speed=speed))
                return


class RoundaboutStage(_Stage, RoundaboutEnv):
    """A roundabout of two lanes with four accesses, as in ``roundabout-v1``.

    The first 4 vehicles are those of ``roundabout-v1``; further ones are spread over the circle
    and the other accesses, wherever there is room.
    """

    def build_road(self) -> None:
        """Make the circle and its accesses."""
        self._make_road()

    def spawn(self) -> None:
        """Put the ego vehicle on the south access and the others around."""
        self._make_vehicles()
        # highway-env plans to the end of the short bend out of the circle; we go on to the road.
        self.vehicle.plan_route_to("nxr")
        self._keep_others(self.traffic.vehicles)
        for _ in range(self.traffic.vehicles - 4):
            self._spawn_anywhere(room=15.0 / self.traffic.density, tries=10)

    def _spawn_anywhere(self, room: float, tries: int) -> None:
        edges = ROUNDABOUT_CIRCLE + ROUNDABOUT_ENTRIES
        for _ in range(tries):
            start, end = edges[self.np_random.integers(len(edges))]
            lanes = self.road.network.graph[start][end]
            lane_id = int(self.np_random.integers(len(lanes)))
            along = self.np_random.uniform(0.0, lanes[lane_id].length)
            if not self._has_room(lanes[lane_id].position(along, 0.0), max(room, 8.0)):
                continue
            vehicle = self.driver_class.make_on_lane(
                self.road,
                (start, end, lane_id),
                longitudinal=along,
                speed=14.0 + 2.0 * self.np_random.normal(),
            )
            vehicle.plan_route_to(self.np_random.choice(["exr", "sxr", "nxr", "wxr"]))
            vehicle.randomize_behavior()
            self.road.vehicles.append(vehicle)
            return


class IntersectionStage(_Stage, IntersectionEnv):
    """A crossing of two roads, as in ``intersection-v2``; vehicles enter during the episode."""

    driver_class = IntersectionDriver
    regulated = True

    def build_road(self) -> None:
        """Make the crossing; the road enforces the right of way of its lanes."""
        self._make_road()

    def spawn(self) -> None:
        """Spawn as ``intersection-v2`` does: random vehicles, 3 s of driving, the ego vehicle."""
        self._make_vehicles(self.traffic.vehicles)
        self._keep_others(self.traffic.vehicles)

    def each_second(self) -> None:
        """Vehicles that have left are removed, and sometimes one enters.

        ``intersection-v2`` does it once a decision, which is a second there too.
        """
        self._clear_vehicles()
        if self.traffic.vehicles:
            chance = min(1.0, self.traffic.spawn_probability * self.traffic.density)
            self._spawn_vehicle(spawn_probability=chance)


def stage_class(config: TrafficConfig) -> Any:
    """The class of the stage that the registry names for the road of ``config``."""
    return pkgutil.resolve_name(config.road.stage)
