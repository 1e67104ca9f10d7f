"""What learning online is for: better than random in minutes.

Minutes are those of one core to itself.
"""

from __future__ import annotations

from typing import Any

import pytest
from stable_baselines3.common.evaluation import evaluate_policy

from vlsafe_agents import VLSafe

SMALL: dict[str, Any] = {
    "world_model": {
        "rssm": {"deter": 64, "hidden": 32, "stoch": 8, "classes": 8, "blocks": 4},
        "heads": {"units": 64, "bins": 31},
    },
    "train": {"batch_size": 16, "sequence_length": 16, "learning_rate": 1e-3, "warmup": 50},
    "network": {"units": 64, "layers": 2, "learning_rate": 1e-3, "warmup": 50},
    "imagination": {"starts": 128, "horizon": 15, "gamma": 0.98},
    "online": {"train_ratio": 64.0, "learning_starts": 500},
}


@pytest.mark.slow  # 7 minutes
def test_cartpole_is_learned_from_nothing() -> None:
    """Random actions last 22 steps; 6,000 steps of driving are enough for hundreds."""
    agent = VLSafe(
        "MlpPolicy", "CartPole-v1", None, "debug", safety=None, seed=0, device="cpu", config=SMALL
    )
    agent.learn(6_000)
    env = agent.get_env()
    assert env is not None
    mean = evaluate_policy(agent, env, 20)[0]
    assert isinstance(mean, float)
    print(f"CartPole: {mean:.0f} steps")
    assert mean > 150.0
