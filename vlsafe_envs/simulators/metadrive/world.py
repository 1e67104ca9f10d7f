"""MetaDrive as a :class:`~vlsafe_envs.simulator.RouteSimulator`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vlsafe_envs.checks import check_flag
from vlsafe_envs.render import RoadShape
from vlsafe_envs.scene import Scene
from vlsafe_envs.simulator import EgoStatus, points_ahead
from vlsafe_envs.simulators.metadrive.missing import require_metadrive
from vlsafe_envs.simulators.metadrive.observation import unobserved
from vlsafe_envs.simulators.metadrive.pedals import Car, steering_of, throttle_of
from vlsafe_envs.simulators.metadrive.scenario import MetaDriveTraffic
from vlsafe_envs.state import State
from vlsafe_envs.tasks.progress import RouteProgress

if TYPE_CHECKING:
    from vlsafe_envs.simulators.metadrive.engine import AssetFreeEnv
    from vlsafe_envs.simulators.metadrive.ways import LaneWays
    from vlsafe_envs.simulators.paths.paths import PossibleWays

Array = npt.NDArray[np.float64]
TRAFFIC_SEEDS = 2**16
ROADS_KEPT = 64
_ENDS = {
    "solid_lines": ("on_continuous_line_done",),
    "crash_terminal": ("crash_vehicle_done", "crash_object_done"),
}
_EITHER_WAY = 30  # waypoints, half of what a progress looks at
_QUIET = 50  # log level: MetaDrive tells every start otherwise


class Outcome(NamedTuple):
    """What MetaDrive's own ``reset`` or ``step`` returned."""

    observation: Any
    reward: float
    terminated: bool
    truncated: bool
    info: dict[str, Any]


