"""Drivers of many environments act as each would by itself."""

from __future__ import annotations

import itertools

import gymnasium as gym
import numpy as np
import pytest

from vlsafe_envs import ENV_IDS
from vlsafe_envs.drivers import DRIVER_NAMES, make_driver
from vlsafe_envs.drivers.many import DriverBatch
from vlsafe_envs.scenarios import ACTION_KINDS


@pytest.mark.parametrize(("env_id", "action"), list(itertools.product(ENV_IDS, ACTION_KINDS)))
def test_every_driver_acts_as_it_would_alone(env_id: str, action: str) -> None:
    options = {"scorer": None, "observation": "vector", "action": action, "duration": 20}
    names = (*DRIVER_NAMES, "expert", "noisy")
    count = len(names)
    many = gym.make_vec(env_id, num_envs=count, autoreset_mode="Disabled", **options)
    drivers = DriverBatch(many)
    singles = [gym.make(env_id, disable_env_checker=True, **options) for _ in names]
    alone = [
        make_driver(n, e, np.random.default_rng(7)) for n, e in zip(names, singles, strict=True)
    ]
    slots = list(range(count))
    steps, compared = 15 if action == "meta" else 40, 0
    for episode in range(2):  # what was remembered of the first one is forgotten
        seeds = [10 * episode + slot for slot in slots]
        many.reset(seed=seeds)
        for slot, name in enumerate(names):
            if episode == 0:
                drivers.assign(slot, name, np.random.default_rng(7))
            else:
                rng = drivers._rngs[slot]
                drivers.assign(slot, name, rng)
            singles[slot].reset(seed=seeds[slot])
            alone[slot].reset()
        going = slots
        for _ in range(steps):
            actions = drivers.act(going)
            for slot in going:
                assert np.array_equal(actions[slot], alone[slot].act()), names[slot]
                compared += 1
            observations, _, terminated, truncated, _ = many.step(actions)
            for slot in going:
                assert np.array_equal(observations[slot], singles[slot].step(actions[slot])[0])
            over = terminated | truncated
            if over.any():  # those who are over drive on in another episode, which does not count
                many.reset(options={"reset_mask": over})
                going = [slot for slot in going if not over[slot]]
    assert compared > 5 * steps


def test_what_is_no_driver_or_no_driving_environment_is_refused() -> None:
    drivers = DriverBatch(gym.make_vec("VLSafe-Merge-v0", num_envs=2, scorer=None))
    with pytest.raises(ValueError, match="driver='angry'"):
        drivers.assign(0, "angry", np.random.default_rng(0))
    with pytest.raises(ValueError, match="drivers of many need"):
        DriverBatch(gym.make_vec("CartPole-v1", num_envs=2))


def test_an_environment_without_a_driver_is_named() -> None:
    many = gym.make_vec("VLSafe-Merge-v0", num_envs=2, scorer=None)
    many.reset(seed=0)
    drivers = DriverBatch(many)
    drivers.assign(0, "expert", np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"environments \[1\] have no driver"):
        drivers.act([0, 1])
