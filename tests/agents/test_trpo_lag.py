"""TRPO-Lag: what its step goes along, what its cost critic may move, and where it ends."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch as th
from sb3_contrib import TRPO
from stable_baselines3.common.env_util import make_vec_env
from test_ppo_lag_optimum import Rollouts
from tiny_cmdp import BEST_RETURN, LIMIT, TradeOff
from toy_envs import CountingEnv, SpeedLimitEnv

from vlsafe_agents import PPOLag, TRPOLag
from vlsafe_agents.ppo_lag.presets import PRESETS, trpo_preset

SMALL: dict[str, Any] = {"n_steps": 10, "batch_size": 10, "seed": 0, "device": "cpu"}
PRICED: dict[str, Any] = {"lagrange_kwargs": {"initial": 2.0, "learning_rate": 0.0}}


@pytest.mark.parametrize("normalization", ["joint", "separate"])
def test_the_step_goes_along_the_mixture(
    normalization: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[np.ndarray] = []

    def look(agent: Any) -> None:
        seen.append(agent.rollout_buffer.advantages.copy())
        stock(agent)

    stock = TRPO.train
    monkeypatch.setattr(TRPO, "train", look)
    look_at = Rollouts()
    TRPOLag("MlpPolicy", make_vec_env(TradeOff, 3), advantage_normalization=normalization,
            **PRICED, **SMALL).learn(30, look_at)  # fmt: skip
    reward, cost = look_at.advantages
    if normalization == "separate":
        reward, cost = (reward - reward.mean()) / reward.std(), cost - cost.mean()
    np.testing.assert_allclose(seen[0], (reward - 2.0 * cost) / 3.0, rtol=1e-4, atol=1e-5)


def test_without_a_price_it_is_trpo() -> None:
    """The same rollout and the same weights give the same step and the same reward critic."""
    agents: list[Any] = []
    for kind, more in ((TRPOLag, {"lagrange_kwargs": {"maximum": 0.0}}), (TRPO, {})):
        agent = kind("MlpPolicy", make_vec_env(TradeOff, 3, seed=0), **SMALL, **more)
        if agents:
            known = agents[0].policy.state_dict()
            agent.policy.load_state_dict({k: known[k] for k in agent.policy.state_dict()})
        else:
            agent.policy.cost_value_net.weight.data.fill_(3.0)  # however costly it looks
            first = {k: v.clone() for k, v in agent.policy.state_dict().items()}
        agents.append(agent)
    th.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002  # SB3 shuffles by it
    agents[0].learn(30)
    th.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    agents[1].learn(30)
    moved = agents[1].policy.state_dict()
    for name, value in moved.items():
        assert th.allclose(agents[0].policy.state_dict()[name], value, atol=1e-6), name
    assert any(not th.equal(first[name], value) for name, value in moved.items())


@pytest.mark.parametrize(
    ("policy", "observation"), [("CnnPolicy", "image"), ("MlpPolicy", "vector")]
)
def test_the_cost_critic_learns_and_leaves_what_the_policy_reads(
    policy: str, observation: str
) -> None:
    env = CountingEnv(observation=observation)
    agent = TRPOLag(policy, env, frame_stack=2, n_critic_updates=2, **SMALL)
    agent.learn(10)
    before = {name: value.clone() for name, value in agent.policy.named_parameters()}
    losses = agent._fit_cost_critic()
    changed = {n for n, value in agent.policy.named_parameters() if not th.equal(before[n], value)}
    assert changed
    assert all(name.startswith(("cost_mlp", "cost_value_net")) for name in changed)
    assert len(losses) == 2
    assert {"train/cost_value_loss", "train/lagrange_multiplier"} <= set(agent.logger.name_to_value)


def test_what_it_is_given_is_checked() -> None:
    for wrong in ({"cg_damping": -1.0}, {"n_critic_updates": 0}, {"cost_gamma": 2.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            TRPOLag("MlpPolicy", SpeedLimitEnv(), **wrong)
    with pytest.raises(ValueError, match="TRPOLag brings its own rollout buffer"):
        TRPOLag("MlpPolicy", SpeedLimitEnv(), rollout_buffer_kwargs={})
    with pytest.raises(KeyError, match=r"TRPOLag needs one .* use sb3-contrib's TRPO"):
        TRPOLag("MlpPolicy", "CartPole-v1", **SMALL).learn(10)
    for name in PRESETS:
        TRPOLag("MlpPolicy", SpeedLimitEnv(), **trpo_preset(name, device="cpu"))


@pytest.mark.slow  # about 9 s of one core each
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [0, 1])
def test_trpo_lag_reaches_the_constrained_optimum(seed: int) -> None:
    """With sb3-contrib's `target_kl` of 0.01 policy and price are still on their way up by then."""
    look = Rollouts()
    TRPOLag(
        "MlpPolicy", make_vec_env(TradeOff, n_envs=8), cost_limit=LIMIT, seed=seed, n_steps=40,
        batch_size=80, target_kl=0.05, cost_window=32, lagrange_kwargs={"learning_rate": 0.05},
        device="cpu", policy_kwargs={"net_arch": [16], "log_std_init": -1.0},
    ).learn(80 * 320, look)  # fmt: skip
    cost, earned, multiplier, _ = np.mean(look.rows[-20:], 0)
    print(f"seed {seed}: cost {cost:.2f}, return {earned:.2f}, multiplier {multiplier:.2f}")
    assert cost == pytest.approx(LIMIT, abs=0.3)
    assert earned == pytest.approx(BEST_RETURN, abs=0.3)
    assert multiplier == pytest.approx(1.0, abs=0.25)


def test_the_shared_rollouts_say_who_needs_costs() -> None:
    with pytest.raises(KeyError, match=r"PPOLag needs one .* use SB3's PPO"):
        PPOLag("MlpPolicy", "CartPole-v1", **SMALL).learn(10)
