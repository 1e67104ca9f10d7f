"""A world whose other vehicles keep to paths; the roads fill in what is theirs."""

from __future__ import annotations

import pkgutil
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from vlsafe_envs.render import RoadShape
from vlsafe_envs.scene import Scene
from vlsafe_envs.simulator import EgoStatus, points_ahead
from vlsafe_envs.simulators.engine.commands import MAX_ACCELERATION
from vlsafe_envs.simulators.paths.paths import PathTable, PossibleWays
from vlsafe_envs.simulators.paths.traffic import SIMULATION_FREQUENCY, PathTraffic
from vlsafe_envs.state import State, restore_attributes, save_attributes
from vlsafe_envs.tasks.progress import RouteProgress, headings_of

Array = npt.NDArray[np.float64]
_STATE = ("_route", "_ego", "_command", "_crashed", "_total", "_columns")  # with progress and road


class Hypotheses(NamedTuple):
    """Where the others may be going, as far as their present pose tells; one row a possibility."""

    path: npt.NDArray[np.int64]  # (H,)
    station: Array  # (H,) [m]
    speed: Array  # (H,) [m/s]
    row: npt.NDArray[np.int64]  # (H,) of whom it is, in ``Scene.columns``


class PathRoad(Protocol):
    """One kind of road with its routes and traffic."""

    shape: RoadShape
    table: PathTable
    capacity: int  # most vehicles at a time, the ego vehicle not counted
    yields: bool  # whether the others brake for the ego vehicle

    def route(self, rng: np.random.Generator) -> Array:
        """The waypoints ``(K, 2)`` [m] of an episode."""

    def fill(self, rng: np.random.Generator, start: Array, density: float | None) -> None:
        """Put the traffic on the road, around an ego vehicle at ``start`` (x, y) [m].

        ``density`` is this episode's, at most that of the road's settings; None: that one.
        """

    def simulate(self, ego: Array, command: Array, steps: int, columns: Array) -> tuple[int, bool]:
        """Move everything; see ``motion.step_flow``."""

    def show(self, ego: Array, columns: Array) -> int:
        """Write where everything is now; returns how many there are."""

    def lane(self, x: float, y: float) -> tuple[int, int, bool]:
        """Lane index, number of lanes, and whether ``(x, y)`` is on the road."""

    def hypotheses(self) -> Hypotheses:
        """See :class:`Hypotheses`."""

    def save(self) -> State:
        """Where the traffic is."""

    def restore(self, state: State, rng: np.random.Generator) -> None:
        """Inverse of :meth:`save`; all later randomness comes from ``rng``."""


def make_world(traffic: PathTraffic) -> PathWorld:
    """The simulator of a road of ours."""
    road = pkgutil.resolve_name(traffic.road.build)(traffic)
    return PathWorld(road, traffic.policy_frequency, traffic.initial_speed)


class PathWorld:
    """The :class:`~vlsafe_envs.simulator.RouteSimulator` over a :class:`PathRoad`.

    Args:
        road: road, routes and traffic.
        policy_frequency: decisions a second [Hz]; divides 20.
        initial_speed: of the ego vehicle [m/s].
    """

    def __init__(self, road: PathRoad, policy_frequency: int, initial_speed: float) -> None:
        self._road = road
        self._steps = SIMULATION_FREQUENCY // policy_frequency
        self._initial_speed = initial_speed
        self._columns = np.zeros((6, road.capacity + 1))
        self._ego = np.zeros(4)  # x, y [m], heading [rad], speed [m/s]
        self._ready = False

    def reset(self, rng: np.random.Generator, density: float | None = None) -> None:
        """Draw a route and fill the road."""
        self._route = self._road.route(rng)
        self._progress = RouteProgress(self._route)
        heading = headings_of(self._route)[0]
        self._ego[:] = *self._route[0], heading, self._initial_speed
        self._command = np.zeros(2)
        self._crashed = False
        self._road.fill(rng, self._route[0], density)
        self._total = self._road.show(self._ego, self._columns)
        self._ready = True
        self._progress.advance(self._ego[0], self._ego[1])

    def step(self, command: npt.NDArray[np.floating]) -> None:
        """Drive for ``1 / policy_frequency`` seconds; ``(2,)`` [m/s2], [rad]."""
        self._need_reset()
        self._command = np.asarray(command, np.float64)
        self._total, touched = self._road.simulate(
            self._ego, self._command, self._steps, self._columns
        )
        self._crashed = self._crashed or touched
        self._progress.advance(self._ego[0], self._ego[1])

    def save(self) -> State:
        """See ``Simulator.save``."""
        self._need_reset()
        own = save_attributes(self, _STATE)
        return {"world": own, "progress": self._progress.copy(), "road": self._road.save()}

    def restore(self, state: State, rng: np.random.Generator) -> None:
        """See ``Simulator.restore``."""
        restore_attributes(self, state["world"])
        self._progress = state["progress"].copy()
        self._road.restore(state["road"], rng)
        self._ready = True

    def _need_reset(self) -> None:
        if not self._ready:
            raise RuntimeError("reset the world before using it")

    @property
    def scene(self) -> Scene:
        """Where everything is now."""
        self._need_reset()
        columns = self._columns[:, : self._total].copy()
        return Scene.of_columns(columns, points_ahead(self._route, self._progress.next))

    @property
    def ego(self) -> EgoStatus:
        """Facts about the ego vehicle now; its lane is the route."""
        self._need_reset()
        x, y, heading, speed = self._ego.tolist()
        place = self._progress.place(x, y, heading)
        lane_id, lanes, on_road = self._road.lane(x, y)
        return EgoStatus(
            speed=speed,
            forward_speed=speed * float(np.cos(place.heading_error)),
            crashed=self._crashed,
            on_road=on_road,
            arrived=False,
            lane_id=lane_id,
            lanes=lanes,
            lane_offset=place.offset,
            lane_heading_error=place.heading_error,
            acceleration=float(self._command[0]),
            steering=float(self._command[1]),
            target_speed=speed,
            target_lane_id=lane_id,
        )

    @property
    def waypoints(self) -> Array:
        """The whole route ``(K, 2)`` [m]."""
        self._need_reset()
        return self._route

    @property
    def road(self) -> RoadShape:
        """The road; the same in all episodes."""
        return self._road.shape

    @property
    def table(self) -> PathTable:
        """The paths of the others."""
        return self._road.table

    @property
    def others_yield(self) -> bool:
        """Whether the others brake for the ego vehicle."""
        return self._road.yields

    def hypotheses(self) -> Hypotheses:
        """Where the others may be going."""
        self._need_reset()
        return self._road.hypotheses()

    def possible_ways(self) -> PossibleWays:
        """See ``way_set.WaySimulator``."""
        path, station, speed, row = self.hypotheses()
        moves = np.ones(len(path), np.bool_)
        return PossibleWays(self.table, path, station, speed, row, moves)

    @property
    def way_ahead(self) -> Array:
        """See ``way_set.WaySimulator``."""
        return points_ahead(self._route, self._progress.next)

    @property
    def full_acceleration(self) -> float:
        """See ``way_set.WaySimulator``."""
        return MAX_ACCELERATION

    def close(self) -> None:
        """Nothing to give back."""
