"""The road of a MetaDrive map as it is drawn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from vlsafe_envs.render import LaneShape, Line, RoadShape

SAMPLE = 1.0  # [m] between samples of a curve
FLIP = np.array([1.0, -1.0])  # MetaDrive's y points up, ours down
Points = npt.NDArray[np.float64]


def road_shape(road_map: Any) -> RoadShape:
    """All lanes of a map, in our coordinates."""
    return RoadShape(tuple(lane_shape(lane) for lane in lanes_of(road_map)))


def lanes_of(road_map: Any) -> Iterator[Any]:
    """MetaDrive's lanes, in the order of its road network."""
    for ends in road_map.road_network.graph.values():
        for lanes in ends.values():
            yield from lanes


def lane_shape(lane: Any) -> LaneShape:
    """One lane between its borders.  MetaDrive's lateral axis points to the right, as ours."""
    straight = hasattr(lane, "direction_lateral")
    pieces = 1 if straight else max(2, int(np.ceil(lane.length / SAMPLE)))
    station = np.linspace(0.0, float(lane.length), pieces + 1)  # (K,)
    half = np.array([float(lane.width_at(s)) / 2 for s in station])  # (K,)
    left, right = _line_of(lane.line_types[0]), _line_of(lane.line_types[1])
    return LaneShape(
        points_on(lane, station, -half), points_on(lane, station, half), station, left, right
    )


def points_on(lane: Any, stations: Points, lateral: Points) -> Points:
    """Points ``(K, 2)`` [m] of a lane in our coordinates."""
    pairs = zip(stations, lateral, strict=True)
    points = [[float(value) for value in lane.position(float(s), float(d))] for s, d in pairs]
    return np.array(points).reshape(-1, 2) * FLIP


def _line_of(line_type: str) -> Line:
    from metadrive.constants import PGLineType

    if line_type == PGLineType.BROKEN:
        return Line.STRIPED
    return Line.NONE if line_type == PGLineType.NONE else Line.CONTINUOUS
