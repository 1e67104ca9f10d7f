"""Where the other vehicles may be going: along their lanes, whichever way those lead on."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vlsafe_envs.drivers.planner import Others
from vlsafe_envs.simulators.metadrive.roads import points_on
from vlsafe_envs.simulators.metadrive.world import MetaDriveWorld, thing_row
from vlsafe_envs.simulators.paths.paths import PATH_STEP, PathTable
from vlsafe_envs.tasks.progress import headings_of

Array = npt.NDArray[np.float64]
SIGHT = 60.0  # [m] around the ego vehicle
REACH = 60.0  # [m] of their way that is looked at
RETURN = 15.0  # [m], in which who is beside its lane's middle comes back to it, by a factor of e
CLEARANCE = 0.3  # [m] between the ego vehicle's side and what stands beside its route
MOST_WAYS = 6  # of one vehicle
HASTE = 1.15  # they may also drive so much faster (and 0.5 m/s): they brake for nobody who enters
SLANT = 0.05  # sideways metres a metre along the lane, from which on a lane change is reckoned with


class Way(NamedTuple):
    """Where somebody may be going."""

    line: Array  # (K, 2) [m], PATH_STEP apart
    station: float  # [m], where on it
    speed: float  # [m/s]


class Prospects:
    """The ways ahead of the other vehicles on one map.

    Only what a frame shows is used: poses, speeds and the road.  MetaDrive's own plans for its
    vehicles are not looked at.
    """

    def __init__(self, world: MetaDriveWorld, route: Array) -> None:
        self._world, self._route = world, route
        self._graph = world.agent.navigation.map.road_network.graph
        self._sampled: dict[Any, Array] = {}  # lane index -> (K, 2) points
        self._chains: dict[Any, list[list[Any]]] = {}

    @staticmethod
    def nobody() -> Others:
        """An empty road, for who does not look."""
        return _others([])

    def others(self) -> list[Others]:
        """All others near the ego vehicle, one row for every way that may be theirs.

        Three views of them: as they drive, faster, and with lane changes of those that drive askew.
        A driver who believed in all of it at once would see no way out, and take the worst one.
        """
        x, y = self._world.scene.position[0]
        kept: list[Way] = []
        changes: list[Way] = []
        for thing in self._world.others():
            row = thing_row(thing)
            if math.hypot(row[0] - x, row[1] - y) > SIGHT:
                continue
            if _stays(thing) and self._clear_of_route(row):
                continue  # the planner takes everything for a car, and cones would block two lanes
            self._add_ways(thing, row, kept, changes)
        faster = [way._replace(speed=HASTE * way.speed + 0.5) for way in kept if way.speed > 0.1]
        return [
            _others(kept),
            _others(kept + faster),
            *([_others(kept + changes)] if changes else []),
        ]

    def _clear_of_route(self, row: tuple[float, ...]) -> bool:
        """Whether the ego vehicle, on its route, passes what stands there."""
        x, y, heading, _, length, width = row
        dx, dy = self._route[:, 0] - x, self._route[:, 1] - y
        cos, sin = math.cos(heading), math.sin(heading)
        ahead = np.abs(dx * cos + dy * sin) - length / 2
        beside = np.abs(dy * cos - dx * sin) - width / 2
        gaps = np.hypot(np.maximum(ahead, 0.0), np.maximum(beside, 0.0))  # (K,)
        return bool(gaps.min() > self._world.agent.WIDTH / 2 + CLEARANCE)

    def _add_ways(
        self, thing: Any, row: tuple[float, ...], kept: list[Way], changes: list[Way]
    ) -> None:
        """Add the ways of one road user along its lane, and those to the lane beside it."""
        x, y, heading, speed = row[:4]
        lane = getattr(getattr(thing, "navigation", None), "current_lane", None)
        ahead = np.array([math.cos(heading), math.sin(heading)])
        here = np.array([x, y])
        if lane is None or lane.index is None or abs(speed) < 0.1:  # it stays where it is
            line = here + np.outer(np.arange(-1.0, 3.0), ahead) * PATH_STEP
            kept.append(Way(line, PATH_STEP, speed))
            return
        along, offset = lane.local_coordinates(thing.position)
        pieces = len(self._points(lane)) - 1
        place = min(max(along / lane.length, 0.0), 1.0) * pieces
        first = min(int(place), pieces - 1)
        slant = math.tan(_between(heading + lane.heading_theta_at(along), -0.5, 0.5))
        for chain in self._chain(lane, 0.0)[:MOST_WAYS]:
            line = np.concatenate([self._points(lane)[:-1], *(self._points(c)[:-1] for c in chain)])
            line = line[first : first + round(REACH / PATH_STEP)]
            if len(line) < 3:
                line = here + np.outer(np.arange(4.0), ahead) * PATH_STEP
                kept.append(Way(line, 0.0, speed))
                continue
            station = (place - first) * PATH_STEP
            kept.append(Way(_beside(line, offset), station, speed))
            if abs(slant) > SLANT:
                across = _across(line, offset, slant, float(lane.width))
                changes.append(Way(across, station, speed))

    def _points(self, lane: Any) -> Array:
        if lane.index not in self._sampled:
            pieces = max(1, round(lane.length / PATH_STEP))
            stations = np.linspace(0.0, lane.length, pieces + 1)
            self._sampled[lane.index] = points_on(lane, stations, np.zeros_like(stations))
        return self._sampled[lane.index]

    def _chain(self, lane: Any, so_far: float) -> list[list[Any]]:
        """Lanes that may follow a lane, up to :data:`REACH` beyond its end."""
        if so_far >= REACH:
            return [[]]
        if so_far == 0.0 and lane.index in self._chains:
            return self._chains[lane.index]
        following = [
            other
            for lanes in self._graph.get(lane.index[1], {}).values()
            for other in lanes
            if lane.is_previous_lane_of(other)
        ]
        chains = [
            [other, *rest]
            for other in following
            for rest in self._chain(other, so_far + other.length)
        ]
        chains = chains or [[]]
        if so_far == 0.0:
            self._chains[lane.index] = chains
        return chains


def _stays(thing: Any) -> bool:
    """Whether it is no vehicle, or one that has broken down."""
    return getattr(thing, "navigation", None) is None or bool(getattr(thing, "break_down", False))


def _beside(line: Array, offset: float) -> Array:
    """The line, begun ``offset`` [m] to its right and led back to it."""
    heading = headings_of(line)
    right = np.stack((-np.sin(heading), np.cos(heading)), 1)  # y points down
    fading = offset * np.exp(-np.arange(len(line)) * PATH_STEP / RETURN)
    return line + right * fading[:, None]


def _across(line: Array, offset: float, slant: float, width: float) -> Array:
    """The line, begun ``offset`` [m] to its right and left at ``slant``, for a lane beside it."""
    heading = headings_of(line)
    right = np.stack((-np.sin(heading), np.cos(heading)), 1)  # y points down
    target = math.copysign(width, slant)
    drift = np.clip(np.arange(len(line)) * PATH_STEP * slant, -abs(target - offset), None)
    drift = np.clip(drift, None, abs(target - offset))
    return line + right * (offset + drift)[:, None]


def _between(angle: float, low: float, high: float) -> float:
    """An angle [rad], brought into [-pi, pi] and then between two bounds."""
    return min(max(math.atan2(math.sin(angle), math.cos(angle)), low), high)


def _others(ways: list[Way]) -> Others:
    """The ways as the planner takes them."""
    return Others(
        _table([way.line for way in ways]),
        np.arange(len(ways)),
        np.array([way.station for way in ways], np.float64),
        np.array([way.speed for way in ways], np.float64),
        True,
    )


def _table(ways: list[Array]) -> PathTable:
    if not ways:
        ways = [np.array([[0.0, 0.0], [PATH_STEP, 0.0]])]
    rows = [np.column_stack((way, headings_of(way))) for way in ways]
    counts = np.array([len(row) for row in rows])
    return PathTable(
        points=np.ascontiguousarray(np.concatenate(rows)),
        first=np.concatenate(([0], np.cumsum(counts)[:-1])).astype(np.int64),
        length=(counts - 1) * PATH_STEP,
        fork=np.zeros((len(ways), len(ways))),
    )
