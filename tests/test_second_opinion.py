"""The expert is asked where an agent drives, and the other way round."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from load_script import script

from vlsafe_envs.actions import STEERINGS
from vlsafe_envs.drivers import make_driver
from vlsafe_envs.drivers.base import no_action

second_opinion = script("benchmarks/second_opinion.py")
SEED = 5


class Coasting:
    """Never uses pedals or wheel, and remembers which actions it was told it had chosen."""

    def __init__(self, action: int) -> None:
        self.action = action
        self.told: list[int] = []

    def predict(self, observation: Any, state: Any, deterministic: bool) -> tuple[Any, Any]:
        assert deterministic
        if state is None:
            state = np.zeros((1, 2)), np.zeros((1, 2, 2)), np.zeros((1, 15), np.float32)
        else:
            self.told.append(int(state[2].argmax()))
        own = np.eye(15, dtype=np.float32)[[self.action]]
        return np.int64(self.action), (*state[:2], own)


@pytest.mark.parametrize("wheel", ["agent", "expert"])
def test_one_drives_and_the_other_is_asked(wheel: str) -> None:
    env = gym.make("VLSafe-LeftTurn-v0", traffic="none", scorer=None, observation="vector")
    agent = Coasting(no_action(env.action_space))
    counts = np.zeros((3, 3), np.int64)
    info = second_opinion.drive(agent, env, SEED, wheel, counts)
    assert counts[:, 1].sum() == counts.sum() > 10  # the agent always coasts
    assert bool(info["arrived"]) is (wheel == "expert")

    env.reset(seed=SEED)
    expert = make_driver("expert", env, np.random.default_rng(SEED))
    advised, ended = [], False
    while not ended:
        advised.append(int(expert.act()))
        chosen = advised[-1] if wheel == "expert" else agent.action
        *_, terminated, truncated, _ = env.step(chosen)
        ended = terminated or truncated
    pedals = np.bincount(np.array(advised) // len(STEERINGS), minlength=3)
    assert counts.sum(1).tolist() == pedals.tolist()
    driven = advised if wheel == "expert" else [agent.action] * len(advised)
    assert agent.told == driven[:-1]
