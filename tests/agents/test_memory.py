"""What an agent with a memory can do and one without cannot (``recall.py``)."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from recall import LONGEST, Recall, share_recalled
from stable_baselines3.common.env_util import make_vec_env

from vlsafe_agents import VLSafe
from vlsafe_agents.stock import PPO

CONFIG: dict[str, Any] = {
    "world_model": {
        "rssm": {"deter": 64, "hidden": 32, "stoch": 8, "classes": 4},
        "heads": {"units": 32, "bins": 31, "bin_limit": 3.0},
        "scales": {"vector": 5.0, "reward": 5.0},
    },
    "train": {"batch_size": 16, "sequence_length": 24, "burn_in": 0, "learning_rate": 3e-3},
    "network": {"learning_rate": 3e-3, "bin_limit": 3.0},
    "imagination": {"starts": 64, "horizon": 5, "gamma": 0.99, "slow_rate": 0.05},
    "online": {"train_ratio": 96.0, "learning_starts": 400},
}


class KnowsTheCue:
    """Remembers each episode's cue."""

    def predict(self, obs: np.ndarray, state: Any, **_: Any) -> tuple[np.ndarray, np.ndarray]:
        cue = obs[:, 0] > 0 if state is None else state
        return cue.astype(np.int64), cue


def test_a_memory_of_the_cue_is_enough_and_without_it_all_frames_are_alike() -> None:
    assert share_recalled(KnowsTheCue(), LONGEST) == 1.0
    seen: dict[int, list[bytes]] = {0: [], 1: []}
    for seed in range(20):
        env = Recall(3, 3)
        env.reset(seed=seed)
        frames = [env.step(0)[0].tobytes() for _ in range(3)]
        seen[env.cue] = seen[env.cue] or frames
        assert frames == seen[env.cue]
    assert seen[0] == seen[1]
    delays = [_delay_of(seed) for seed in range(200)]
    assert set(delays) == set(range(1, LONGEST + 1))


def _delay_of(seed: int) -> int:
    env: gym.Env[Any, Any] = Recall()
    env.reset(seed=seed)
    steps, over = 0, False
    while not over:
        over, steps = env.step(0)[2], steps + 1
    return steps - 1


@pytest.mark.slow  # twenty seconds of one core
@pytest.mark.timeout(3600)
def test_ppo_of_one_frame_stays_at_chance() -> None:
    env = make_vec_env(Recall, n_envs=8, seed=0)
    agent = PPO(
        "MlpPolicy", env, n_steps=64, batch_size=128, gamma=0.99, learning_rate=1e-3, seed=0,
        device="cpu",
    ).learn(20_000)  # fmt: skip
    shares = [share_recalled(agent, delay) for delay in (1, LONGEST)]
    print(f"PPO: {shares[0]:.2f} of cues recalled after 1 step, {shares[1]:.2f} after {LONGEST}")
    assert shares == pytest.approx([0.5, 0.5], abs=0.12)  # of 200: 3.4 standard deviations


@pytest.mark.slow  # a minute of one core
@pytest.mark.timeout(3600)
def test_vlsafe_recalls_the_cue_online() -> None:
    env = make_vec_env(Recall, n_envs=8, seed=0)
    agent = VLSafe(
        "MlpPolicy", env, None, "debug", safety=None, seed=0, device="cpu", config=CONFIG
    ).learn(2_800)
    shares = [share_recalled(agent, delay) for delay in (1, LONGEST)]
    print(f"VLSafe: {shares[0]:.2f} of cues recalled after 1 step, {shares[1]:.2f} after {LONGEST}")
    assert min(shares) > 0.95
