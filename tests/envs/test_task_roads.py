"""The tasks' own roads: routes, flows and lanes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vlsafe_envs.engine.gaps import time_to_collision
from vlsafe_envs.render import palette
from vlsafe_envs.render.texture import road_texture
from vlsafe_envs.simulator import ROUTE_STEP
from vlsafe_envs.tasks.four_lane import (
    CHANGE,
    CLEAR,
    KEEP,
    LANE_WIDTH,
    LANES,
    ROUTE_LENGTH,
    TRAFFIC_SPEED,
    random_route,
)
from vlsafe_envs.tasks.junction import (
    CORNER,
    FLOW_ACCELERATION,
    FLOW_SPEED,
    FORK_SEEN,
    GAPS,
    JUNCTION_SHAPE,
    MOVES,
    SHORTEST_HEADWAY,
    headway_of_gap,
    movement,
    on_junction,
)
from vlsafe_envs.tasks.motion import COMFORT_ACCELERATION, JAM_GAP, TIME_GAP, idm
from vlsafe_envs.tasks.path_world import PathWorld, make_world
from vlsafe_envs.tasks.traffic import PathTraffic

STAND = np.zeros(2)


def flow_headways(traffic: str, density: float, seconds: float) -> list[float]:
    """Seconds between the cars of a flow that pass a line 40 m before the crossing."""
    world = make_world(PathTraffic("left_turn", traffic=traffic, density=density))
    world.reset(np.random.default_rng(3))
    crossed, before = [], world.scene
    for step in range(round(10 * seconds)):
        world.step(STAND)
        now = world.scene
        approaching = now.position[1:][np.abs(now.position[1:, 1] - 2.0) < 0.1]
        for x in approaching[:, 0]:
            if -40.0 <= x < -40.0 + FLOW_SPEED / 10:
                crossed.append(step / 10 - (x + 40.0) / FLOW_SPEED)
        before = now
    assert before is not None
    return list(np.diff(crossed))


@pytest.mark.parametrize("traffic", ["medium", "hard"])
@pytest.mark.parametrize("density", [1.0, 1.5])
def test_cars_of_a_flow_are_as_far_apart_as_the_gaps_say(traffic: str, density: float) -> None:
    gaps = GAPS[traffic]
    assert gaps is not None
    headways = np.array(flow_headways(traffic, density, 120.0))
    low, high = (max(headway_of_gap(gap) / density, SHORTEST_HEADWAY) for gap in gaps)
    assert len(headways) > 120.0 / high - 2
    assert low - 1e-6 <= headways.min() < low + 0.3 * (high - low)
    assert high - 0.3 * (high - low) < headways.max() <= high + 1e-6


def test_headway_of_a_gap_is_that_of_a_car_starting_from_rest() -> None:
    for gap in (6.0, 8.0, 16.0):
        position = speed = time = 0.0
        while position < gap:
            speed = min(speed + FLOW_ACCELERATION * 1e-4, FLOW_SPEED)
            position += speed * 1e-4
            time += 1e-4
        assert headway_of_gap(gap) == pytest.approx(time, abs=2e-3)


def test_cars_of_a_flow_never_come_closer_than_the_shortest_headway() -> None:
    assert min(flow_headways("hard", 5.0, 30.0)) >= SHORTEST_HEADWAY - 1e-6


def test_a_third_of_the_flow_takes_each_way() -> None:
    world = make_world(PathTraffic("left_turn", traffic="hard"))
    ways = []
    for seed in range(60):
        world.reset(np.random.default_rng(seed))
        known = world.hypotheses()
        ways.append(known.path[known.station > 110.0])  # all behind their forks
    shares = np.bincount(np.concatenate(ways), minlength=3) / len(np.concatenate(ways))
    assert shares == pytest.approx([1 / 3] * 3, abs=0.1)


def test_no_traffic_means_no_cars() -> None:
    world = make_world(PathTraffic("right_turn", traffic="none"))
    world.reset(np.random.default_rng(0))
    for _ in range(5):
        world.step(STAND)
    assert len(world.scene.position) == 1


def test_a_cars_way_is_not_known_before_it_is_taken() -> None:
    world = make_world(PathTraffic("left_turn", traffic="hard"))
    world.reset(np.random.default_rng(1))
    forks = world.table.fork
    left, straight, right = (MOVES.index(move) for move in ("left", "straight", "right"))
    assert forks[left, straight] == pytest.approx(90.0, abs=0.5)
    assert forks[right, straight] == forks[right, left] == pytest.approx(81.0, abs=0.5)
    known = world.hypotheses()
    for station in np.unique(known.station):
        ways = set(known.path[known.station == station].tolist())
        if station < 81.0:
            assert ways == {0, 1, 2}
        elif station > 90.5 + FORK_SEEN:
            assert len(ways) == 1


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("heading", [0.0, math.pi / 2, math.pi, -math.pi / 2])
def test_all_ways_over_the_crossing_lie_on_the_road(move: str, heading: float) -> None:
    way = movement(heading, move)
    assert all(on_junction(x, y) for x, y in way)
    steps = np.diff(way, axis=0)
    bends = np.diff(np.unwrap(np.arctan2(steps[:, 1], steps[:, 0])))
    turn = {"left": -math.pi / 2, "straight": 0.0, "right": math.pi / 2}[move]
    assert bends.sum() == pytest.approx(turn, abs=0.03)  # y points down: right turns are positive
    assert np.abs(bends).max() < 0.05


def test_off_the_crossing_is_off_the_road() -> None:
    for x, y in ((25.0, 25.0), (14.0, 14.0), (5.0, -40.0), (0.0, 150.0)):
        assert not on_junction(x, y)
        assert not on_junction(-x, y)
    assert on_junction(4.5, 40.0, margin=1.0)
    assert not on_junction(5.5, 40.0, margin=1.0)


def test_the_crossing_is_drawn_without_gaps() -> None:
    texture = road_texture(JUNCTION_SHAPE, 0.5)
    rows, columns = np.indices(texture.texels.shape[:2])
    x = texture.origin[0] + columns * texture.texel[0]
    y = texture.origin[1] + rows * texture.texel[1]
    inner = CORNER - 1.0  # where no lane mark reaches in
    crossing = (np.abs(x) < inner) & (np.abs(y) < inner)
    crossing &= np.hypot(CORNER - np.abs(x), CORNER - np.abs(y)) > CORNER - LANE_WIDTH + 1.0
    assert (texture.texels[crossing][:, :3] == palette.ROAD).all()
    assert all(on_junction(*at) for at in zip(x[crossing], y[crossing], strict=True))


@pytest.mark.parametrize("seed", range(30))
def test_four_lane_routes_change_lanes_as_the_platform_does(seed: int) -> None:
    corners = random_route(np.random.default_rng(seed))
    lane = corners[:, 1] / LANE_WIDTH
    assert np.array_equal(lane, np.round(lane))
    assert lane.min() >= 0
    assert lane.max() <= LANES - 1
    steps = np.diff(corners, axis=0)
    kept, changed = steps[0::2], steps[1::2]
    assert np.all(kept[:, 1] == 0)
    assert np.all((kept[:-1, 0] >= KEEP[0]) & (kept[:-1, 0] <= KEEP[1]))
    assert 0.0 < kept[-1, 0] <= KEEP[1] + CHANGE
    assert np.allclose(changed[:, 0], CHANGE)
    assert np.all(np.abs(changed[:, 1]) <= LANE_WIDTH)
    assert corners[-1, 0] == ROUTE_LENGTH


def test_every_lane_is_a_start_and_routes_differ() -> None:
    starts = {random_route(np.random.default_rng(seed))[0, 1] for seed in range(40)}
    assert starts == {k * LANE_WIDTH for k in range(LANES)}


@pytest.mark.parametrize("scenario", ["four_lane", "left_turn", "right_turn"])
def test_waypoints_are_a_step_apart_and_the_ego_starts_on_the_first(scenario: str) -> None:
    world = make_world(PathTraffic(scenario))
    world.reset(np.random.default_rng(5))
    lengths = np.hypot(*np.diff(world.waypoints, axis=0).T)
    assert lengths.max() <= ROUTE_STEP + 1e-9
    assert np.median(lengths) == pytest.approx(ROUTE_STEP, abs=1e-3)
    assert world.scene.position[0] == pytest.approx(world.waypoints[0])
    ahead = world.scene.route - world.scene.position[0]
    assert np.hypot(*ahead[0]) == pytest.approx(4.0, abs=0.5)
    assert np.hypot(*np.diff(world.scene.route, axis=0).T) == pytest.approx(4.0, abs=0.15)
    left = len(world.waypoints) * ROUTE_STEP  # [m]
    assert min(16, left / 4.0 - 1.0) <= len(world.scene.route) <= 16


def touches(world: PathWorld) -> list[tuple[int, int]]:
    """Pairs of vehicles that overlap."""
    columns = world.scene.columns
    pairs = []
    for i in range(columns.shape[1]):
        for j in range(i + 1, columns.shape[1]):
            pair = np.ascontiguousarray(columns[:, [i, j]])
            if time_to_collision(pair, 2, 0.0) == 0.0:
                pairs.append((i, j))
    return pairs


@pytest.mark.parametrize("density", [0.5, 1.0, 3.0])
def test_four_lane_traffic_starts_apart_and_stops_behind_a_standing_ego(density: float) -> None:
    world = make_world(PathTraffic("four_lane", density=density))
    for seed in range(3):
        world.reset(np.random.default_rng(seed))
        ahead = world.scene.position[1:] - world.scene.position[0]
        own = ahead[np.abs(ahead[:, 1]) < 1.0, 0]
        assert not ((own > CLEAR[0]) & (own < CLEAR[1])).any()
        assert len(world.scene.position) <= round(50 * density) + 1
        assert not touches(world)
        for _ in range(150):
            world.step(STAND)
        assert not world.ego.crashed
        assert not touches(world)


def test_four_lane_traffic_keeps_its_lanes_and_speed() -> None:
    world = make_world(PathTraffic("four_lane", vehicles=12))
    world.reset(np.random.default_rng(2))
    before = world.scene
    for _ in range(100):
        world.step(STAND)
    now = world.scene
    assert len(now.position) == len(before.position)
    assert np.allclose(now.position[1:, 1], before.position[1:, 1])
    assert np.median(now.speed[1:]) == pytest.approx(TRAFFIC_SPEED, rel=0.15)


def test_idm_holds_its_speed_at_the_closed_forms_gap() -> None:
    wanted, speed = 10.0, 8.0
    gap = (JAM_GAP + TIME_GAP * speed) / math.sqrt(1.0 - (speed / wanted) ** 4)
    assert idm(speed, wanted, gap, speed) == pytest.approx(0.0, abs=1e-9)
    assert idm(0.0, wanted, math.inf, 0.0) == pytest.approx(COMFORT_ACCELERATION)
