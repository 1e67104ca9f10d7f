"""PPO-Lag's convolutions in half precision, on processors that have it."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces

from vlsafe_agents.ppo_lag import PPOLag, policies

IMAGE = spaces.Box(0, 255, (36, 36, 3), np.uint8)


class Noise(gym.Env[Any, Any]):
    """Random images, alone or beside a vector."""

    action_space = spaces.Discrete(3)

    def __init__(self, named: bool) -> None:
        vector = spaces.Box(-1, 1, (2,), np.float32)
        self.observation_space = spaces.Dict(image=IMAGE, vector=vector) if named else IMAGE

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return self.observation_space.sample(), {"cost": 0.0}

    def step(self, action: Any) -> Any:
        return self.observation_space.sample(), 1.0, False, False, {"cost": 0.0}


def agent(named: bool, **policy_kwargs: Any) -> PPOLag:
    policy = "MultiInputPolicy" if named else "CnnPolicy"
    sizes: dict[str, Any] = {"n_steps": 8, "batch_size": 8, "n_epochs": 1, "device": "cpu"}
    return PPOLag(policy, Noise(named), seed=0, policy_kwargs=policy_kwargs, **sizes)


@pytest.mark.parametrize("named", [False, True])
def test_values_differ_in_rounding_only_and_training_goes_on(
    named: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policies, "bfloat16_is_fast", lambda device: True)
    half, plain = agent(named, bfloat16=True), agent(named)
    space = half.observation_space
    observation = half.policy.obs_to_tensor(space.sample())[0]
    seen = [model.policy._heads(observation) for model in (half, plain)]
    for own, reference in zip(*seen, strict=True):
        assert own.dtype == th.float32
        assert not th.equal(own, reference)
        th.testing.assert_close(own, reference, atol=0.03, rtol=0.03)
    half.learn(8)
    assert all(p.isfinite().all() for p in half.policy.parameters())
    assert all(p.dtype == th.float32 for p in half.policy.parameters())


def test_a_processor_without_it_stays_in_float32_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(policies, "bfloat16_is_fast", lambda device: False)
    with pytest.warns(UserWarning, match="bfloat16=True has no effect: the device cpu"):
        half = agent(False, bfloat16=True)
    plain = agent(False)
    observation = half.policy.obs_to_tensor(IMAGE.sample()[None].transpose(0, 3, 1, 2))[0]
    seen = [model.policy._heads(observation) for model in (half, plain)]
    assert all(th.equal(*pair) for pair in zip(*seen, strict=True))


def test_the_setting_is_saved(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policies, "bfloat16_is_fast", lambda device: True)
    agent(False, bfloat16=True).save(tmp_path / "agent")
    assert PPOLag.load(tmp_path / "agent").policy.wants_bfloat16
