"""highway-env's own environments: what is sensed of them, branches and macro-actions."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import highway_env  # noqa: F401  (registers its environments)
import numpy as np
import pytest
from highway_env.vehicle.behavior import IDMVehicle
from numpy.testing import assert_array_equal

from vlsafe_envs.foreign import SENSED_SPACE, EventCost, Sensed, branches, macro_names, make_macro
from vlsafe_envs.foreign import sense as sense_of
from vlsafe_envs.simulators.highway_env.traffic import HighwayEnvTraffic

IDS = ("highway-fast-v0", "merge-v0", "intersection-v0", "racetrack-v0")
FEW = {"highway-fast-v0": {"vehicles_count": 5}, "intersection-v0": {"initial_vehicle_count": 3}}
STEERING = {"type": "DiscreteAction", "longitudinal": False, "actions_per_axis": 5}


@pytest.fixture(autouse=True)
def own_constants_of_drivers() -> Iterator[None]:
    """highway-env's intersection writes its own into the class of all drivers."""
    kept = {name: value for name, value in vars(IDMVehicle).items() if name.isupper()}
    yield
    for name, value in kept.items():
        setattr(IDMVehicle, name, value)


def made(env_id: str, seed: int = 3, **config: Any) -> gym.Env[Any, Any]:
    config = FEW.get(env_id, {}) | config
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # there are newer versions
        env = Sensed(gym.make(env_id, config=config, disable_env_checker=True))
    env.reset(seed=seed)
    env.action_space.seed(seed)
    return env


def driven(env: gym.Env[Any, Any], actions: list[Any]) -> list[Any]:
    """All that is seen on the way, the environment's own observation included."""
    seen: list[Any] = []
    for action in actions:
        observation, *rest, info = env.step(action)
        ego = env.unwrapped.vehicle
        own = env.unwrapped.observation_type.observe()
        seen.append(
            (*observation.values(), own, ego.position.copy(), ego.speed, rest, info["cost"])
        )
        if rest[-1] or rest[-2]:
            break
    return seen


@pytest.mark.parametrize("env_id", IDS)
def test_branches_repeat_and_leave_the_environment_where_it_was(env_id: str) -> None:
    env, undisturbed = made(env_id), made(env_id)
    actions = [env.action_space.sample() for _ in range(5)]
    driven(env, actions[:2])
    driven(undisturbed, actions[:2])
    other = [env.action_space.sample() for _ in range(3)]
    first, _, again = branches(env, (actions[2:], other, actions[2:]), driven)
    np.testing.assert_equal(first, again)
    np.testing.assert_equal(driven(undisturbed, actions[2:]), first)
    np.testing.assert_equal(driven(env, actions[2:]), first)


def test_branches_share_the_road_and_nothing_else() -> None:
    env = made("intersection-v0")

    def read(copy: Any, plan: None) -> Any:
        return copy.unwrapped

    (copy,) = branches(env, [None], read)
    road, other = env.unwrapped.road, copy.road
    assert other.network is road.network
    assert other.vehicles[0] is not road.vehicles[0]
    assert other.vehicles[0].lane is road.vehicles[0].lane
    assert other.np_random is copy.np_random is not env.unwrapped.np_random
    assert copy.vehicle in other.vehicles


@pytest.mark.parametrize("env_id", IDS)
def test_what_is_sensed_is_in_our_space(env_id: str) -> None:
    env = made(env_id)
    for _ in range(4):
        observation, *_ = env.step(env.action_space.sample())
        assert SENSED_SPACE.contains(observation)
        assert observation["vehicles"][:, 0].any()


@pytest.mark.parametrize(
    ("ours", "theirs_id"),
    [
        ("VLSafe-Intersection-v0", "intersection-v0"),
        ("VLSafe-Highway-v0", "highway-fast-v0"),
        ("VLSafe-Merge-v0", "merge-v0"),
    ],
)
def test_what_is_sensed_is_what_our_simulator_shows(ours: str, theirs_id: str) -> None:
    """The same objects, read by the simulator that drives highway-env's own."""
    options = {"engine": "highway_env", "observation": "vehicles", "vehicles": 5}
    env = gym.make(ours, scorer=None, disable_env_checker=True, **options)
    shown, _ = env.reset(seed=5)
    simulator = env.unwrapped.simulator
    assert isinstance(simulator, HighwayEnvTraffic)
    theirs = made(theirs_id).unwrapped
    theirs.road, theirs.vehicle = simulator._road, simulator._ego
    theirs.vehicle.target_speeds = np.array([env.unwrapped.scenario.cruise_speed])
    seen = sense_of(theirs)
    for name in ("ego", "vehicles"):
        assert_array_equal(seen[name], shown[name], name)


