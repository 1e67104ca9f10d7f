"""Continuous control online, from nothing: Pendulum.

Published returns of one run each (rl-baselines3-zoo, benchmark.md@0088472): SAC -157 and TD3 -152
after 20,000 steps, PPO -172 after 100,000.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

from vlsafe_agents import VLSafe

DRIVES = 50
CONFIG: dict[str, Any] = {
    "world_model": {
        "rssm": {"deter": 64, "hidden": 64, "stoch": 16, "classes": 8, "blocks": 4},
        "heads": {
            "units": 64, "vector_layers": 2, "bins": 31, "bin_limit": 5.0, "standardise": True,
        },
        "scales": {"vector": 20.0, "reward": 10.0},
    },
    "train": {
        "batch_size": 32, "sequence_length": 8, "burn_in": 0, "learning_rate": 3e-3, "warmup": 50,
    },
    "network": {
        "units": 64, "layers": 2, "bins": 31, "bin_limit": 8.0, "learning_rate": 3e-3,
        "warmup": 50,
    },
    "imagination": {
        "starts": 128, "horizon": 5, "gamma": 0.97, "lambda_": 0.8, "slow_rate": 0.05,
    },
    "improvement": {"beta": 10.0, "weight_limit": None},
    "online": {"train_ratio": 64.0, "learning_starts": 600},
    "model_warmup": 0.0,
}  # fmt: skip


def learned(steps: int, seed: int) -> float:
    """Mean return of an agent that has learned by driving, most likely actions."""
    agent = VLSafe(
        "MlpPolicy", make_vec_env("Pendulum-v1", n_envs=4, seed=seed), None, "debug", seed=seed,
        device="cpu", safety=None, config=CONFIG,
    ).learn(steps)  # fmt: skip
    unseen = make_vec_env("Pendulum-v1", n_envs=DRIVES, seed=31_337)
    earned, _ = evaluate_policy(agent, unseen, DRIVES)
    print(f"Pendulum, seed {seed}, {steps} steps: return {earned:.0f}")
    return float(np.mean(earned))


@pytest.mark.slow  # three minutes of one core
@pytest.mark.timeout(7200)
def test_pendulum_is_swung_up_and_held() -> None:
    assert learned(6_000, seed=0) > -250
