"""Learning online from pixels: the game of ``catch.py``, whose best return is known."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from catch import BALL, CATCH_CONFIG, CELLS, PADDLE, PIXELS, STEPS, Catch, best_return, play
from gymnasium.utils.env_checker import check_env
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

from vlsafe_agents import VLSafe


class Follows:
    """Sees ball and paddle in the image and moves towards the ball's column, or away from it."""

    def __init__(self, caught_columns: range) -> None:
        self.caught_columns = caught_columns

    def predict(self, obs: np.ndarray, state: Any, **_: Any) -> tuple[np.ndarray, Any]:
        """Actions ``(N,)`` by images ``(N, H, W, C)``."""
        ball, paddle = (self._column(obs, colour) for colour in (BALL, PADDLE))
        goal = np.where(np.isin(ball, self.caught_columns), ball, (ball + CELLS // 2) % CELLS)
        return np.sign(goal - paddle) + 1, state

    def _column(self, obs: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
        columns = (obs == np.array(colour, np.uint8)).all(-1).any(1)  # (N, W)
        return columns.argmax(-1) // PIXELS


class Random:
    """Any action."""

    def predict(self, obs: np.ndarray, state: Any, **_: Any) -> tuple[np.ndarray, Any]:
        """Actions ``(N,)``."""
        rng = np.random.default_rng(0) if state is None else state
        return rng.integers(3, size=len(obs)), rng


def test_it_is_an_environment() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is not registered
        check_env(Catch(), skip_render_check=True)
    env = Catch()
    env.reset(seed=0)
    assert [env.step(1)[2] for _ in range(STEPS)] == [False] * (STEPS - 1) + [True]


def test_the_image_is_enough_for_the_best_return_with_and_without_a_limit() -> None:
    earned, paid = play(Follows(range(CELLS)))
    assert earned == best_return(None) == 1.0
    assert paid == pytest.approx(0.5, abs=0.1)
    earned, paid = play(Follows(range(1, CELLS)))  # a quarter of all balls costs 1 each
    assert earned == pytest.approx(best_return(0.25), abs=0.12)
    assert paid == pytest.approx(0.25, abs=0.08)
    assert play(Follows(range(CELLS // 2, CELLS)))[1] == 0.0
    assert best_return(0.0) == 0.0
    assert best_return(2.0) == 1.0


def test_chance_catches_one_ball_in_four() -> None:
    assert play(Random())[0] == pytest.approx(2 / CELLS - 1, abs=0.15)


@pytest.mark.slow  # twenty seconds of one core
def test_ppo_of_stable_baselines3_learns_it() -> None:
    earned = []
    for seed in range(3):
        agent = PPO(
            "MlpPolicy", make_vec_env(Catch, n_envs=8, seed=seed), n_steps=30, batch_size=60,
            n_epochs=8, gamma=0.97, learning_rate=1e-3, ent_coef=0.01, seed=seed, device="cpu",
        ).learn(6_000)  # fmt: skip
        earned.append(play(agent)[0])
    print("PPO, by seed:", *(f"{value:.2f}" for value in earned))
    assert np.mean(earned) > 0.6


@pytest.mark.slow  # a minute of one core
@pytest.mark.timeout(3600)
def test_vlsafe_learns_it_online_from_pixels() -> None:
    """Chance is -0.5, the best policy 1."""
    agent = VLSafe(
        "CnnPolicy", make_vec_env(Catch, n_envs=8, seed=0), None, "12M", safety=None, seed=0,
        device="cpu", config=CATCH_CONFIG,
    ).learn(3_000)  # fmt: skip
    earned = play(agent)[0]
    print(f"VLSafe, blind to cost: return {earned:.2f}")
    assert earned > 0.6
