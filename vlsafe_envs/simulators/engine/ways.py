"""All ways on from every lane of a road network, as points: what other vehicles may do next."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vlsafe_envs.simulators.engine.lanes import heading_at, position_at
from vlsafe_envs.simulators.engine.network import LaneNumbers, lane_on_next_road
from vlsafe_envs.simulators.engine.state import NO_LANE_ID, Integers, Records, RoadTable, compiled

WAY_LENGTH = 90.0  # [m], of a way beyond the lane that it starts on
MAX_WAYS = 6  # from one lane
PAST_JUNCTION = 99  # priority of those who are on the crossing already, or past it


class Ways(NamedTuple):
    """Ways from the start of every lane; their points are 1 m apart."""

    first_way: Integers  # (lanes + 1,); ways of lane k: rows [first_way[k], first_way[k + 1])
    first_point: Integers  # (ways + 1,); likewise the points of a way
    priority: Integers  # (ways,), of the crossing lane ahead, or PAST_JUNCTION
    crossing: npt.NDArray[np.bool_]  # (lanes,), whether a lane crosses the junction
    points: npt.NDArray[np.float64]  # (points, 4): x, y [m], cosine and sine of the heading


def find_ways(table: RoadTable, numbers: LaneNumbers) -> Ways:
    """The ways of every lane of a network."""
    # highway-env names the nodes where vehicles enter a junction "ir0" to "ir3".
    road_crosses = np.array([start.startswith("ir") for start, _ in numbers.edges])
    crossing = road_crosses[table.lanes["road"]]
    first_way, first_point, priority, pieces = [0], [0], [], []
    for lane in range(len(table.lanes)):
        reach = WAY_LENGTH + float(table.lanes[lane]["length"])
        for way in _extend(table, lane, reach)[:MAX_WAYS]:
            points = np.concatenate([_trace(table.lanes, k, length) for k, length in way])
            pieces.append(points)
            first_point.append(first_point[-1] + len(points))
            ahead = [k for k, _ in way[1:] if crossing[k]]
            priority.append(int(table.lanes[ahead[0]]["priority"]) if ahead else PAST_JUNCTION)
        first_way.append(len(priority))
    return Ways(
        np.array(first_way),
        np.array(first_point),
        np.array(priority),
        crossing,
        np.concatenate(pieces),
    )


def _extend(table: RoadTable, lane: int, reach: float) -> list[list[tuple[int, float]]]:
    """Ways from the start of a lane: rows of lanes, and the length [m] that is used of each."""
    here = table.lanes[lane]
    length = float(here["length"])
    node = table.nodes[table.roads[here["road"]]["target"]]
    left = reach - length
    if left <= 0 or not node["roads"]:
        return [[(lane, min(length, reach))]]
    x, y = position_at(table.lanes, lane, length, 0.0)
    ways = []
    for road in range(node["first_road"], node["first_road"] + node["roads"]):
        following, _ = lane_on_next_road(table, lane, road, NO_LANE_ID, x, y)
        ways += [[(lane, length), *way] for way in _extend(table, following, left)]
    return ways


@compiled
def _trace(lanes: Records, lane: int, length: float) -> npt.NDArray[np.float64]:
    """Points ``(K, 4)`` every metre of the first ``length`` [m] of a lane."""
    points = np.empty((math.ceil(length), 4))
    for k in range(points.shape[0]):
        points[k, 0], points[k, 1] = position_at(lanes, lane, float(k), 0.0)
        heading = heading_at(lanes, lane, float(k))
        points[k, 2], points[k, 3] = math.cos(heading), math.sin(heading)
    return points


NO_WAYS = Ways(
    np.zeros(1, np.int64),
    np.zeros(1, np.int64),
    np.zeros(0, np.int64),
    np.zeros(0, np.bool_),
    np.zeros((0, 4)),
)
