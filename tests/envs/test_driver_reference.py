"""Compiled drivers choose what the same rules in plain Python choose, over whole episodes."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from driver_reference import make_reference

from vlsafe_envs import ENV_IDS
from vlsafe_envs.drivers import make_driver


def compare(env_id: str, name: str, seed: int, **options: object) -> int:
    """Drive the same episode twice, by both drivers; the number of decisions that agreed."""
    envs = [
        gym.make(env_id, scorer=None, observation="vector", **options).unwrapped for _ in range(2)
    ]
    drivers = [make_driver(name, envs[0], np.random.default_rng(0)), make_reference(name, envs[1])]
    for env, driver in zip(envs, drivers, strict=True):
        env.reset(seed=seed)
        driver.reset()
    agreed, done = 0, False
    while not done:
        ours, reference = (driver.act() for driver in drivers)
        # One float32 step: sums are added up in another order.
        np.testing.assert_allclose(ours, reference, rtol=0, atol=1.2e-7)
        for env in envs:
            _, _, terminated, truncated, _ = env.step(reference)
            done = terminated or truncated
        agreed += 1
    return agreed


@pytest.mark.parametrize("action", ["meta", "grid", "continuous"])
@pytest.mark.parametrize("name", ["expert", "brisk", "aggressive", "timid"])
@pytest.mark.parametrize("env_id", ENV_IDS)
def test_actions_are_those_of_the_rules_in_python(env_id: str, name: str, action: str) -> None:
    assert compare(env_id, name, seed=1, action=action, duration=8) >= 2


@pytest.mark.slow
@pytest.mark.parametrize("action", ["meta", "grid", "continuous"])
@pytest.mark.parametrize("name", ["expert", "brisk", "aggressive", "timid"])
@pytest.mark.parametrize("env_id", ENV_IDS)
def test_whole_episodes_agree(env_id: str, name: str, action: str) -> None:
    for seed in range(2, 5):
        assert compare(env_id, name, seed=seed, action=action) >= 2
