"""PPO-Lag's two normalisations of advantages: by hand, and where they end on a solved CMDP."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from tiny_cmdp import BEST_MULTIPLIER, BEST_RETURN, GREEDY_COST, LIMIT, STEPS, TradeOff

from vlsafe_agents.ppo_lag import PPOLag

SETTINGS: dict[str, Any] = {
    "n_steps": 40,  # 32 episodes in each of the 80 rollouts
    "batch_size": 80,
    "n_epochs": 5,
    "learning_rate": 2e-3,
    "policy_kwargs": {"net_arch": [16], "log_std_init": -1.0},
    "device": "cpu",
}


class Rollouts(BaseCallback):
    """Cost and return of an episode, multiplier and spread of A_r, rollout by rollout."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[float, ...]] = []
        self.advantages: list[np.ndarray] = []  # of the last rollout: reward's, cost's

    def _on_rollout_end(self) -> None:
        buffer = self.model.rollout_buffer
        means = STEPS * buffer.costs.mean(), STEPS * buffer.rewards.mean()
        multiplier = self.model.lagrange_multiplier
        self.rows.append((*means, multiplier, buffer.advantages.std()))
        self.advantages = [buffer.advantages.copy(), buffer.cost_advantages.copy()]

    def _on_step(self) -> bool:
        return True


def omnisafe_advantage(reward: Any, cost: Any, penalty: float) -> list[float]:
    """What OmniSafe's PPOLag maximises, written down anew entry by entry.

    PKU-Alignment/omnisafe@15603dd: `VectorOnPolicyBuffer.get` standardises A_r with
    `dist_statistics_scalar`'s mean and standard deviation (divided by N) over all environments and
    centres A_c; `PPOLag._compute_adv_surrogate` mixes them.
    """
    count = len(reward)
    mean = sum(reward) / count
    spread = math.sqrt(sum((r - mean) ** 2 for r in reward) / count)
    cost_mean = sum(cost) / count
    return [
        ((r - mean) / (spread + 1e-8) - penalty * (c - cost_mean)) / (1.0 + penalty)
        for r, c in zip(reward, cost, strict=True)
    ]


def test_separate_normalisation_is_omnisafes() -> None:
    look = Rollouts()
    model = PPOLag(
        "MlpPolicy", make_vec_env(TradeOff, n_envs=3), advantage_normalization="separate",
        lagrange_kwargs={"initial": 2.0, "learning_rate": 0.0}, seed=0,
        **{**SETTINGS, "n_epochs": 1},
    ).learn(120, look)  # fmt: skip
    raw_reward, raw_cost = (model.rollout_buffer.swap_and_flatten(a) for a in look.advantages)
    expected = omnisafe_advantage(
        raw_reward.ravel().astype(float), raw_cost.ravel().astype(float), 2.0
    )
    ordered = model.rollout_buffer._get_samples(np.arange(120))
    assert model._mixed_advantage(ordered).tolist() == pytest.approx(expected, abs=1e-5)
    # no further normalisation: the spread is what the mixture's is
    assert abs(float(np.std(expected)) - 1.0) > 1e-3


def test_joint_normalisation_is_of_the_mixture() -> None:
    look = Rollouts()
    model = PPOLag(
        "MlpPolicy", make_vec_env(TradeOff, n_envs=3), seed=0,
        lagrange_kwargs={"initial": 2.0, "learning_rate": 0.0}, **{**SETTINGS, "n_epochs": 1},
    ).learn(120, look)  # fmt: skip
    reward, cost = (
        th.as_tensor(model.rollout_buffer.swap_and_flatten(a)).flatten() for a in look.advantages
    )
    mixture = (reward - 2.0 * cost) / 3.0
    expected = (mixture - mixture.mean()) / mixture.std()
    ordered = model.rollout_buffer._get_samples(np.arange(120))
    assert th.allclose(model._mixed_advantage(ordered), expected, atol=1e-5)


def test_what_cannot_be_normalised_so_is_refused() -> None:
    with pytest.raises(ValueError, match="'omni'"):
        PPOLag("MlpPolicy", TradeOff(), advantage_normalization="omni")
    with pytest.raises(ValueError, match="normalize_advantage=False"):
        PPOLag(
            "MlpPolicy", TradeOff(), advantage_normalization="separate", normalize_advantage=False
        )


def test_the_optimum_is_what_the_docstring_says() -> None:
    def drive(x: float) -> tuple[float, float]:
        env, earned, paid, done = TradeOff(), 0.0, 0.0, False
        env.reset(seed=0)
        while not done:
            _, reward, done, _, info = env.step(np.array([x], np.float32))
            earned, paid = earned + reward, paid + info["cost"]
        return earned, paid

    assert drive(0.5) == pytest.approx((BEST_RETURN, LIMIT))
    assert drive(1.0) == pytest.approx((GREEDY_COST, GREEDY_COST))
    grid = np.linspace(0.0, 1.0, 1001)
    lagrangian = STEPS * (grid - BEST_MULTIPLIER * grid**2)
    assert grid[np.argmax(lagrangian)] == pytest.approx(0.5)


@pytest.mark.slow  # about 20 s of one core each
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("normalization", "dual_step"), [("joint", 0.05), ("separate", 0.3)])
def test_both_normalisations_reach_the_constrained_optimum(
    normalization: str, dual_step: float, seed: int
) -> None:
    """The multiplier of "separate" counts in standard deviations of A_r, which shrink.

    It must rise for ever to stay at the price of 1, so that the plain dual ascent lags: with the
    step of "joint" the cost stays at 3.7 (OmniSafe at epoch 60: cost 4.2, multiplier 5.4).
    """
    look = Rollouts()
    PPOLag(
        "MlpPolicy", make_vec_env(TradeOff, n_envs=8), cost_limit=LIMIT, seed=seed,
        lagrange_kwargs={"learning_rate": dual_step}, advantage_normalization=normalization,
        **SETTINGS,
    ).learn(80 * 320, look)  # fmt: skip
    cost, earned, multiplier, spread = np.mean(look.rows[-20:], 0)
    print(f"{normalization}, seed {seed}: cost {cost:.2f}, return {earned:.2f}, multiplier "
          f"{multiplier:.2f}, std(A_r) {spread:.2f}")  # fmt: skip
    assert cost == pytest.approx(LIMIT, abs=0.4)
    assert earned == pytest.approx(BEST_RETURN, abs=0.4)
    price = multiplier * spread if normalization == "separate" else multiplier
    assert price == pytest.approx(BEST_MULTIPLIER, abs=0.15)
