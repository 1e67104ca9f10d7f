"""Which ways the other vehicles may take on a MetaDrive map: along their lanes, and over to others.

Only what a frame shows is used: poses, speeds and the road.  MetaDrive's own plans for its vehicles
are not looked at.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vlsafe_envs.simulators.metadrive.roads import points_on
from vlsafe_envs.simulators.paths.paths import PATH_STEP, PathTable, PossibleWays
from vlsafe_envs.tasks.progress import headings_of

Array = npt.NDArray[np.float64]
SIGHT = 60.0  # [m] around the ego vehicle
REACH = 60.0  # [m] of their way that is looked at
RETURN = 15.0  # [m], in which who is beside its lane's middle comes back to it, by a factor of e
MOST_WAYS = 6  # of one vehicle
SLANT = 0.05  # sideways metres a metre along the lane, from which on a lane change is reckoned with
STEEPEST = 0.5  # [rad], of who drives askew


class OnLane(NamedTuple):
    """Where somebody is on its lane."""

    first: int  # point of the lane's ways at or before it
    station: float  # [m] from there
    offset: float  # [m] right of the lane's middle
    slant: float  # sideways metres a metre along the lane
    width: float  # [m] of the lane


class LaneWays:
    """The ways on from every lane of one map.

    Args:
        graph: of MetaDrive's road network.
    """

    def __init__(self, graph: Any) -> None:
        self._graph = graph
        self._sampled: dict[Any, Array] = {}  # lane index -> (K, 2) points
        self._chains: dict[Any, list[list[Any]]] = {}
        self._lines: dict[Any, list[Array]] = {}

    def lines(self, lane: Any) -> list[Array]:
        """Ways from the start of a lane, each ``(K, 2)`` [m], ``PATH_STEP`` apart."""
        if lane.index not in self._lines:
            self._lines[lane.index] = [
                np.concatenate([self._points(part)[:-1] for part in (lane, *chain)])
                for chain in self._chain(lane, 0.0)[:MOST_WAYS]
            ]
        return self._lines[lane.index]

    def place(self, lane: Any, position: Any, heading: float) -> OnLane:
        """Where somebody at MetaDrive's ``position`` with ``heading`` [rad] is on a lane."""
        along, offset = lane.local_coordinates(position)
        pieces = len(self._points(lane)) - 1
        place = min(max(along / lane.length, 0.0), 1.0) * pieces
        first = min(int(place), pieces - 1)
        slant = math.tan(_between(heading + lane.heading_theta_at(along), -STEEPEST, STEEPEST))
        return OnLane(first, (place - first) * PATH_STEP, offset, slant, float(lane.width))

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


def lane_of(thing: Any) -> Any:
    """The lane that a vehicle is on; None: it is on none, or no vehicle."""
    lane = getattr(getattr(thing, "navigation", None), "current_lane", None)
    return None if lane is None or lane.index is None else lane


def stays(thing: Any) -> bool:
    """Whether it is no vehicle, or one that has broken down."""
    return getattr(thing, "navigation", None) is None or bool(getattr(thing, "break_down", False))


def standing_line(x: float, y: float, heading: float, first: float) -> Array:
    """A line ``(4, 2)`` [m] of who stays there, from ``first`` steps ahead of its place on."""
    ahead = np.array([math.cos(heading), math.sin(heading)])
    return np.array([x, y]) + np.outer(np.arange(first, first + 4.0), ahead) * PATH_STEP


def beside(line: Array, offset: float) -> Array:
    """The line, begun ``offset`` [m] to its right and led back to it."""
    heading = headings_of(line)
    right = np.stack((-np.sin(heading), np.cos(heading)), 1)  # y points down
    fading = offset * np.exp(-np.arange(len(line)) * PATH_STEP / RETURN)
    return line + right * fading[:, None]


def across(line: Array, offset: float, slant: float, width: float) -> Array:
    """The line, begun ``offset`` [m] to its right and left at ``slant``, for a lane beside it."""
    heading = headings_of(line)
    right = np.stack((-np.sin(heading), np.cos(heading)), 1)  # y points down
    target = math.copysign(width, slant)
    drift = np.clip(np.arange(len(line)) * PATH_STEP * slant, -abs(target - offset), None)
    drift = np.clip(drift, None, abs(target - offset))
    return line + right * (offset + drift)[:, None]


def table_of(lines: Sequence[Array]) -> PathTable:
    """Lines ``(K, 2)`` [m] as paths."""
    if not lines:
        lines = [np.array([[0.0, 0.0], [PATH_STEP, 0.0]])]
    rows = [np.column_stack((line, headings_of(line))) for line in lines]
    counts = np.array([len(row) for row in rows])
    return PathTable(
        points=np.ascontiguousarray(np.concatenate(rows)),
        first=np.concatenate(([0], np.cumsum(counts)[:-1])).astype(np.int64),
        length=(counts - 1) * PATH_STEP,
        fork=np.zeros((len(lines), len(lines))),
    )


def possible_ways(lanes: LaneWays, columns: Array, things: Sequence[Any]) -> PossibleWays:
    """The ways of all ``things``, which are the rows of ``columns`` from 1 on, within SIGHT."""
    lines, stations, speeds, rows, moves = list[Array](), list[float](), [], [], []
    distances = np.hypot(columns[0] - columns[0, 0], columns[1] - columns[1, 0])
    for row, thing in enumerate(things, 1):
        if distances[row] > SIGHT:
            continue
        x, y, heading, speed = columns[:4, row].tolist()
        lane, before = lane_of(thing), len(lines)
        if lane is None or stays(thing):
            lines.append(standing_line(x, y, heading, 0.0))
            stations.append(0.0)
        else:
            place = lanes.place(lane, thing.position, heading)
            for line in lanes.lines(lane):
                ahead = line[place.first : place.first + round(REACH / PATH_STEP)]
                if len(ahead) < 3:
                    lines.append(standing_line(x, y, heading, 0.0))
                    stations.append(0.0)
                    continue
                lines.append(beside(ahead, place.offset))
                stations.append(place.station)
                if abs(place.slant) > SLANT:
                    lines.append(across(ahead, place.offset, place.slant, place.width))
                    stations.append(place.station)
        added = len(lines) - before
        speeds += [speed] * added
        rows += [row] * added
        moves += [not stays(thing)] * added
    return PossibleWays(
        table_of(lines),
        np.arange(len(rows)),
        np.array(stations, np.float64),
        np.array(speeds, np.float64),
        np.array(rows, np.int64),
        np.array(moves, np.bool_),
    )


def _between(angle: float, low: float, high: float) -> float:
    """An angle [rad], brought into [-pi, pi] and then between two bounds."""
    return min(max(math.atan2(math.sin(angle), math.cos(angle)), low), high)
