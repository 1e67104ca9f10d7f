"""The same seed gives the same rollout, also in another process."""

from __future__ import annotations

import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest

from vlsafe_envs import ENV_IDS

ROLLOUT = """
import hashlib
import gymnasium as gym
import numpy as np
import vlsafe_envs

digest = hashlib.sha256()
for env_id in vlsafe_envs.ENV_IDS:
    for action in ("meta", "continuous"):
        env = gym.make(env_id, scorer=None, observation="vector", action=action, vehicles=6)
        observation, info = env.reset(seed=11)
        env.action_space.seed(11)
        for _ in range(6):
            digest.update(observation.tobytes())
            observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
            digest.update(np.float64([reward, info["cost"], info["time_to_collision"]]).tobytes())
            if terminated or truncated:
                observation, info = env.reset()
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


@pytest.mark.parametrize("env_id", ENV_IDS)
def test_seeds_differ_and_repeat(env_id: str) -> None:
    env = gym.make(env_id, scorer=None, observation="vector", vehicles=6)
    first, again, other = (env.reset(seed=seed)[0] for seed in (5, 5, 6))
    assert np.array_equal(first, again)
    if env_id != "VLSafe-Merge-v0":
        assert not np.array_equal(first, other)