def test_the_way_ahead_is_the_route_or_the_road_that_does_not_fork() -> None:
    for env_id in ("intersection-v0", "racetrack-v0"):
        env = made(env_id)
        assert sense_of(env)["ego"][11] == 1.0, env_id
    env = made("merge-v0")
    ego, other = env.unwrapped.road.vehicles[:2]
    other.position, other.speed = np.add(ego.position, (40.0, 0.0)), 0.0
    nearest = sense_of(env)["vehicles"][:, 9:].min()
    assert nearest < 4.0  # ahead on the straight road: the plan comes by


def test_who_does_not_control_its_speed_plans_at_the_present_one() -> None:
    env = made("racetrack-v0", other_vehicles=1)
    ego, other = env.unwrapped.road.vehicles[:2]
    ego.position, ego.heading = np.array([50.0, 0.0]), 0.0
    ego.on_state_update()
    other.position, other.speed = np.array([80.0, 0.0]), 0.0
    ego.speed = 10.0
    assert sense_of(env)["vehicles"][0, 9:].min() < 1.0
    ego.speed = 0.0
    np.testing.assert_allclose(sense_of(env)["vehicles"][0, 9:], 30.0)


def test_macro_actions_of_meta_actions() -> None:
    rng = np.random.default_rng(0)
    highway, crossing = made("highway-fast-v0"), made("intersection-v0")
    assert macro_names(highway) == macro_names(crossing) == ("idle", "go", "hold")
    assert [make_macro(n, highway, rng).act() for n in ("idle", "go", "hold")] == [1, 3, 4]
    assert [make_macro(n, crossing, rng).act() for n in ("idle", "go", "hold")] == [1, 2, 0]


@pytest.mark.parametrize("config", [{}, {"action": STEERING}], ids=["continuous", "discrete"])
def test_steering_keeps_the_lane_and_goes_over_to_the_other(config: dict[str, Any]) -> None:
    env = made("racetrack-v0", other_vehicles=0, terminate_off_road=True, **config)
    rng = np.random.default_rng(0)
    for name in ("keep", "left", "right", "right"):
        before = env.unwrapped.vehicle.lane_index[2]
        macro = make_macro(name, env, rng)
        macro.reset()
        for _ in range(15):
            action = macro.act()
            assert env.action_space.contains(action)
            _, _, terminated, truncated, _ = env.step(action)
            assert not terminated, name
            assert not truncated, name
        wanted = {"keep": before, "left": 0, "right": 1}[name]
        assert env.unwrapped.vehicle.lane_index[2] == wanted
    _, lateral = env.unwrapped.vehicle.lane.local_coordinates(env.unwrapped.vehicle.position)
    assert abs(lateral) < 1.0


def test_a_crash_and_leaving_the_road_cost_1_and_nothing_else_does() -> None:
    env = made("racetrack-v0", other_vehicles=0)
    _, _, terminated, _, info = env.step(np.zeros(1, np.float32))
    assert (terminated, info["cost"]) == (False, 0.0)
    while not terminated:
        _, _, terminated, _, info = env.step(np.ones(1, np.float32))
    assert (info["cost"], info["collision"]) == (1.0, False)
    assert not env.unwrapped.vehicle.crashed
    env = made("merge-v0")
    ego, other = env.unwrapped.road.vehicles[:2]
    other.position, other.speed = np.add(ego.position, (12.0, 0.0)), 0.0
    *_, terminated, _, info = env.step(1)
    assert terminated
    assert (info["cost"], info["collision"]) == (1.0, True)
    env = made("merge-v0")
    env.unwrapped.road.vehicles[1:] = []
    env.unwrapped.vehicle.position = np.array([369.0, 0.0])
    *_, terminated, _, info = env.step(1)
    assert terminated
    assert info["cost"] == 0.0


def test_other_environments_and_actions_are_refused() -> None:
    with pytest.raises(ValueError, match="give one of highway-env's environments"):
        sense_of(gym.make("CartPole-v1"))
    with pytest.raises(ValueError, match="highway-env's"):
        EventCost(gym.make("CartPole-v1"))
    env = made("highway-fast-v0", action={"type": "DiscreteMetaAction", "longitudinal": False})
    with pytest.raises(ValueError, match="DiscreteMetaAction: macro-actions are of"):
        macro_names(env)
    with pytest.raises(ValueError, match="'fast': choose one of 'idle'"):
        make_macro("fast", made("highway-fast-v0"), np.random.default_rng(0))
