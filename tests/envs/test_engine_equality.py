"""The compiled engine and highway-env make the same traffic from the same seed and actions."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import numpy as np
import pytest
from engine_comparison import Comparison, compare, random_config
from highway_env.road.lane import PolyLaneFixedWidth
from highway_env.road.road import RoadNetwork

from vlsafe_envs.engine import CompiledTraffic, supports
from vlsafe_envs.engine.network import road_table
from vlsafe_envs.options import make_scenario
from vlsafe_envs.scenarios import SCENARIO_NAMES, TrafficConfig

TOLERANCE = 1e-6  # [m], [rad], [m/s]: a few last bits, grown over an episode
LANE_LEFT, IDLE, LANE_RIGHT, FASTER, SLOWER = range(5)


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    """highway-env logs a warning at every step of a vehicle that has left its route."""
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


def assert_same(result: Comparison) -> None:
    assert not result.mismatch, result.mismatch
    assert result.difference <= TOLERANCE, f"{result.difference} in {result.worst}"


@pytest.mark.parametrize("scenario", SCENARIO_NAMES)
def test_initial_traffic_is_that_of_highway_env(scenario: str) -> None:
    for seed in range(2 if scenario == "intersection" else 6):
        config = random_config(np.random.default_rng([seed, 1]), scenario=scenario)
        assert_same(compare(config, seed, decisions=0))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("scenario", SCENARIO_NAMES)
def test_trajectories_are_those_of_highway_env(scenario: str, seed: int) -> None:
    """Random vehicles, densities, lanes, speeds, kinds of action, decision rates and actions."""
    rng = np.random.default_rng([seed, 2])
    config = random_config(rng, scenario=scenario, vehicles=int(rng.integers(3, 11)))
    result = compare(config, seed, decisions=4 * config.policy_frequency, advice=True)
    assert result.steps > 0
    assert_same(result)


@pytest.mark.parametrize("action", ["meta", "grid", "continuous"])
def test_crashes_and_what_follows_them_are_the_same(action: str) -> None:
    actions = [FASTER] if action == "meta" else [np.array([5.0, 0.0])]
    config = TrafficConfig(
        "highway", vehicles=5, lanes=1, density=3.0, initial_speed=38.0, action=action
    )
    result = compare(config, seed=3, decisions=6, actions=actions)
    assert result.ego_crashed
    assert len(result.crashed) > 1, "two vehicles take part in a crash"
    assert_same(result)


def test_crash_into_the_end_of_the_ramp_is_the_same() -> None:
    """Obstacles stay where they are: only the vehicle is pushed."""
    config = TrafficConfig("merge", vehicles=0, action="continuous", initial_speed=30.0)
    sideways = [np.array([0.0, 0.0222]), np.array([0.0, -0.0222])]
    result = compare(config, seed=0, decisions=11, actions=sideways + [np.zeros(2)] * 9)
    assert result.ego_crashed
    assert_same(result)


def test_leaving_the_road_is_the_same() -> None:
    config = TrafficConfig("highway", vehicles=4, action="continuous", policy_frequency=5)
    result = compare(config, seed=0, decisions=12, actions=[np.array([1.0, 0.1])])
    assert result.off_road
    assert_same(result)


def test_lane_changes_in_dense_traffic_are_the_same() -> None:
    config = TrafficConfig("highway", vehicles=16, lanes=3, density=3.0)
    result = compare(config, seed=5, decisions=6, actions=[LANE_LEFT, LANE_RIGHT, SLOWER])
    assert result.lane_changes >= 3
    assert_same(result)


def test_yielding_and_entering_at_the_intersection_are_the_same() -> None:
    config = TrafficConfig("intersection", vehicles=10, density=1.6, policy_frequency=3)
    result = compare(config, seed=1, decisions=15, actions=[SLOWER, IDLE])
    assert result.yielding > 0
    assert_same(result)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
def test_whole_episodes_are_those_of_highway_env(seed: int) -> None:
    rng = np.random.default_rng([seed, 3])
    config = random_config(rng, scenario=SCENARIO_NAMES[seed % 4])
    assert_same(compare(config, seed, decisions=15 * config.policy_frequency, advice=True))


def _positions(traffic: CompiledTraffic, seed: int, decisions: int = 5) -> np.ndarray:
    traffic.reset(np.random.default_rng(seed))
    for k in range(decisions):
        traffic.step(k % 5)
    return traffic.scene.position


@pytest.mark.parametrize("scenario", SCENARIO_NAMES)
def test_nothing_survives_a_reset(scenario: str) -> None:
    config = make_scenario(scenario).traffic
    used, fresh = CompiledTraffic(config), CompiledTraffic(config)
    for seed in (4, 9, 2):
        _positions(used, seed, decisions=12)
    np.testing.assert_array_equal(_positions(used, 7), _positions(fresh, 7))


def test_advice_leaves_no_trace_on_the_road() -> None:
    asked, left_alone = (CompiledTraffic(make_scenario("roundabout").traffic) for _ in range(2))
    for traffic in (asked, left_alone):
        traffic.reset(np.random.default_rng(0))
    for _ in range(8):
        asked.idm(10.0)
        asked.step(IDLE)
        left_alone.step(IDLE)
    np.testing.assert_array_equal(asked.vehicles, left_alone.vehicles)


def test_a_scene_is_a_snapshot() -> None:
    traffic = CompiledTraffic(make_scenario("highway").traffic)
    traffic.reset(np.random.default_rng(0))
    scene = traffic.scene
    before = scene.position.copy()
    traffic.step(IDLE)
    np.testing.assert_array_equal(scene.position, before)


def test_stepping_before_reset_says_so() -> None:
    with pytest.raises(RuntimeError, match="reset the traffic"):
        CompiledTraffic(TrafficConfig()).step(IDLE)


def test_unknown_lanes_are_refused_with_a_remedy() -> None:
    network = RoadNetwork()
    network.add_lane("a", "b", PolyLaneFixedWidth([(0, 0), (10, 1), (20, 0)]))
    with pytest.raises(NotImplementedError, match=r"PolyLaneFixedWidth.*engine='highway_env'"):
        road_table(network)


def test_only_plain_configurations_are_supported() -> None:
    @dataclasses.dataclass(frozen=True)
    class Custom(TrafficConfig):
        pass

    assert all(supports(make_scenario(name).traffic) for name in SCENARIO_NAMES)
    assert not supports(Custom())
    with pytest.raises(NotImplementedError, match="Custom"):
        CompiledTraffic(Custom())
