"""The road users of one scene: growing arrays of vehicles, obstacles and routes."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from highway_env.road.road import RoadNetwork
from highway_env.vehicle.behavior import IDMVehicle
from highway_env.vehicle.controller import ControlledVehicle, MDPVehicle
from highway_env.vehicle.objects import Obstacle, RoadObject

from vlsafe_envs.simulators.engine.dynamics import locate
from vlsafe_envs.simulators.engine.lanes import heading_at, position_at
from vlsafe_envs.simulators.engine.network import LaneNumbers
from vlsafe_envs.simulators.engine.simulation import simulate
from vlsafe_envs.simulators.engine.state import (
    IDM,
    META,
    NO_LANE_ID,
    OBSTACLE,
    PLAIN,
    ROUTE_STEPS,
    WORLD,
    Integers,
    Records,
    RoadTable,
    compiled,
    empty_vehicles,
)
from vlsafe_envs.state import State

BLANK = empty_vehicles(1)  # a road user with default properties
SPARE_ROWS = 16
LANE_CHANGE_DELAY = 1.0  # [s]


@compiled
def put_on_lane(
    table: RoadTable, vehicles: Records, i: int, lane: int, along: float, speed: float
) -> None:
    """Place vehicle ``i`` on a lane; it keeps its lane and speed until it decides otherwise."""
    me = vehicles[i]
    me.x, me.y = position_at(table.lanes, lane, along, 0.0)
    me.heading = heading_at(table.lanes, lane, along)
    me.speed = speed
    settle(table, vehicles, i)


@compiled
def _add(vehicles: Records, world: Records, blank: Records, kind: int, number: int) -> None:
    row = world[0].vehicles + world[0].obstacles
    for i in range(row, row + number):
        vehicles[i] = blank[0]
        vehicles[i].kind = kind
    if kind == OBSTACLE:
        world[0].obstacles += number
    else:
        world[0].vehicles += number


@compiled
def settle(table: RoadTable, vehicles: Records, i: int) -> None:
    """Set lane, targets and timer of a vehicle from its position, heading and speed."""
    me = vehicles[i]
    locate(table.lanes, vehicles, i)
    me.target_lane = me.lane
    me.target_speed = me.speed
    me.timer = ((me.x + me.y) * math.pi) % LANE_CHANGE_DELAY


class Population:
    """Arrays for the road users on one road; vehicles first, then obstacles.

    Args:
        network: highway-env's road network, for planning routes.
        table: the same network in arrays.
        dt: simulation step [s].
        rows: vehicles and obstacles to have room for; more room is made when needed.
    """

    def __init__(self, network: RoadNetwork, table: RoadTable, dt: float, rows: int) -> None:
        self.network = network
        self.table = table
        self.numbers = LaneNumbers(network)
        self.world = np.zeros(1, WORLD)
        self.world["dt"] = dt
        self.vehicles: Records = empty_vehicles(rows)
        self.routes: Integers = np.zeros((rows, ROUTE_STEPS, 2), np.int64)
        self._paths: dict[tuple[int, str], list[tuple[int, int]]] = {}
        self._more_room: Callable[[int], None] | None = None
        self.crossing: Any = None  # what vehicles that enter later need to know

    def move_to(
        self,
        vehicles: Records,
        routes: Integers,
        world: Records,
        more_room: Callable[[int], None],
    ) -> None:
        """Go on in other arrays, such as one scene's part of a batch.

        ``vehicles (rows,)`` and ``routes (rows, ROUTE_STEPS, 2)`` have to be as long as the present
        ones or longer, ``world`` has one row.  ``more_room(rows)`` is called for more rows and has
        to move the population again.
        """
        vehicles[: len(self.vehicles)] = self.vehicles
        routes[: len(self.routes)] = self.routes
        world[:] = self.world
        self.vehicles, self.routes, self.world = vehicles, routes, world
        self._more_room = more_room

    @property
    def count(self) -> int:
        """Number of vehicles."""
        return int(self.world[0]["vehicles"])

    @property
    def total(self) -> int:
        """Number of vehicles and obstacles."""
        return self.count + int(self.world[0]["obstacles"])

    @property
    def ego(self) -> int:
        """Row of the ego vehicle."""
        return int(self.world[0]["ego"])

    def clear(self) -> None:
        """Empty the road and restart its clock."""
        for name in ("vehicles", "obstacles", "ego", "steps"):
            self.world[name] = 0

    def add(self, kind: int = IDM, number: int = 1) -> int:
        """Append road users with default properties; returns the row of the first."""
        row = self.total
        self.make_room(number)
        _add(self.vehicles, self.world, BLANK, kind, number)
        return row

    def make_room(self, number: int) -> None:
        """Make sure that so many road users can be added."""
        rows = self.total + number
        if rows <= len(self.vehicles):
            return
        rows += SPARE_ROWS
        if self._more_room is not None:
            self._more_room(rows)
            return
        more = rows - len(self.vehicles)
        self.vehicles = np.concatenate([self.vehicles, empty_vehicles(more)])
        self.routes = np.concatenate([self.routes, np.zeros((more, ROUTE_STEPS, 2), np.int64)])

    def save(self) -> State:
        """All road users; their rows are copied."""
        rows = self.total
        kept = self.vehicles[:rows].copy(), self.routes[:rows].copy()
        return {"world": self.world.copy(), "vehicles": kept[0], "routes": kept[1]}

    def restore(self, state: State) -> None:
        """Inverse of :meth:`save`, here or in another population of the same road."""
        self.clear()
        rows = len(state["vehicles"])
        self.make_room(rows)
        self.world[:] = state["world"]
        self.vehicles[:rows], self.routes[:rows] = state["vehicles"], state["routes"]

    def advance(self, action: int, target_speeds: npt.NDArray[np.float64], steps: int) -> None:
        """Give the ego vehicle a meta-action (or ``NO_ACTION``); simulate ``steps`` steps."""
        simulate(self.table, self.vehicles, self.routes, self.world, action, target_speeds, steps)

    def keep(self, mask: np.ndarray) -> None:
        """Remove the vehicles whose entry of the boolean ``mask (vehicles,)`` is False.

        Only for roads without obstacles; the ego vehicle has to stay.
        """
        if mask.all():
            return
        rows = np.flatnonzero(mask)
        self.vehicles[: len(rows)] = self.vehicles[rows]
        self.routes[: len(rows)] = self.routes[rows]
        self.world["ego"] = int(mask[: self.ego].sum())
        self.world["vehicles"] = len(rows)

    def plan_route(self, row: int, destination: str) -> None:
        """Plan the shortest way from the lane of a vehicle to a node of the network."""
        self.set_route(row, self.path(int(self.vehicles[row]["lane"]), destination))

    def path(self, lane: int, destination: str) -> list[tuple[int, int]]:
        """The shortest way from a lane to a node, in steps of a route (see :meth:`set_route`)."""
        if (lane, destination) not in self._paths:
            self._paths[lane, destination] = self._shortest_path(lane, destination)
        return self._paths[lane, destination]

    def _shortest_path(self, lane: int, destination: str) -> list[tuple[int, int]]:
        here = self.table.lanes[lane]
        try:
            end = self.numbers.edges[here["road"]][1]
            nodes = self.network.shortest_path(end, destination)
        except KeyError:
            nodes = []
        edges = pairwise(nodes)
        steps = [(self.numbers.road[edge], NO_LANE_ID) for edge in edges]
        return [(int(here["road"]), int(here["id"])), *steps]

    def set_route(self, row: int, route: list[tuple[int, int]] | None) -> None:
        """Give a vehicle a route of ``(road row, lane id or NO_LANE_ID)`` steps, or none."""
        steps = route or []
        if len(steps) > ROUTE_STEPS:
            raise ValueError(f"route of {len(steps)} roads: at most {ROUTE_STEPS} are supported")
        me = self.vehicles[row]
        me["route_at"], me["route_end"] = 0, len(steps)
        me["planned"] = route is not None
        if steps:
            self.routes[row, : len(steps)] = steps

    def put(self, row: int, lane: int, along: float, speed: float) -> None:
        """Place a vehicle ``along`` [m] a lane at ``speed`` [m/s]."""
        put_on_lane(self.table, self.vehicles, row, lane, along, speed)

    def copy_object(self, thing: RoadObject) -> int:
        """Append a copy of a highway-env vehicle or obstacle; returns its row.

        Raises:
            NotImplementedError: for classes of vehicles that the engine does not know.
        """
        row = self.add(_kind_of(thing))
        me = self.vehicles[row]
        me["x"], me["y"] = thing.position
        me["heading"], me["speed"] = thing.heading, thing.speed
        me["cos"], me["sin"] = np.cos(thing.heading), np.sin(thing.heading)
        me["length"], me["width"], me["diagonal"] = thing.LENGTH, thing.WIDTH, thing.diagonal
        me["lane"] = me["target_lane"] = self.numbers.lane(thing.lane_index)
        me["check_collisions"], me["crashed"] = thing.check_collisions, thing.crashed
        if isinstance(thing, ControlledVehicle):
            me["target_lane"] = self.numbers.lane(thing.target_lane_index)
            me["target_speed"] = thing.target_speed
        if isinstance(thing, IDMVehicle):
            copy_driver(me, thing)
        route = getattr(thing, "route", None)
        self.set_route(row, None if route is None else [self.route_step(s) for s in route])
        return row

    def route_step(self, step: tuple[str, str, int | None]) -> tuple[int, int]:
        """One step of a highway-env route as ``(road row, lane id or NO_LANE_ID)``."""
        return self.numbers.road[step[:2]], NO_LANE_ID if step[2] is None else int(step[2])


def copy_driver(row: np.void, driver: IDMVehicle) -> None:
    """Copy the IDM and MOBIL properties of a highway-env driver."""
    row["timer"], row["delta"] = driver.timer, driver.DELTA
    row["distance_wanted"] = driver.DISTANCE_WANTED
    row["comfort_acc_max"] = driver.COMFORT_ACC_MAX
    row["comfort_acc_min"] = driver.COMFORT_ACC_MIN


def _kind_of(thing: RoadObject) -> int:
    if isinstance(thing, Obstacle):
        return OBSTACLE
    if isinstance(thing, IDMVehicle):
        return IDM
    if isinstance(thing, MDPVehicle):
        return META
    if isinstance(thing, ControlledVehicle):
        raise NotImplementedError(f"the engine does not know vehicles of {type(thing)}")
    return PLAIN
