"""The tasks under their ids: checkers, seeds, options, drivers, and what is drawn."""

from __future__ import annotations

import itertools
import pickle
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from vlsafe_envs import TASK_IDS, SceneRenderer, known_ids
from vlsafe_envs.drivers import DRIVER_NAMES, make_driver
from vlsafe_envs.env import DrivingEnv
from vlsafe_envs.options import scenario_of
from vlsafe_envs.sb3 import make_vec_env
from vlsafe_envs.tasks import RouteTask, TaskCosts, TaskRules

OBSERVATIONS = ("image", "vector", "multi")
ACTIONS = ("grid", "continuous")
CASES = [
    ("VLSafe-FourLane-v0", {}),
    ("VLSafe-LeftTurn-v0", {"traffic": "hard"}),
    ("VLSafe-RightTurn-v0", {"traffic": "hard"}),
]


def make(env_id: str, **options: Any) -> gym.Env[Any, Any]:
    return gym.make(env_id, **{"scorer": None, "observation": "vector", **options})


@pytest.mark.parametrize(
    ("env_id", "observation", "action"), list(itertools.product(TASK_IDS, OBSERVATIONS, ACTIONS))
)
def test_checkers_pass_without_a_warning(env_id: str, observation: str, action: str) -> None:
    env = make(env_id, observation=observation, action=action, render_mode="rgb_array")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped, skip_render_check=True)
        sb3_check_env(env.unwrapped)


ROLLOUT = """
import hashlib
import gymnasium as gym
import numpy as np
import vlsafe_envs
from vlsafe_envs.drivers import make_driver

digest = hashlib.sha256()
for env_id in vlsafe_envs.TASK_IDS:
    env = gym.make(env_id, scorer=None, observation="multi", scene_in_info=True)
    observation, info = env.reset(seed=11)
    driver = make_driver("noisy", env, np.random.default_rng(3))
    for _ in range(120):
        digest.update(observation["image"].tobytes() + observation["vector"].tobytes())
        digest.update(info["scene"].tobytes())
        observation, reward, terminated, truncated, info = env.step(driver.act())
        digest.update(np.float64([reward, info["cost"], info["time_to_collision"]]).tobytes())
        if terminated or truncated:
            observation, info = env.reset()
            driver.reset()
print(digest.hexdigest())
"""


