"""Initial traffic and entering vehicles, with random numbers drawn in highway-env's order."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
from highway_env.vehicle.kinematics import Vehicle
from highway_env.vehicle.objects import Obstacle

from vlsafe_envs.scenarios import TrafficConfig
from vlsafe_envs.simulators.engine.entering import DELTA_RANGE, enter
from vlsafe_envs.simulators.engine.lanes import position_at
from vlsafe_envs.simulators.engine.population import Population, put_on_lane
from vlsafe_envs.simulators.engine.simulation import NO_ACTION
from vlsafe_envs.simulators.engine.state import META, PLAIN, Records, RoadTable, compiled
from vlsafe_envs.simulators.highway_env.stages import (
    MERGE_EGO_START,
    ROUNDABOUT_CIRCLE,
    ROUNDABOUT_ENTRIES,
    stage_class,
)

HIGHWAY_EGO_SPEED = 25.0  # [m/s] that the ego vehicle's spacing is worked out with
WARM_UP = 3  # [s] of traffic before the ego vehicle comes to the intersection


def ego_kind(config: TrafficConfig) -> int:
    """Kind of the ego vehicle that the actions of ``config`` drive."""
    return META if config.action == "meta" else PLAIN


def spawn_highway(config: TrafficConfig, people: Population, rng: np.random.Generator) -> None:
    """A row of vehicles on random lanes, each ahead of all before it (``highway-v0``)."""
    thinning = float(np.exp(-5 / 40 * config.lanes))
    places = np.empty((config.vehicles + 1, 4))
    _draw_row(rng, config.lanes, config.ego_spacing, 1 / config.density, thinning, places)
    people.add(ego_kind(config))
    people.add(number=config.vehicles)
    _put_all(people.table, people.vehicles, places)


@compiled
def _draw_row(
    rng: np.random.Generator,
    lanes: int,
    ego_spacing: float,
    spacing: float,
    thinning: float,
    places: npt.NDArray[np.float64],
) -> None:
    """Draw rows of lane, coordinate [m], speed [m/s] and IDM exponent; row 0 is the ego vehicle."""
    low, high = 0.7 * 30, 0.8 * 30  # [m/s], shares of the speed limit
    farthest = 0.0
    for k in range(places.shape[0]):
        places[k, 0] = rng.integers(0, lanes)
        speed, room = HIGHWAY_EGO_SPEED, ego_spacing
        if k > 0:
            speed, room = rng.uniform(low, high), spacing
        offset = room * (12 + 1.0 * speed) * thinning
        farthest = farthest if k > 0 else 3 * offset
        farthest += offset * rng.uniform(0.9, 1.1)
        places[k, 1], places[k, 2] = farthest, speed
        places[k, 3] = rng.uniform(DELTA_RANGE[0], DELTA_RANGE[1]) if k > 0 else 4.0


@compiled
def _put_all(table: RoadTable, vehicles: Records, places: npt.NDArray[np.float64]) -> None:
    """Place vehicles by rows of lane, coordinate [m], speed [m/s] and IDM exponent."""
    for i in range(places.shape[0]):
        put_on_lane(table, vehicles, i, int(places[i, 0]), places[i, 1], places[i, 2])
        vehicles[i].delta = places[i, 3]


def spawn_merge(config: TrafficConfig, people: Population, rng: np.random.Generator) -> None:
    """The ego vehicle, others on the highway, and some coming up the ramp (``merge-v1``)."""
    highway = people.numbers.lane(("a", "b", 0))
    people.put(people.add(ego_kind(config)), highway + 1, MERGE_EGO_START, 30.0)
    on_ramp = min(1 + max(config.vehicles - 1, 0) // 5, config.vehicles)
    ahead = [(115.0 + 25.0 * k, 29.0) for k in range(12)]
    slots = [(90.0, 29.0), (70.0, 31.0), (5.0, 31.5), *ahead]  # (x [m], speed [m/s])
    for x, speed in slots[: config.vehicles - on_ramp]:
        lane_id = int(rng.integers(2))
        x = MERGE_EGO_START + (x - MERGE_EGO_START) / config.density
        x += rng.uniform(-5.0, 5.0)
        speed += rng.uniform(-1.0, 1.0)
        others = people.vehicles[: people.count]
        for lane in (highway + lane_id, highway + 1 - lane_id):
            same_lane = np.abs(others["y"] - people.table.lanes[lane]["start_y"]) < 1
            if (np.abs(others["x"][same_lane] - x) >= 8.0).all():
                people.put(people.add(), lane, x, speed)
                break
    for k in range(on_ramp):
        row = people.add()
        people.put(row, people.numbers.lane(("j", "k", 0)), 110.0 - 30.0 * k, 20.0)
        people.vehicles[row]["target_speed"] = 30.0
    for obstacle in _obstacles(config.scenario):
        people.copy_object(obstacle)


@cache
def _obstacles(scenario: str) -> list[Obstacle]:
    """What stands on the road itself: the end of the ramp."""
    config = TrafficConfig(scenario, vehicles=0)
    stage = stage_class(config)(config, Vehicle, np.random.default_rng(0))
    stage.build_road()
    return list(stage.road.objects)


def spawn_roundabout(config: TrafficConfig, people: Population, rng: np.random.Generator) -> None:
    """The ego vehicle, the four others of ``roundabout-v1``, and more wherever there is room."""
    ego = people.add(ego_kind(config))
    people.put(ego, people.numbers.lane(("ser", "ses", 0)), 125.0, 8.0)
    people.plan_route(ego, "nxr")
    starts = [("we", "sx", 1, 5.0), ("we", "sx", 0, 20.0), ("we", "sx", 0, -20.0)]
    for origin, target, lane_id, along in [*starts, ("eer", "ees", 0, 50.0)]:
        lane = people.numbers.lane((origin, target, lane_id))
        along += rng.normal() * 2.0
        _enter_roundabout(people, rng, lane, along, 16 + rng.normal() * 2.0, ["exr", "sxr", "nxr"])
    people.world["vehicles"] = 1 + min(config.vehicles, 4)
    edges = ROUNDABOUT_CIRCLE + ROUNDABOUT_ENTRIES
    room = max(15.0 / config.density, 8.0)  # [m]
    for _ in range(config.vehicles - 4):
        for _ in range(10):
            origin, target = edges[rng.integers(len(edges))]
            road = people.table.roads[people.numbers.road[origin, target]]
            lane = int(road["first_lane"] + rng.integers(road["lanes"]))
            along = rng.uniform(0.0, people.table.lanes[lane]["length"])
            x, y = position_at(people.table.lanes, lane, along, 0.0)
            if (_gaps_from(people, x, y) < room).any():
                continue
            speed = 14.0 + 2.0 * rng.normal()
            _enter_roundabout(people, rng, lane, along, speed, ["exr", "sxr", "nxr", "wxr"])
            break


def _enter_roundabout(
    people: Population,
    rng: np.random.Generator,
    lane: int,
    along: float,
    speed: float,
    destinations: list[str],
) -> None:
    row = people.add()
    people.put(row, lane, along, speed)
    people.plan_route(row, destinations[rng.integers(len(destinations))])
    people.vehicles[row]["delta"] = rng.uniform(*DELTA_RANGE)


def spawn_intersection(config: TrafficConfig, people: Population, rng: np.random.Generator) -> None:
    """Random vehicles, some seconds of driving, a challenger, and the ego vehicle."""
    crossing = people.crossing
    wanted = config.vehicles
    enter(people, crossing, rng, 0.6, np.linspace(0, 80, wanted)[:-1])
    people.advance(NO_ACTION, np.array(config.target_speeds), WARM_UP * config.simulation_frequency)
    enter(people, crossing, rng, 1.0, np.array([60.0]), challenger=True)
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


def _gaps(people: Population, row: int) -> npt.NDArray[np.float64]:
    """Distances [m] of all vehicles' centres from that of one."""
    return _gaps_from(people, people.vehicles[row]["x"], people.vehicles[row]["y"])


def _gaps_from(people: Population, x: float, y: float) -> npt.NDArray[np.float64]:
    """Distances [m] of all vehicles' centres from a point."""
    vehicles = people.vehicles[: people.count]
    dx, dy = vehicles["x"] - x, vehicles["y"] - y
    return np.sqrt(dx * dx + dy * dy)
