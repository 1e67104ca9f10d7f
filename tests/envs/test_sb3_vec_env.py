"""The vectorised environments by Stable-Baselines3's conventions."""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor, VecNormalize
from vector_comparison import assert_same

from vlsafe_agents.ppo_lag import PPOLag
from vlsafe_envs import ENV_IDS
from vlsafe_envs.costs import CostConfig
from vlsafe_envs.sb3 import DrivingVecEnv, make_vec_env

HIGHWAY = "VLSafe-Highway-v0"
SMALL: dict[str, Any] = {"scorer": None, "vehicles": 5, "observation": "vector", "duration": 4}


def bare(env_id: str, n_envs: int, seed: int, **options: Any) -> DrivingVecEnv:
    monitored = make_vec_env(env_id, n_envs, seed, env_kwargs=options)
    assert isinstance(monitored, VecMonitor)
    assert isinstance(monitored.venv, DrivingVecEnv)
    return monitored.venv


@pytest.mark.parametrize("env_id", ENV_IDS)
@pytest.mark.parametrize("action", ["meta", "continuous"])
def test_everything_equals_sb3s_own_vector_environment(env_id: str, action: str) -> None:
    options = {**SMALL, "action": action, "observation": "multi", "scorer": "oracle", "duration": 2}
    ours = bare(env_id, 3, 11, **options)
    one = functools.partial(gym.make, env_id, disable_env_checker=True, **options)
    reference = DummyVecEnv([one] * 3)
    reference.seed(11)
    assert_same(ours.reset(), dict(reference.reset()))
    space = gym.vector.utils.batch_space(reference.action_space, 3)
    space.seed(0)
    ends = 0
    for t in range(30):
        actions = space.sample()
        observations, rewards, dones, infos = reference.step(actions)
        expected = (dict(observations), rewards, dones, infos)
        assert_same(ours.step(actions), expected, f"step {t}")
        assert_same(ours.reset_infos, reference.reset_infos, f"reset at step {t}")
        ends += int(dones.sum())
    assert ends > 3


def test_the_last_info_and_observation_of_an_episode_are_kept() -> None:
    env = bare(HIGHWAY, 2, 0, **{**SMALL, "vehicles": 0, "duration": 2})
    env.reset()
    env.step(np.ones(2, int))
    observations, _, dones, infos = env.step(np.ones(2, int))
    assert dones.all()
    for k, info in enumerate(infos):
        assert info["TimeLimit.truncated"] is True
        assert info["cost"] == 0.0
        assert info["distance"] > 40.0
        assert not np.array_equal(info["terminal_observation"], observations[k])
        assert env.reset_infos[k]["distance"] == 0.0


def test_attributes_and_methods_of_single_environments_are_reached() -> None:
    env = make_vec_env(HIGHWAY, 3, seed=0, env_kwargs={**SMALL, "render_mode": "rgb_array"})
    env.reset()
    assert [spec.id for spec in env.get_attr("spec")] == [HIGHWAY] * 3
    frames = env.env_method("safety_frame", indices=[0, 2])
    assert [frame.shape for frame in frames] == [(224, 224, 3)] * 2
    images = env.get_images()
    assert np.array_equal(images[2], frames[1])
    assert env.render().shape == (448, 448, 3)
    assert env.env_is_wrapped(Monitor) == [False] * 3
    assert not env.has_attr("no_such_thing")
    env.set_attr("costs", CostConfig(collision=3.0), indices=1)
    assert [costs.collision for costs in env.get_attr("costs")] == [10.0, 3.0, 10.0]
    with pytest.raises(AttributeError, match="cannot set 'observation'"):
        env.set_attr("observation", "image")
    env.set_options({"a": 1})
    with pytest.raises(ValueError, match="no options"):
        env.reset()


def test_seeds_are_used_once_as_sb3_does() -> None:
    env = make_vec_env(HIGHWAY, 2, env_kwargs=SMALL)
    env.seed(4)
    first, second = env.reset(), env.reset()
    env.seed(4)
    assert np.array_equal(env.reset(), first)
    assert not np.array_equal(first, second)


def test_a_road_that_the_engine_does_not_drive_gets_sb3s_own_vector_environment() -> None:
    env = make_vec_env(HIGHWAY, 2, seed=0, env_kwargs={**SMALL, "engine": "highway_env"})
    assert isinstance(env, VecMonitor)
    assert isinstance(env.venv, DummyVecEnv)
    with pytest.raises(ValueError, match="env_id='CartPole-v1'"):
        make_vec_env("CartPole-v1", 2)


@pytest.mark.parametrize("algorithm", [PPO, PPOLag])
def test_algorithms_learn_and_are_evaluated(algorithm: Any, tmp_path: Path) -> None:
    env = make_vec_env(HIGHWAY, 4, seed=0, monitor_dir=tmp_path / "log", env_kwargs=SMALL)
    model = algorithm(
        "MlpPolicy", VecNormalize(env), n_steps=8, batch_size=16, n_epochs=1, device="cpu"
    )
    model.learn(64)
    assert model.num_timesteps == 64
    assert model.ep_info_buffer
    _, lengths = evaluate_policy(
        model, make_vec_env(HIGHWAY, 2, seed=1, env_kwargs=SMALL), 4, return_episode_rewards=True
    )
    assert len(lengths) == 4
    assert max(lengths) <= 4
    lines = (tmp_path / "log" / "monitor.csv").read_text().splitlines()
    assert lines[1] == "r,l,t"
    assert len(lines) > 4
    model.save(tmp_path / "model")
    again = algorithm.load(tmp_path / "model", env=make_vec_env(HIGHWAY, 4, env_kwargs=SMALL))
    again.learn(32)


def test_the_package_does_without_stable_baselines3() -> None:
    code = (
        "import sys, gymnasium, vlsafe_envs\n"
        "gymnasium.make_vec('VLSafe-Highway-v0', num_envs=2, scorer=None)\n"
        "assert 'stable_baselines3' not in sys.modules\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
