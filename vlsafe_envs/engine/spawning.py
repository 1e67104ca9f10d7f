"""Initial traffic and entering vehicles, with random numbers drawn in highway-env's order."""

from __future__ import annotations

import numpy as np
from highway_env.road.road import RoadNetwork

from ..highway_env_stages import STAGES
from ..scenarios import TrafficConfig
from .lanes import local_coordinates
from .population import Population
from .simulation import simulate
from .state import IDM, META, PLAIN, Integers, Records, RoadTable, compiled

DELTA_RANGE = (3.5, 4.5)  # of the IDM exponent
HIGHWAY_EGO_SPEED = 25.0  # [m/s] that the ego vehicle's spacing is worked out with
WARM_UP = 3  # [s] of traffic before the ego vehicle comes to the intersection
VEHICLE_LENGTH = 5.0  # [m]


def ego_kind(config: TrafficConfig) -> int:
    """Kind of the ego vehicle that the actions of ``config`` drive."""
    return META if config.action == "meta" else PLAIN


def spawn(config: TrafficConfig, people: Population, rng: np.random.Generator) -> None:
    """Fill an empty road as the reference does, with the same draws from ``rng``."""
    if config.scenario == "highway":
        _spawn_highway(config, people, rng)
    elif config.scenario == "intersection":
        _spawn_intersection(config, people, rng)
    else:
        _copy_stage(config, people, rng)


def _copy_stage(config: TrafficConfig, people: Population, rng: np.random.Generator) -> None:
    """Let highway-env spawn, and copy its vehicles."""
    from ..highway_env_traffic import ego_class

    stage = STAGES[config.scenario](config, ego_class(config), rng)
    stage.build_road()
    stage.spawn()
    for vehicle in stage.road.vehicles:
        row = people.copy_object(vehicle)
        if vehicle is stage.vehicle:
            people.world["ego"] = row
    for obstacle in stage.road.objects:
        people.copy_object(obstacle)


def _spawn_highway(config: TrafficConfig, people: Population, rng: np.random.Generator) -> None:
    """A row of vehicles on random lanes, each ahead of all before it (``highway-v0``)."""
    thinning = np.exp(-5 / 40 * config.lanes)
    low, high = 0.7 * 30, 0.8 * 30  # [m/s], shares of the speed limit
    farthest = 0.0
    for k in range(config.vehicles + 1):
        lane = int(rng.integers(0, config.lanes))
        if k == 0:
            speed, spacing = HIGHWAY_EGO_SPEED, config.ego_spacing
        else:
            speed, spacing = rng.uniform(low, high), 1 / config.density
        offset = spacing * (12 + 1.0 * speed) * thinning
        farthest = farthest if k else 3 * offset
        farthest += offset * rng.uniform(0.9, 1.1)
        row = people.add(IDM if k else ego_kind(config))
        people.put(row, lane, farthest, speed)
        if k:
            people.vehicles[row]["delta"] = rng.uniform(*DELTA_RANGE)


def _spawn_intersection(
    config: TrafficConfig, people: Population, rng: np.random.Generator
) -> None:
    """Random vehicles, some seconds of driving, a challenger, and the ego vehicle."""
    wanted = config.vehicles
    for k in range(wanted - 1):
        enter_intersection(people, rng, 0.6, np.linspace(0, 80, wanted)[k])
    for _ in range(WARM_UP):
        simulate(
            people.table, people.vehicles, people.routes, people.world, config.simulation_frequency
        )
    enter_intersection(people, rng, 1.0, 60.0, challenger=True)
    access = people.numbers.lane(("o0", "ir0", 0))
    destination = config.destination or "o" + str(rng.integers(1, 4))
    ego = people.add(ego_kind(config))
    speed = float(people.table.lanes[access]["speed_limit"])
    people.put(ego, access, 60.0 + 5.0 * rng.normal(1.0), speed)
    people.plan_route(ego, destination)
    people.world["ego"] = ego
    mask = _gaps(people, ego) >= 20.0
    mask[np.flatnonzero(mask)[wanted:]] = False
    mask[ego] = True
    people.keep(mask)


def enter_intersection(
    people: Population,
    rng: np.random.Generator,
    chance: float,
    along: float = 0.0,
    challenger: bool = False,
) -> None:
    """Perhaps let a vehicle enter by a random access; a challenger goes straight on."""
    if rng.uniform() > chance:
        return
    route = rng.choice(range(4), size=2, replace=False)
    route[1] = (route[0] + 2) % 4 if challenger else route[1]
    position_deviation, speed_deviation = (0.1, 0.0) if challenger else (1.0, 1.0)
    along = along + 5.0 + rng.normal() * position_deviation
    speed = 8.0 + rng.normal() * speed_deviation
    row = people.add()
    people.put(row, people.numbers.lane((f"o{route[0]}", f"ir{route[0]}", 0)), along, speed)
    me = people.vehicles[row]
    me["distance_wanted"], me["comfort_acc_max"], me["comfort_acc_min"] = 7.0, 6.0, -3.0
    if (_gaps(people, row)[:row] < 15).any():
        people.world["vehicles"] -= 1
        return
    people.plan_route(row, f"o{route[1]}")
    me["delta"] = rng.uniform(*DELTA_RANGE)


def _gaps(people: Population, row: int) -> np.ndarray:
    """Distances [m] of all vehicles' centres from that of one."""
    vehicles = people.vehicles[: people.count]
    dx, dy = vehicles["x"] - vehicles[row]["x"], vehicles["y"] - vehicles[row]["y"]
    return np.sqrt(dx * dx + dy * dy)


def exit_roads(network: RoadNetwork, people: Population) -> Integers:
    """Flags ``(roads,)`` of the roads that lead out of the intersection."""
    return np.array(
        [int("il" in origin and "o" in target) for origin, target in people.numbers.edges]
    )


@compiled
def _leaving(
    table: RoadTable, vehicles: Records, count: int, exits: Integers, stays: Integers
) -> None:
    for i in range(count):
        me = vehicles[i]
        lane = table.lanes[me.lane]
        stays[i] = 1 if me.planned != 0 else 0
        if exits[lane.road] != 0:
            s, _ = local_coordinates(table.lanes, me.lane, me.x, me.y)
            if s >= lane.length - 4 * VEHICLE_LENGTH:
                stays[i] = 0


def clear_intersection(people: Population, exits: Integers) -> None:
    """Remove the vehicles that have left; the ego vehicle stays."""
    stays = np.empty(people.count, np.int64)
    _leaving(people.table, people.vehicles, people.count, exits, stays)
    stays[people.ego] = 1
    people.keep(stays != 0)
