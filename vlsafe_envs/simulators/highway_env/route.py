"""The ego vehicle's way ahead, as points on the road."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from highway_env.road.road import LaneIndex, RoadNetwork

from vlsafe_envs.scene import PACKED_ROUTE

ROUTE_SPACING = 4.0  # [m] between points

Plan = list[tuple[str, str]]  # edges of the road network, in driving order


def plan_of(route: Sequence[LaneIndex] | None) -> Plan:
    """The edges of a highway-env route (which vehicles shorten as they drive)."""
    return [(start, end) for start, end, _ in route] if route else []


def route_ahead(
    network: RoadNetwork, plan: Plan, lane_index: LaneIndex, position: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Points ``(K, 2)`` [m] every 4 m along ``plan`` from ``position``, at most 16.

    Empty without a plan, and when the vehicle has left it.
    """
    edge = (lane_index[0], lane_index[1])
    if edge not in plan:
        return np.zeros((0, 2))
    rest = plan[plan.index(edge) + 1 :]
    lane, lane_id = network.get_lane(lane_index), lane_index[2]
    along = lane.local_coordinates(position)[0]
    points = []
    for _ in range(PACKED_ROUTE):
        along += ROUTE_SPACING
        while along > lane.length and rest:
            along -= lane.length
            end_point = lane.position(lane.length, 0.0)
            (start, end), rest = rest[0], rest[1:]
            choices = network.graph[start][end]
            if lane_id >= len(choices) or len(choices) != len(network.graph[edge[0]][edge[1]]):
                lane_id = min(range(len(choices)), key=lambda i: choices[i].distance(end_point))
            lane, edge = choices[lane_id], (start, end)
        if along > lane.length:
            break
        points.append(lane.position(along, 0.0))
    return np.array(points, np.float64).reshape(-1, 2)
