"""The vehicles as a set: a slow reference, the checkers, and the same in vector environments."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import SyncVectorEnv
from stable_baselines3.common.env_checker import check_env as sb3_check_env
from stable_baselines3.common.vec_env import DummyVecEnv
from vector_comparison import assert_same
from vehicle_set_reference import vehicle_set_by_numpy

from vlsafe_envs import ENV_IDS, TASK_IDS, vehicles_seen
from vlsafe_envs.drivers import make_driver
from vlsafe_envs.observations import EGO_FEATURES, PARTS
from vlsafe_envs.registry import METADRIVE_IDS
from vlsafe_envs.sb3 import make_vec_env
from vlsafe_envs.vehicle_set import VEHICLE_SET_FEATURES, plan_contact, vehicle_set

FAST_IDS = (*ENV_IDS, *TASK_IDS)
INDEX = {name: k for k, name in enumerate(VEHICLE_SET_FEATURES)}


def make(env_id: str, **options: Any) -> gym.Env[Any, Any]:
    if env_id in METADRIVE_IDS:
        pytest.importorskip("metadrive", reason="MetaDrive is not installed")
    return gym.make(env_id, **{"scorer": None, "observation": "vehicles", **options})


def check_reference(env: gym.Env[Any, Any], steps: int) -> None:
    """Drive, and compare each set with the slow one."""
    bare: Any = env.unwrapped
    observation, _ = env.reset(seed=3)
    driver = make_driver("expert", env, np.random.default_rng(0))
    driver.reset()
    seen = 0
    for _ in range(steps):
        expected = vehicle_set_by_numpy(bare.scene, bare.ego, bare.scenario.cruise_speed)
        np.testing.assert_allclose(observation["vehicles"], expected, atol=2e-3)
        assert env.observation_space.contains(observation)
        seen = max(seen, int(expected[:, 0].sum()))
        observation, _, terminated, truncated, _ = env.step(driver.act())
        if terminated or truncated:
            break
    assert seen >= 2


def test_the_first_second_in_which_somebody_comes_near_the_plan() -> None:
    vehicles = np.zeros((16, 14), np.float32)
    assert plan_contact(vehicles, 6.0) == np.inf  # empty rows are 0, and nobody
    vehicles[0] = [1, 30, 0, 0, 0, 1, 0, 5, 2, 30, 20, 10, 5.5, 1]
    assert plan_contact(vehicles, 6.0) == 3
    assert plan_contact(vehicles, 1.0) == np.inf
    vehicles[1] = [1, 30, 0, 0, 0, 1, 0, 5, 2, 8, 5.9, 40, 40, 40]
    assert plan_contact(vehicles, 6.0) == 1


@pytest.mark.parametrize("env_id", FAST_IDS)
def test_sets_equal_the_slow_reference(env_id: str) -> None:
    check_reference(make(env_id, density=1.5), 40)


@pytest.mark.parametrize("env_id", ["VLSafe-Highway-v0", "VLSafe-Intersection-v0"])
def test_sets_of_highway_envs_own_objects_equal_the_slow_reference(env_id: str) -> None:
    check_reference(make(env_id, engine="highway_env", vehicles=8), 4)


@pytest.mark.parametrize("env_id", METADRIVE_IDS)
def test_sets_on_metadrive_equal_the_slow_reference(env_id: str) -> None:
    env = make(env_id, density=2.0)
    try:
        check_reference(env, 60)
    finally:
        env.close()


@pytest.mark.parametrize("engine", ["compiled", "highway_env"])
def test_both_engines_show_the_same_sets(engine: str) -> None:
    options = {"vehicles": 6, "observation": "all"}
    ours, other = (make("VLSafe-Roundabout-v0", engine=e, **options) for e in ("compiled", engine))
    seen, expected = ours.reset(seed=5)[0], other.reset(seed=5)[0]
    for _ in range(4):
        for name in set(PARTS["all"]) - {"image"}:  # a pixel's edge may fall otherwise
            np.testing.assert_allclose(seen[name], expected[name], atol=1e-4)
        seen, expected = ours.step(1)[0], other.step(1)[0]


def test_the_ego_part_is_how_the_vector_begins() -> None:
    for env_id in FAST_IDS:
        observation, _ = make(env_id, observation="all").reset(seed=1)
        assert observation["ego"].shape == (len(EGO_FEATURES),)
        assert np.array_equal(observation["ego"], observation["vector"][: len(EGO_FEATURES)])


def test_rows_without_a_vehicle_are_zero_and_the_nearest_come_first() -> None:
    observation, _ = make("VLSafe-Highway-v0", vehicles=3).reset(seed=0)
    rows = observation["vehicles"]
    assert rows[:, INDEX["present"]].tolist() == [1.0] * 3 + [0.0] * 13
    assert not rows[3:].any()
    assert (np.diff(np.hypot(rows[:3, 1], rows[:3, 2])) >= 0).all()
    nobody, _ = make("VLSafe-Highway-v0", vehicles=0).reset(seed=0)
    assert not nobody["vehicles"].any()


def test_a_car_that_will_be_met_on_the_way_has_a_small_distance_to_the_plan() -> None:
    """Without a route 2 m/s2 leads 4 m ahead in 2 s; a car from the side is there then."""
    env: Any = make("VLSafe-LeftTurn-v0", traffic="none", action="continuous").unwrapped
    env.reset(seed=0)
    lane = env.ego._replace(lane_heading_error=0.0)
    scene = env.scene
    ahead = np.array([np.cos(scene.heading[0]), np.sin(scene.heading[0])])
    side = np.array([-ahead[1], ahead[0]])
    met, missed = (scene.position[0] + 3.61 * ahead + far * side for far in (19.0, 60.0))
    crossing = type(scene)(
        position=np.array([scene.position[0], met, missed]),
        heading=np.array([scene.heading[0], *[scene.heading[0] - np.pi / 2] * 2]),
        speed=np.array([0.0, 10.0, 10.0]),
        length=np.full(3, 5.0),
        width=np.full(3, 2.0),
    )
    rows = vehicle_set(crossing, lane, 8.0)
    distances = rows[:2, INDEX["plan_distance_1s"] :]
    assert distances[0, 1] < 0.1
    assert distances[0].argmin() == 1
    assert distances[1].min() > 15.0


@pytest.mark.parametrize("env_id", FAST_IDS)
@pytest.mark.parametrize("observation", ["vehicles", "all"])
def test_checkers_pass_and_sb3_only_recommends_a_policy_for_sets(
    env_id: str, observation: str
) -> None:
    env = make(env_id, observation=observation, render_mode="rgb_array", duration=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped, skip_render_check=True)
        warnings.filterwarnings("ignore", message="Your observation vehicles has an unconv")
        sb3_check_env(env.unwrapped)


@pytest.mark.parametrize("env_id", ENV_IDS)
@pytest.mark.parametrize("observation", ["vehicles", "all"])
def test_vector_environments_show_the_same_to_the_last_bit(env_id: str, observation: str) -> None:
    options = {"scorer": None, "observation": observation, "duration": 4, "density": 1.5}
    one = functools.partial(gym.make, env_id, disable_env_checker=True, **options)
    reference, ours = SyncVectorEnv([one] * 3), gym.make_vec(env_id, num_envs=3, **options)
    assert ours.observation_space == reference.observation_space
    assert_same(ours.reset(seed=3), reference.reset(seed=3), "reset")
    reference.action_space.seed(3)
    for t in range(12):
        actions = reference.action_space.sample()
        assert_same(ours.step(actions), reference.step(actions), f"step {t}")


@pytest.mark.parametrize("env_id", FAST_IDS)
def test_sb3s_vector_environments_show_the_same_to_the_last_bit(env_id: str) -> None:
    options = {"scorer": None, "observation": "vehicles", "duration": 4}
    ours: Any = make_vec_env(env_id, 2, seed=11, env_kwargs=options)
    one = functools.partial(gym.make, env_id, disable_env_checker=True, **options)
    reference = DummyVecEnv([one] * 2)
    reference.seed(11)
    assert_same(ours.reset(), dict(reference.reset()))
    space = gym.vector.utils.batch_space(reference.action_space, 2)
    space.seed(0)
    for t in range(8):
        actions = space.sample()
        assert_same(ours.step(actions)[0], dict(reference.step(actions)[0]), f"step {t}")


@pytest.mark.parametrize("env_id", METADRIVE_IDS)
def test_metadrive_makes_no_lidar_for_sets(env_id: str) -> None:
    env: Any = make(env_id)
    try:
        observation, _ = env.reset(seed=0)
        assert set(observation) == {"ego", "vehicles"}
        assert np.size(env.unwrapped.simulator.outcome.observation) < 200
    finally:
        env.close()


@pytest.mark.parametrize("observation", ["image", "vector"])
def test_sets_can_be_seen_beside_any_observation(observation: str) -> None:
    shown: Any = make("VLSafe-Highway-v0")
    other: Any = make("VLSafe-Highway-v0", observation=observation)
    seen, own = shown.reset(seed=3)[0], other.reset(seed=3)[0]
    assert_same(vehicles_seen(other), seen)
    assert_same(other.unwrapped.observe(), own)
    with pytest.raises(ValueError, match="kind='smell'"):
        other.unwrapped.observe("smell")
    with pytest.raises(ValueError, match="sets of vehicles need one of the VLSafe environments"):
        vehicles_seen(gym.make("CartPole-v1"))
