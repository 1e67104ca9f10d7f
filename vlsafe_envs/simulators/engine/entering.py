"""Vehicles that come to the intersection and leave it, with draws in highway-env's order."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vlsafe_envs.simulators.engine.lanes import local_coordinates
from vlsafe_envs.simulators.engine.population import BLANK, Population, put_on_lane
from vlsafe_envs.simulators.engine.state import (
    ROUTE_STEPS,
    VEHICLE_LENGTH,
    Integers,
    Records,
    RoadTable,
    compiled,
)

DELTA_RANGE = (3.5, 4.5)  # of the IDM exponent
ARMS = 4
ALREADY_DRAWN = math.inf  # stands for a chance that has come true
_AT_THE_START = np.zeros(1)  # [m]
ENTRY_SPEED = 8.0  # [m/s]
ENTRY_ROOM = 15.0  # [m], no vehicle enters nearer to another one
EXIT_ZONE = 4 * VEHICLE_LENGTH  # [m], at the end of a road out: who reaches it has left


class Crossing(NamedTuple):
    """What entering and leaving need to know of the intersection."""

    accesses: Integers  # (ARMS,) lanes towards it
    ways: Integers  # (ARMS, ARMS, ROUTE_STEPS, 2) routes from arm to arm
    way_ends: Integers  # (ARMS, ARMS) their lengths
    exits: Integers  # (roads,) whether a road leads out


def read_crossing(people: Population) -> Crossing:
    """Read it off the road network of ``people``."""
    accesses = np.array([people.numbers.lane((f"o{a}", f"ir{a}", 0)) for a in range(ARMS)])
    ways = np.zeros((ARMS, ARMS, ROUTE_STEPS, 2), np.int64)
    way_ends = np.zeros((ARMS, ARMS), np.int64)
    for start, lane in enumerate(accesses.tolist()):
        for end in range(ARMS):
            path = people.path(lane, f"o{end}")
            ways[start, end, : len(path)] = path
            way_ends[start, end] = len(path)
    exits = [int("il" in origin and "o" in target) for origin, target in people.numbers.edges]
    return Crossing(accesses, ways, way_ends, np.array(exits))


def enter(
    people: Population,
    crossing: Crossing,
    rng: np.random.Generator,
    chance: float,
    along: npt.NDArray[np.float64],
    challenger: bool = False,
) -> None:
    """Let a vehicle enter with some chance for each entry of ``along`` [m], one after the other.

    Each comes by a random access, ``along`` and a little more from its start; a challenger goes
    straight on.
    """
    people.make_room(along.size)
    state = (people.table, people.vehicles, people.routes, people.world)
    _enter(*state, crossing, rng, chance, along, challenger, BLANK)


def enter_perhaps(
    people: Population, crossing: Crossing, rng: np.random.Generator, chance: float
) -> None:
    """The same for a single vehicle at the start of its access."""
    if rng.random() <= chance:  # drawn here: numba is slow to take a generator
        people.make_room(1)
        state = (people.table, people.vehicles, people.routes, people.world)
        _enter(*state, crossing, rng, ALREADY_DRAWN, _AT_THE_START, False, BLANK)


def leave(people: Population, crossing: Crossing) -> None:
    """Remove the vehicles that have left; the ego vehicle stays."""
    _leave(people.table, people.vehicles, people.routes, people.world, crossing.exits)


@compiled
def _choose_two(rng: np.random.Generator) -> tuple[int, int]:
    """What ``rng.choice(ARMS, 2, replace=False)`` returns, with the same draws."""
    first, second = int(rng.integers(0, ARMS - 1)), int(rng.integers(0, ARMS))
    if second == first:
        second = ARMS - 1
    if rng.integers(0, 2) == 0:
        return second, first
    return first, second


@compiled
def _enter(
    table: RoadTable,
    vehicles: Records,
    routes: Integers,
    world: Records,
    crossing: Crossing,
    rng: np.random.Generator,
    chance: float,
    along: npt.NDArray[np.float64],
    challenger: bool,
    blank: Records,
) -> None:
    for k in range(along.size):
        if chance != ALREADY_DRAWN and rng.random() > chance:
            continue
        start, end = _choose_two(rng)
        if challenger:
            end = (start + 2) % ARMS
        place = along[k] + 5.0 + rng.normal() * (0.1 if challenger else 1.0)
        speed = ENTRY_SPEED + rng.normal() * (0.0 if challenger else 1.0)
        row = world[0].vehicles
        vehicles[row] = blank[0]
        put_on_lane(table, vehicles, row, crossing.accesses[start], place, speed)
        me = vehicles[row]
        me.distance_wanted, me.comfort_acc_max, me.comfort_acc_min = 7.0, 6.0, -3.0
        if _is_near_another(vehicles, row):
            continue
        world[0].vehicles += 1
        me.route_end, me.planned = crossing.way_ends[start, end], 1
        routes[row] = crossing.ways[start, end]
        me.delta = rng.uniform(DELTA_RANGE[0], DELTA_RANGE[1])


@compiled
def _is_near_another(vehicles: Records, row: int) -> bool:
    for other in range(row):
        dx, dy = vehicles[other].x - vehicles[row].x, vehicles[other].y - vehicles[row].y
        if math.sqrt(dx * dx + dy * dy) < ENTRY_ROOM:
            return True
    return False


@compiled
def _leave(
    table: RoadTable, vehicles: Records, routes: Integers, world: Records, exits: Integers
) -> None:
    ego, kept = world[0].ego, 0
    for i in range(world[0].vehicles):
        me = vehicles[i]
        lane = table.lanes[me.lane]
        stays = me.planned != 0
        if exits[lane.road] != 0:
            s, _ = local_coordinates(table.lanes, me.lane, me.x, me.y)
            stays = stays and s < lane.length - EXIT_ZONE
        if not stays and i != ego:
            continue
        if i == ego:
            world[0].ego = kept
        if kept != i:
            vehicles[kept] = vehicles[i]
            routes[kept] = routes[i]
        kept += 1
    world[0].vehicles = kept
