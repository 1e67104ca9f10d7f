"""Continuous control online, from nothing: Pendulum, and Pendulum with a limit on its speed.

Published returns of one run each (rl-baselines3-zoo, benchmark.md@0088472): SAC -157 and TD3 -152
after 20,000 steps, PPO -172 after 100,000.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.env_util import make_vec_env

from vlsafe_agents import VLSafe

FAST = 6.0  # [rad/s]; from the bottom up it takes about 4.7 with full torque, and nearly 8 without
LIMIT = 1.0  # fast steps an episode
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


class SpeedCost(gym.Wrapper[Any, Any, Any, Any]):
    """Costs 1 for each step in which the pendulum is faster than ``FAST``."""

    def reset(self, **kwargs: Any) -> Any:
        observation, info = self.env.reset(**kwargs)
        return observation, {**info, "cost": 0.0}

    def step(self, action: Any) -> Any:
        observation, reward, terminated, truncated, info = self.env.step(action)
        cost = float(abs(observation[2]) > FAST)
        return observation, reward, terminated, truncated, {**info, "cost": cost}


class Found(NamedTuple):
    """Means of an agent's episodes."""

    earned: float
    paid: float
    price: float


def make() -> gym.Env[Any, Any]:
    return SpeedCost(gym.make("Pendulum-v1"))


def learned(update: str, steps: int, seed: int) -> Found:
    """Return, cost and price of an agent that has learned by driving."""
    agent = VLSafe(
        "MlpPolicy", make_vec_env(make, n_envs=4, seed=seed), None, "debug", seed=seed,
        device="cpu", update=update, safety=None if update == "none" else "score",
        cost_limit=LIMIT, config=CONFIG,
    ).learn(steps)  # fmt: skip
    earned, paid = drive(agent)
    found = Found(earned, paid, agent.policy.actor_critic.price)
    name = f"Pendulum, {update}, seed {seed}, {steps} steps"
    print(f"{name}: return {found.earned:.0f}, cost {found.paid:.2f}, price {found.price:.2f}")
    return found


def drive(agent: VLSafe) -> tuple[float, float]:
    """Mean return and cost of ``DRIVES`` episodes, most likely actions."""
    envs = make_vec_env(make, n_envs=DRIVES, seed=31_337)
    observation, state = envs.reset(), None
    start, earned, paid = np.ones(DRIVES, bool), np.zeros(DRIVES), np.zeros(DRIVES)
    for _ in range(200):  # the length of an episode
        action, state = agent.predict(observation, state, start, deterministic=True)
        observation, reward, start, infos = envs.step(action)
        earned += reward
        paid += [info["cost"] for info in infos]
    assert start.all()
    return float(earned.mean()), float(paid.mean())


@pytest.mark.slow  # three minutes of one core
@pytest.mark.timeout(7200)
def test_pendulum_is_swung_up_and_held() -> None:
    assert learned("none", 8_000, seed=0).earned > -250
