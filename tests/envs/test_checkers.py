"""Gymnasium's and Stable-Baselines3's checkers are content; vector environments lose nothing."""

from __future__ import annotations

import itertools
import pickle
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as sb3_check_env
from stable_baselines3.common.vec_env import DummyVecEnv

from vlsafe_envs import ENV_IDS

OBSERVATIONS = ("image", "vector", "multi")
ACTIONS = ("meta", "grid", "continuous")


def small(env_id: str, **options: Any) -> gym.Env[Any, Any]:
    options = {"vehicles": 4, "duration": 3, "scorer": None, **options}
    return gym.make(env_id, **options)


@pytest.mark.parametrize(
    ("env_id", "observation", "action"), list(itertools.product(ENV_IDS, OBSERVATIONS, ACTIONS))
)
def test_checkers_pass_without_a_warning(env_id: str, observation: str, action: str) -> None:
    env = small(env_id, observation=observation, action=action, render_mode="rgb_array")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped, skip_render_check=True)
        sb3_check_env(env.unwrapped)


@pytest.mark.parametrize("env_id", ENV_IDS)
def test_frames_have_the_promised_shape(env_id: str) -> None:
    env = small(env_id, render_mode="rgb_array", observation="multi")
    observation, _ = env.reset(seed=0)
    frame = env.render()
    assert isinstance(frame, np.ndarray)
    assert frame.shape == (224, 224, 3)
    assert np.array_equal(frame, env.unwrapped.safety_frame())  # type: ignore[attr-defined]
    assert observation["image"].shape == (64, 64, 3)
    assert list(env.observation_space) == ["image", "vector"]  # type: ignore[call-overload]


@pytest.mark.parametrize("env_id", ENV_IDS)
def test_info_has_the_same_picklable_keys_at_reset_and_every_step(env_id: str) -> None:
    env = small(env_id, observation="vector", scene_in_info=True)
    _, first = env.reset(seed=1)
    for _ in range(3):
        *_, terminated, truncated, info = env.step(env.action_space.sample())
        assert info.keys() == first.keys()
        assert {key: type(value) for key, value in info.items()} == {
            key: type(value) for key, value in first.items()
        }
        assert pickle.loads(pickle.dumps(info)).keys() == info.keys()
        if terminated or truncated:
            break
    assert ("arrived" in first) == (env_id != "VLSafe-Highway-v0")


def crash() -> gym.Env[Any, Any]:
    """An environment that one full-throttle action drives off the road or into a vehicle."""
    return small("VLSafe-Highway-v0", observation="vector", action="continuous", duration=40)


def test_terminal_info_survives_autoreset_of_gymnasium_vector_envs() -> None:
    mode = gym.vector.AutoresetMode.SAME_STEP
    vector = gym.vector.SyncVectorEnv([crash], autoreset_mode=mode)
    vector.reset(seed=0)
    for _ in range(50):
        *_, terminated, _, info = vector.step(np.array([[0.0, 1.0]], np.float32))
        if terminated[0]:
            break
    final = info["final_info"]
    assert final["off_road"][0]
    assert final["env_cost"][0] >= 10.0
    assert final["cost_terms"]["off_road"][0] == 1.0


def test_terminal_info_survives_autoreset_of_sb3_vector_envs() -> None:
    vector = DummyVecEnv([crash])
    vector.seed(0)  # one start in forty meets a vehicle before the edge
    vector.reset()
    for _ in range(50):
        _, _, dones, infos = vector.step(np.array([[0.0, 1.0]], np.float32))
        if dones[0]:
            break
    assert dones[0]
    assert infos[0]["off_road"]
    assert infos[0]["cost_terms"]["off_road"] == 1.0
    assert infos[0]["cost"] >= 10.0


def test_episode_is_truncated_after_its_duration_and_not_terminated() -> None:
    env = small("VLSafe-Highway-v0", observation="vector", vehicles=0, duration=3)
    env.reset(seed=0)
    ends = [env.step(1)[2:4] for _ in range(3)]
    assert ends == [(False, False), (False, False), (False, True)]