def test_two_fresh_processes_roll_out_alike() -> None:
    outputs = {
        subprocess.run(
            [sys.executable, "-c", ROLLOUT], capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    }
    assert len(outputs) == 1
    assert len(outputs.pop().strip()) == 64


@pytest.mark.parametrize(("env_id", "options"), CASES)
def test_seeds_differ_and_repeat(env_id: str, options: dict[str, Any]) -> None:
    env = make(env_id, observation="image", **options)
    rollouts = []
    for seed in (5, 5, 6):
        frames = [env.reset(seed=seed)[0]]
        frames += [env.step(12)[0] for _ in range(20)]
        rollouts.append(np.stack(frames))
    assert np.array_equal(rollouts[0], rollouts[1])
    assert not np.array_equal(rollouts[0], rollouts[2])


@pytest.mark.parametrize("env_id", TASK_IDS)
def test_info_has_the_same_picklable_keys_at_reset_and_every_step(env_id: str) -> None:
    env = make(env_id, scene_in_info=True)
    _, first = env.reset(seed=1)
    env.action_space.seed(0)
    for _ in range(30):
        *_, terminated, truncated, info = env.step(env.action_space.sample())
        assert {key: type(value) for key, value in info.items()} == {
            key: type(value) for key, value in first.items()
        }
        assert pickle.loads(pickle.dumps(info)).keys() == info.keys()
        if terminated or truncated:
            break
    wanted = {"cost", "env_cost", "cost_terms", "reward_terms", "speed", "distance", "collision"}
    wanted |= {"off_road", "arrived", "time_to_collision", "headway", "off_route"}
    assert wanted | {"out_of_lane", "waypoints_completed", "route_completion"} <= first.keys()


@pytest.mark.parametrize("env_id", TASK_IDS)
def test_ids_are_known_and_rebuilt_from_their_specs(env_id: str) -> None:
    assert env_id in known_ids()
    assert scenario_of(f"vlsafe_envs:{env_id}").decisions == 500
    env = make(env_id, duration=7, density=1.3)
    assert env.spec is not None
    again = gym.make(env.spec).unwrapped
    assert isinstance(again, DrivingEnv)
    assert again.scenario == env.unwrapped.scenario  # type: ignore[attr-defined]
    assert again.scenario.decisions == 70


@pytest.mark.parametrize(
    ("env_id", "options", "message"),
    [
        ("VLSafe-FourLane-v0", {"lanes": 3}, "unknown option 'lanes'=3"),
        (
            "VLSafe-FourLane-v0",
            {"traffic": "hard"},
            "only the left_turn and right_turn scenarios have it",
        ),
        ("VLSafe-LeftTurn-v0", {"vehicles": 5}, "only the four_lane scenario has it"),
        ("VLSafe-LeftTurn-v0", {"traffic": "simple"}, "traffic='simple': choose one of 'none'"),
        ("VLSafe-RightTurn-v0", {"action": "meta"}, "prescribes the lanes; use action='grid'"),
        ("VLSafe-RightTurn-v0", {"action": "wheel"}, "action='wheel': choose one of 'grid'"),
        ("VLSafe-FourLane-v0", {"density": 0.0}, "density=0.0: give a number"),
        ("VLSafe-FourLane-v0", {"density": 4.0}, "makes 200 vehicles: the road holds 176"),
        ("VLSafe-FourLane-v0", {"policy_frequency": 3}, "it must divide 20"),
        ("VLSafe-FourLane-v0", {"desired_speed": -1}, "desired_speed=-1"),
        ("VLSafe-FourLane-v0", {"costs": {"collision": 1}}, "give a TaskCosts"),
        ("VLSafe-LeftTurn-v0", {"collision_cost": -1}, "collision_cost=-1"),
        ("VLSafe-FourLane-v0", {"cost": "both"}, "cost='both'"),
        ("VLSafe-FourLane-v0", {"observation": "lidar"}, "observation='lidar'"),
    ],
)
def test_impossible_options_are_refused(env_id: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(env_id, **options)


def test_options_reach_their_places() -> None:
    env = make(
        "VLSafe-FourLane-v0",
        desired_speed=4.0,
        costs=TaskCosts(collision=10.0),
        rules=TaskRules(off_route=5.0),
        vehicles=20,
        density=0.5,
        initial_speed=6.0,
    ).unwrapped
    assert isinstance(env, DrivingEnv)
    assert isinstance(env.task, RouteTask)
    _, info = env.reset(seed=0)
    assert env.rewards.desired_speed == 4.0
    assert env.costs.collision == 10.0
    assert env.rules.off_route == 5.0
    assert len(env.scene.position) <= 11
    assert info["speed"] == 6.0


def test_one_number_weighs_a_crash_and_leaves_the_other_costs() -> None:
    env = make("VLSafe-LeftTurn-v0", collision_cost=10, costs=TaskCosts(out_of_lane=2.0)).unwrapped
    assert isinstance(env, DrivingEnv)
    assert isinstance(env.task, RouteTask)
    assert env.costs == TaskCosts(collision=10.0, out_of_lane=2.0)


def test_denser_traffic_is_denser() -> None:
    for env_id, options in CASES:
        counts = []
        for density in (0.5, 1.0, 2.0):
            env = make(env_id, density=density, **options)
            env.reset(seed=0)
            counts.append(len(env.unwrapped.scene.position))  # type: ignore[attr-defined]
        assert counts[0] < counts[1] < counts[2]


@pytest.mark.parametrize(("env_id", "options"), CASES)
def test_stored_scenes_are_drawn_as_the_environment_drew_them(
    env_id: str, options: dict[str, Any]
) -> None:
    env = make(env_id, observation="image", scene_in_info=True, render_mode="rgb_array", **options)
    env.reset(seed=3)
    driver = make_driver("expert", env, np.random.default_rng(0))
    for _ in range(46):  # into a bend: at right angles, float32 moves whole rows by a pixel
        observation, _, _, _, info = env.step(driver.act())
    renderer = SceneRenderer(f"vlsafe_envs:{env_id}", **options)
    frame = env.render()
    assert isinstance(frame, np.ndarray)
    assert np.mean(renderer.frame(info["scene"]) != frame) < 0.01
    assert np.mean(renderer.image(info["scene"]) != observation) < 0.01
    blue = (frame == (44, 116, 240)).all(-1)
    assert blue.sum() > 100  # the route


def test_tasks_are_scored_too() -> None:
    env = make("VLSafe-LeftTurn-v0", scorer="constant:0.25", cost="either")
    _, info = env.reset(seed=0)
    assert info["safety_score"] == pytest.approx(0.25)
    assert info["env_cost"] == 0.0
    assert info["cost"] == pytest.approx(0.5)


def test_vector_environments_step_tasks() -> None:
    envs = gym.make_vec("VLSafe-LeftTurn-v0", num_envs=2, scorer=None, observation="vector")
    observations, _ = envs.reset(seed=0)
    assert observations.shape == (2, 212)
    assert envs.step(np.array([12, 7]))[0].shape == (2, 212)
    envs.close()
    options = {"scorer": None, "observation": "vector"}
    vec_env = make_vec_env("VLSafe-FourLane-v0", 2, seed=0, env_kwargs=options)
    assert vec_env.reset().shape == (2, 107)
    vec_env.close()


def drive(env: gym.Env[Any, Any], name: str, seed: int) -> dict[str, Any]:
    env.reset(seed=seed)
    driver = make_driver(name, env, np.random.default_rng(seed))
    driver.reset()
    while True:
        action = driver.act()
        assert env.action_space.contains(action)
        *_, terminated, truncated, info = env.step(action)
        if terminated or truncated:
            return info


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize(("env_id", "options"), CASES)
def test_the_expert_arrives(env_id: str, options: dict[str, Any], action: str) -> None:
    env = make(env_id, action=action, **options)
    ends = [drive(env, "expert", seed) for seed in range(4)]
    assert sum(info["arrived"] for info in ends) >= 3
    assert not any(info["off_route"] for info in ends)


def test_the_aggressive_driver_crashes_where_the_expert_does_not() -> None:
    env = make("VLSafe-LeftTurn-v0", traffic="hard")
    crashed = {
        name: sum(drive(env, name, seed)["collision"] for seed in range(12))
        for name in ("expert", "aggressive")
    }
    assert crashed["expert"] <= 1
    assert crashed["aggressive"] >= 5


@pytest.mark.parametrize("name", DRIVER_NAMES)
@pytest.mark.parametrize("env_id", TASK_IDS)
def test_all_drivers_act_within_the_action_space(env_id: str, name: str) -> None:
    drive(make(env_id, duration=3), name, 0)


def test_collected_data_can_be_labelled(tmp_path: Path) -> None:
    from vlsafe_agents.cli.main import main

    def run(*arguments: str) -> None:
        with pytest.raises(SystemExit) as ended:
            main([*arguments])
        assert ended.value.code in (0, None)

    data = str(tmp_path / "data")
    run("collect", "--out", data, "--env", "VLSafe-LeftTurn-v0", "--episodes", "2",
        "--mix", "expert=0.5,random=0.5", "--workers", "1", "--env-arg", "duration=4")  # fmt: skip
    run("label", data, "--scorer", "constant:0.25")