class MetaDriveWorld:
    """Roads, traffic and route of MetaDrive, in our coordinates.

    MetaDrive's engine starts at the first ``reset``; there is one in a process.  ``reset`` draws a
    map and the traffic on it.

    Args:
        traffic: which maps, and what is on them.
        config: gives further settings of MetaDrive's, which win; called at the first ``reset``.

    Raises:
        ImportError: where MetaDrive is not installed.
    """

    def __init__(
        self, traffic: MetaDriveTraffic, config: Callable[[], dict[str, Any]] = dict
    ) -> None:
        require_metadrive()
        self.traffic = traffic
        self._config = config
        self._env: AssetFreeEnv | None = None
        self._roads: dict[int, RoadShape] = {}  # by map
        self._ready = False
        self._clear_route: Array | None = None
        self._lane_ways: LaneWays | None = None

    @property
    def simulator(self) -> AssetFreeEnv:
        """MetaDrive's environment.

        Raises:
            RuntimeError: before the first ``reset``.
        """
        if self._env is None or not self._ready:
            raise RuntimeError("reset the world before using it")
        return self._env

    @property
    def agent(self) -> Any:
        """MetaDrive's ego vehicle."""
        return self.simulator.agent

    def _started(self) -> AssetFreeEnv:
        from vlsafe_envs.simulators.metadrive.engine import AssetFreeEnv, claim_engine

        claim_engine(self)
        if self._env is None:
            # A reused vehicle keeps traces of its last episode: rollouts would not repeat.
            fixed = {"force_destroy": True, "log_level": _QUIET}
            self._env = AssetFreeEnv({**fixed, **self.traffic.config(), **self._config()})
        return self._env

    def reset(self, rng: np.random.Generator, density: float | None = None) -> None:
        """Draw a map and its traffic, and put the ego vehicle at the start of its route.

        Raises:
            RuntimeError: when another environment of this process has MetaDrive's engine.
        """
        env = self._started()
        self.map_index = self.traffic.first_map + int(rng.integers(self.traffic.map_count))
        env.traffic_seed = int(rng.integers(TRAFFIC_SEEDS))
        if density is not None:
            env.config["traffic_density"] = self.traffic.traffic_density(density)
        observation, info = env.reset(seed=self.map_index)
        self._ready = True
        agent = self.agent
        if self.traffic.initial_speed:
            agent.set_velocity(agent.heading * self.traffic.initial_speed)
        lane = agent.navigation.current_lane
        self._spawn = lane, lane.local_coordinates(agent.position)[0]
        self._car = car_of(agent)
        self._command = np.zeros(2)
        self._crashed = False
        self._route, self._clear_route = self._drawn_route(()), None
        self._lane_ways = None
        self._progress = RouteProgress(self._route)
        self.outcome = Outcome(observation, 0.0, False, False, info)
        self._look()

    def clear_route(self) -> Array:
        """Like :attr:`waypoints`, but around MetaDrive's accidents where lanes are free.

        It is the same array until the next ``reset``.
        """
        if self._clear_route is None:
            manager = getattr(self.simulator.engine, "object_manager", None)
            blocked = manager.accident_lanes if manager is not None else ()
            self._clear_route = self._drawn_route(blocked)
        return self._clear_route

    def progress_on(self, route: Array) -> RouteProgress:
        """How far along a route like :attr:`waypoints` the ego vehicle is; it may begin anywhere.

        Roads are the same, lanes need not be, so places differ by some metres.
        """
        progress = RouteProgress(route)
        progress.next = min(max(self._progress.next - _EITHER_WAY, 0), len(route) - 1)
        progress.advance(self._columns[0, 0], self._columns[1, 0])
        return progress

    def _drawn_route(self, blocked: Sequence[Any]) -> Array:
        from vlsafe_envs.simulators.metadrive.routes import route_points, route_roads

        navigation = self.agent.navigation
        lane, start = self._spawn
        return route_points(route_roads(navigation), lane.index[-1], start, blocked)

    def step(self, command: npt.NDArray[np.floating]) -> None:
        """Drive for 0.1 s; ``command (2,)`` is acceleration [m/s2] and wheel angle [rad]."""
        self._command = np.asarray(command, np.float64)
        acceleration, wheel = self._command.tolist()
        pedals = [steering_of(wheel, self._car), throttle_of(acceleration, self._car)]
        self.outcome = Outcome(*self.simulator.step(pedals))
        agent = self.agent
        self._crashed |= agent.crash_vehicle or agent.crash_object or agent.crash_building
        self._look()

    def _look(self) -> None:
        """Read MetaDrive's scene once a step."""
        self._others = self.others()
        rows = [thing_row(thing) for thing in (self.agent, *self._others)]
        self._columns = np.ascontiguousarray(np.array(rows).T)  # (6, N)
        self._progress.advance(self._columns[0, 0], self._columns[1, 0])

    def others(self) -> list[Any]:
        """MetaDrive's other vehicles and the objects on the road."""
        from metadrive.component.static_object.traffic_object import TrafficObject
        from metadrive.component.vehicle.base_vehicle import BaseVehicle

        objects = self.simulator.engine.get_objects().values()
        agent = self.agent
        return [o for o in objects if isinstance(o, BaseVehicle | TrafficObject) and o is not agent]

    @property
    def lane_ways(self) -> LaneWays:
        """The ways on from the lanes of this episode's map."""
        from vlsafe_envs.simulators.metadrive.ways import LaneWays

        if self._lane_ways is None:
            self._lane_ways = LaneWays(self.agent.navigation.map.road_network.graph)
        return self._lane_ways

    def possible_ways(self) -> PossibleWays:
        """See ``way_set.WaySimulator``."""
        from vlsafe_envs.simulators.metadrive.ways import possible_ways

        return possible_ways(self.lane_ways, self._columns, self._others)

    @property
    def way_ahead(self) -> Array:
        """See ``way_set.WaySimulator``."""
        route = self.clear_route()
        same = np.array_equal(route, self._route)
        progress = self._progress if same else self.progress_on(route)
        return points_ahead(route, progress.next)

    @property
    def full_acceleration(self) -> float:
        """See ``way_set.WaySimulator``."""
        return self._car.full_throttle

    @property
    def scene(self) -> Scene:
        """Where everything is now; objects are rows like vehicles, standing still."""
        columns = self._columns
        return Scene.of_columns(columns, points_ahead(self._route, self._progress.next))

    @property
    def ego(self) -> EgoStatus:
        """Facts about the ego vehicle now; its lane is the one that MetaDrive localises it on."""
        agent = self.agent
        lane = agent.navigation.current_lane
        along, offset = lane.local_coordinates(agent.position)
        speed, heading = float(self._columns[3, 0]), float(self._columns[2, 0])
        error = heading + lane.heading_theta_at(along)  # MetaDrive's headings turn the other way
        error = math.atan2(math.sin(error), math.cos(error))
        lanes = agent.navigation.map.road_network.graph[lane.index[0]][lane.index[1]]
        return EgoStatus(
            speed=speed,
            forward_speed=speed * math.cos(error),
            crashed=bool(self._crashed),
            on_road=bool(agent.on_lane),
            arrived=bool(self.simulator._is_arrive_destination(agent)),
            lane_id=int(lane.index[-1]),
            lanes=len(lanes),
            lane_offset=float(offset),
            lane_heading_error=error,
            acceleration=float(self._command[0]),
            steering=float(self._command[1]),
            target_speed=speed,
            target_lane_id=int(lane.index[-1]),
        )

    @property
    def waypoints(self) -> Array:
        """The whole route ``(K, 2)`` [m], 0.8 m apart."""
        return self._route

    @property
    def road(self) -> RoadShape:
        """The road of this episode's map."""
        from vlsafe_envs.simulators.metadrive.roads import road_shape

        if self.map_index not in self._roads:
            if len(self._roads) >= ROADS_KEPT:
                self._roads.pop(next(iter(self._roads)))  # the oldest
            self._roads[self.map_index] = road_shape(self.simulator.current_map)
        return self._roads[self.map_index]

    def save(self) -> State:
        """Refuses: part of the state lies in MetaDrive's physics engine, which hands out no copy.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(
            "MetaDrive's state cannot be saved within a process; vlsafe_envs.snapshots.branches "
            "drives on from here in forks of it"
        )

    def restore(self, state: State, rng: np.random.Generator) -> None:
        """Refuses, as :meth:`save`.

        Raises:
            NotImplementedError: always.
        """
        self.save()

    def close(self) -> None:
        """Stop MetaDrive's engine, if this world has it; ``reset`` starts it again."""
        if self._env is not None:
            from vlsafe_envs.simulators.metadrive.engine import release_engine

            release_engine(self)
            self._env, self._ready = None, False


