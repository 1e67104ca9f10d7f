"""Environments are found under their ids, once, and rebuilt from their specs."""

from __future__ import annotations

import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest

import vlsafe_envs
from vlsafe_envs import ENV_IDS, DrivingEnv, SceneRenderer


def test_all_four_ids_are_registered_on_import() -> None:
    assert len(ENV_IDS) == 4
    for env_id in ENV_IDS:
        assert env_id in gym.registry


def test_registering_again_changes_nothing() -> None:
    before = {env_id: gym.registry[env_id] for env_id in ENV_IDS}
    vlsafe_envs.register_envs()
    assert all(gym.registry[env_id] is spec for env_id, spec in before.items())


def test_module_prefix_finds_the_environment_in_a_process_that_has_not_imported_it() -> None:
    code = (
        "import gymnasium as gym;"
        "env = gym.make('vlsafe_envs:VLSafe-Highway-v0', scorer=None, observation='vector',"
        "engine='highway_env');"
        "print(type(env.unwrapped).__name__)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "DrivingEnv", result.stderr


@pytest.mark.parametrize("env_id", ENV_IDS)
def test_an_environment_is_rebuilt_from_its_spec(env_id: str) -> None:
    env = gym.make(env_id, scorer=None, observation="vector", vehicles=3, duration=7)
    assert env.spec is not None
    again = gym.make(env.spec)
    assert isinstance(again.unwrapped, DrivingEnv)
    assert again.unwrapped.scenario == env.unwrapped.scenario  # type: ignore[attr-defined]


def test_a_scorer_wraps_the_environment_and_its_cost_counts() -> None:
    env = gym.make("VLSafe-Highway-v0", scorer="constant:0.25", vehicles=0, duration=3)
    _, info = env.reset(seed=0)
    assert info["safety_score"] == pytest.approx(0.25)
    assert info["env_cost"] == 0.0
    assert info["cost"] == pytest.approx(0.5)
    env = gym.make(env.spec)
    assert env.reset(seed=0)[1]["cost"] == pytest.approx(0.5)


def test_stored_scenes_are_drawn_as_the_environment_drew_them() -> None:
    env = gym.make(
        "VLSafe-Highway-v0", scorer=None, scene_in_info=True, render_mode="rgb_array", lanes=3
    )
    observation, info = env.reset(seed=3)
    renderer = SceneRenderer("vlsafe_envs:VLSafe-Highway-v0", lanes=3)
    frame = env.render()
    assert isinstance(frame, np.ndarray)
    # Packed scenes are float32 and keep the nearest vehicles only.
    assert np.mean(renderer.frame(info["scene"]) != frame) < 0.01
    assert np.mean(renderer.image(info["scene"]) != observation) < 0.01


@pytest.mark.parametrize(
    ("env_id", "maker"),
    [
        ("VLSafe-LeftTurn-v0", "vlsafe_envs.registration:make_task_env"),
        ("VLSafe-Navigation-v0", "vlsafe_envs.metadrive.registration:make_metadrive_env"),
    ],
)
def test_specs_of_data_sets_recorded_before_the_registry_are_rebuilt(
    env_id: str, maker: str
) -> None:
    if "metadrive" in maker:
        pytest.importorskip("metadrive", reason="MetaDrive is not installed")
    spec = gym.spec(env_id)
    old = gym.envs.registration.EnvSpec(
        env_id, entry_point=maker, kwargs={**spec.kwargs, "scorer": None, "observation": "vector"}
    )
    env = gym.make(gym.envs.registration.EnvSpec.from_json(old.to_json()))
    assert isinstance(env.unwrapped, DrivingEnv)
    env.close()
