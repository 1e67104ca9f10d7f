"""Road networks as integer tables, and the way from one lane to the next.

Lanes are numbered in the order in which highway-env walks its graph, because ties between equally
near lanes are broken by that order.
"""

from __future__ import annotations

import numpy as np
from highway_env.road.lane import CircularLane, SineLane, StraightLane
from highway_env.road.road import RoadNetwork

from vlsafe_envs.simulators.engine.lanes import (
    distance,
    is_after_end,
    local_coordinates,
    position_at,
)
from vlsafe_envs.simulators.engine.state import (
    CIRCULAR,
    LANE,
    LINK,
    NO_LANE_ID,
    NODE,
    ROAD,
    SINE,
    STRAIGHT,
    Integers,
    Records,
    RoadTable,
    compiled_core,
    inlined,
)

_KINDS = {StraightLane: STRAIGHT, SineLane: SINE, CircularLane: CIRCULAR}
LaneIndex = tuple[str, str, int]


class LaneNumbers:
    """Translates highway-env's lane indices ``("a", "b", 1)`` to rows of a ``RoadTable``."""

    def __init__(self, network: RoadNetwork) -> None:
        self.edges = [(a, b) for a, targets in network.graph.items() for b in targets]
        self.names = list(dict.fromkeys([*network.graph, *(b for _, b in self.edges)]))
        self.road = {edge: row for row, edge in enumerate(self.edges)}
        counts = [len(network.graph[a][b]) for a, b in self.edges]
        self.first = np.concatenate(([0], np.cumsum(counts)))

    def lane(self, index: LaneIndex) -> int:
        """Row of a lane."""
        return int(self.first[self.road[index[:2]]]) + int(index[2])


def road_table(network: RoadNetwork, connected_lanes: bool = False) -> RoadTable:
    """Arrays of a highway-env road network.

    With ``connected_lanes`` a vehicle's neighbours are also looked for on the lanes before and
    after its own, as highway-env does when ``neighbour_vehicles_connected_lanes`` is set.

    Raises:
        NotImplementedError: for lanes that are neither straight, sine nor circular.
    """
    numbers = LaneNumbers(network)
    lanes = np.zeros(int(numbers.first[-1]), LANE)
    roads = np.zeros(len(numbers.edges), ROAD)
    nodes = np.zeros(len(numbers.names), NODE)
    for row, (origin, target) in enumerate(numbers.edges):
        group = network.graph[origin][target]
        roads[row] = (
            numbers.first[row],
            len(group),
            numbers.names.index(origin),
            numbers.names.index(target),
        )
        for lane_id, lane in enumerate(group):
            _fill_lane(lanes[int(numbers.first[row]) + lane_id], lane, row, lane_id)
    for row, name in enumerate(numbers.names):
        outgoing = [number for number, (origin, _) in enumerate(numbers.edges) if origin == name]
        nodes[row] = (outgoing[0] if outgoing else 0, len(outgoing))
    return RoadTable(lanes, roads, nodes, _links(lanes, roads, nodes, connected_lanes))


def _fill_lane(row: np.void, lane: StraightLane | CircularLane, road: int, lane_id: int) -> None:
    if type(lane) not in _KINDS:
        raise NotImplementedError(
            f"lane of type {type(lane).__name__}: the compiled engine knows straight, sine and "
            "circular lanes; use engine='highway_env' for this road"
        )
    row["kind"] = kind = _KINDS[type(lane)]
    row["road"], row["id"] = road, lane_id
    row["length"], row["width"] = lane.length, lane.width
    row["speed_limit"] = np.nan if lane.speed_limit is None else lane.speed_limit
    row["priority"], row["forbidden"] = lane.priority, lane.forbidden
    if kind == CIRCULAR:
        row["start_x"], row["start_y"] = lane.center
        row["phase"], row["radius"], row["turn"] = lane.start_phase, lane.radius, lane.direction
        return
    row["start_x"], row["start_y"] = lane.start
    row["direction_x"], row["direction_y"] = lane.direction
    row["heading"] = lane.heading
    if kind == SINE:
        row["amplitude"], row["pulsation"] = lane.amplitude, lane.pulsation
        row["phase"] = lane.phase


def _links(lanes: Records, roads: Records, nodes: Records, connected: bool) -> Records:
    """For each lane, the lanes where its neighbours are looked for, and their offsets [m]."""
    links: list[tuple[int, float]] = []
    for number, lane in enumerate(lanes):
        lane["first_link"] = len(links)
        links.append((number, 0.0))
        if connected:
            node = nodes[roads[lane["road"]]["target"]]
            for road in roads[node["first_road"] : node["first_road"] + node["roads"]]:
                links.append((_same_or_first(road, lane["id"]), float(lane["length"])))
            for road in roads[roads["target"] == roads[lane["road"]]["origin"]]:
                before = _same_or_first(road, lane["id"])
                links.append((before, -float(lanes[before]["length"])))
        lane["links"] = len(links) - lane["first_link"]
    return np.array(links, LINK)


def _same_or_first(road: np.void, lane_id: int) -> int:
    return int(road["first_lane"]) + (int(lane_id) if lane_id < road["lanes"] else 0)


@compiled_core
def lane_on_next_road(
    table: RoadTable, lane: int, road: int, lane_id: int, x: float, y: float
) -> tuple[int, float]:
    """The lane of ``road`` to take after ``lane``, and its distance [m] from a point."""
    lanes = table.lanes
    here = lanes[lane]
    following = table.roads[road]
    if table.roads[here.road].lanes == following.lanes:
        chosen = following.first_lane + (here.id if lane_id == NO_LANE_ID else lane_id)
        return chosen, distance(lanes, chosen, x, y)
    chosen = following.first_lane
    nearest = distance(lanes, chosen, x, y)
    for candidate in range(following.first_lane + 1, following.first_lane + following.lanes):
        far = distance(lanes, candidate, x, y)
        if far < nearest:
            chosen, nearest = candidate, far
    return chosen, nearest


@compiled_core
def _next_lane(table: RoadTable, vehicles: Records, routes: Integers, i: int) -> int:
    """The lane after the target lane of vehicle ``i``: along its route, else the nearest one."""
    me = vehicles[i]
    lanes, roads = table.lanes, table.roads
    lane = me.target_lane
    road = lanes[lane].road
    target = roads[road].target
    if me.route_at < me.route_end and routes[i, me.route_at, 0] == road:
        me.route_at += 1  # that step of the route is done
    s, _ = local_coordinates(lanes, lane, me.x, me.y)
    x, y = position_at(lanes, lane, s, 0.0)
    if me.route_at < me.route_end and roads[routes[i, me.route_at, 0]].origin == target:
        step = routes[i, me.route_at]
        chosen, _ = lane_on_next_road(table, lane, step[0], step[1], x, y)
        return chosen
    node = table.nodes[target]
    chosen, nearest = lane, np.inf
    for following in range(node.first_road, node.first_road + node.roads):
        candidate, far = lane_on_next_road(table, lane, following, NO_LANE_ID, x, y)
        if far < nearest:
            chosen, nearest = candidate, far
    return chosen


@inlined
def follow_road(table: RoadTable, vehicles: Records, routes: Integers, i: int) -> None:
    """At the end of its target lane, let vehicle ``i`` aim at the next one."""
    me = vehicles[i]
    if is_after_end(table.lanes, me.target_lane, me.x, me.y):
        me.target_lane = _next_lane(table, vehicles, routes, i)