def make_world(traffic: MetaDriveTraffic, observed: bool, **ends: bool) -> MetaDriveWorld:
    """MetaDrive with some of its settings.

    Args:
        traffic: which maps, and what is on them.
        observed: whether MetaDrive makes its own observation.
        ends: ``solid_lines``, whether touching a solid line is being off the road, and
            ``crash_terminal``, whether a crash ends the episode; what is missing is left alone.

    Raises:
        ValueError: for what is no flag.
        ImportError: where MetaDrive is not installed.
    """
    settings: dict[str, Any] = {}
    for name, value in ends.items():
        check_flag(name, value)
        settings |= dict.fromkeys(_ENDS[name], bool(value))
    return MetaDriveWorld(traffic, lambda: {**settings, **({} if observed else unobserved())})


def car_of(agent: Any) -> Car:
    """What MetaDrive's ego vehicle can do."""
    config = agent.config
    return Car(
        mass=float(config["mass"] or agent.MASS),
        engine_force=float(config["max_engine_force"]),
        brake_force=float(config["max_brake_force"]),
        lock=math.radians(float(config["max_steering"])),
        wheelbase=float(agent.FRONT_WHEELBASE + agent.REAR_WHEELBASE),
    )


def thing_row(thing: Any) -> tuple[float, ...]:
    """x, y, heading, speed, length, width of one of MetaDrive's objects, in our coordinates."""
    x, y = thing.position
    heading = thing.heading_theta
    vx, vy = thing.velocity
    speed = vx * math.cos(heading) + vy * math.sin(heading)
    return (x, -y, -heading, speed, thing.top_down_length, thing.top_down_width)
