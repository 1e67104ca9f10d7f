"""SAC-Lag: its losses in NumPy, its replay's costs, and where it ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from numpy_weights import close, numbers, randomise
from speed_limit import SpeedLimit
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize
from test_exact_resume import assert_equal_files
from tiny_cmdp import BEST_RETURN, LIMIT, STEPS, TradeOff
from toy_envs import CountingEnv, SpeedLimitEnv

from vlsafe_agents import SACLag
from vlsafe_agents.common.running import NotExactWarning
from vlsafe_agents.sac_lag.sac_lag import actor_loss

SMALL: dict[str, Any] = {
    "buffer_size": 60,
    "learning_starts": 12,
    "batch_size": 8,
    "seed": 0,
    "device": "cpu",
    "policy_kwargs": {"net_arch": [16]},
}


class Counting(CountingEnv):
    """Reward t, cost 10 t after t steps, for actions of a `Box`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.action_space = SpeedLimitEnv(continuous=True).action_space


def test_the_actors_loss_is_written_out() -> None:
    q, cost, log_prob = [1.0, -2.0], [0.5, 3.0], [-0.7, 0.4]
    expected = [0.2 * p - (a - 1.5 * b) / 2.5 for a, b, p in zip(q, cost, log_prob, strict=True)]
    columns = (th.tensor(x).reshape(-1, 1) for x in (q, cost, log_prob))
    found = actor_loss(*columns, th.tensor(0.2), 1.5)
    assert found.item() == pytest.approx(sum(expected) / 2)


def test_targets_from_its_networks_on() -> None:
    agent = SACLag("MlpPolicy", Counting(ends="terminated"), gamma=0.9, cost_gamma=0.8, **SMALL)
    agent.learn(30)
    for net in (agent.critic_target, agent.cost_critic_target):
        randomise(net, 0.3)
    assert agent.replay_buffer is not None
    batch: Any = agent.replay_buffer.sample(16)
    th.manual_seed(3)
    with th.no_grad():
        actions, log_prob = agent.actor.action_log_prob(batch.next_observations)
        slow = [numbers(q)[:, 0] for q in agent.critic_target(batch.next_observations, actions)]
        cost = numbers(agent.cost_critic_target(batch.next_observations, actions)[0])[:, 0]
    log_prob, done = numbers(log_prob), numbers(batch.dones)[:, 0]
    reward, paid = numbers(batch.rewards)[:, 0], numbers(batch.costs)[:, 0]
    assert 0 < done.sum() < 16
    expected = [
        [reward[i] + 0.9 * (1 - done[i]) * (min(slow[0][i], slow[1][i]) - 0.3 * log_prob[i])]
        for i in range(16)
    ]
    expected_cost = [[paid[i] + 0.8 * (1 - done[i]) * cost[i]] for i in range(16)]
    th.manual_seed(3)
    target, cost_target = agent._targets(batch, th.tensor(0.3))
    close(target, expected)
    close(cost_target, expected_cost)


@pytest.mark.parametrize("observation", ["vector", "multi"])
def test_costs_belong_to_their_steps(observation: str) -> None:
    env = make_vec_env(lambda: Counting(observation=observation), 3)
    policy = {"vector": "MlpPolicy", "multi": "MultiInputPolicy"}[observation]
    agent = SACLag(policy, env, **SMALL | {"learning_starts": 1_000}).learn(90)
    replay = agent.replay_buffer
    assert replay is not None
    assert replay.full
    assert np.array_equal(replay.costs, 10 * replay.rewards)
    batch: Any = replay.sample(200)
    seen, after = batch.observations, batch.next_observations
    if observation == "multi":
        seen, after = seen["vector"], after["vector"]
    assert th.equal(after[:, :1], seen[:, :1] + 1)  # the last observation of an episode too
    assert th.equal(batch.costs, 10 * batch.rewards)
    assert th.equal(batch.rewards, after[:, :1])
    assert not batch.dones.any(), "time-outs are bootstrapped"


def test_the_multiplier_steps_by_the_mean_of_episodes_by_hand() -> None:
    agent = SACLag(
        "MlpPolicy", Counting(length=3), cost_limit=40.0, multiplier_interval=5, cost_window=2,
        lagrange_kwargs={"learning_rate": 0.01}, **SMALL,
    ).learn(20)  # fmt: skip
    # episodes cost 10 + 20 + 30; steps 5 and 10 come before learning_starts, 15 and 20 count
    assert agent.lagrange_multiplier == pytest.approx(2 * 0.01 * (60 - 40))
    assert agent.collisions_caused == 0
    assert agent.logger.name_to_value["train/lagrange_multiplier"] == agent.lagrange_multiplier
    assert agent.logger.name_to_value["rollout/ep_cost_mean"] == 60.0


def continuous() -> Any:
    return make_vec_env(lambda: SpeedLimit(continuous=True), 2)


def test_a_checkpoint_goes_on_exactly_when_the_replay_has_gone_round(tmp_path: Path) -> None:
    """The replay is full after 60 steps; checkpoints before learning, before that and after it."""
    given: dict[str, Any] = {**SMALL, "multiplier_interval": 10, "cost_limit": 0.1}
    whole = SACLag("MlpPolicy", continuous(), **given)
    stops = (8, 40, 120)
    done = 0
    for stop in (*stops, 160):
        whole.learn(stop - done, reset_num_timesteps=done == 0)
        done = stop
        if stop in stops:
            whole.save_checkpoint(tmp_path / f"{stop}.zip")
    whole.save(tmp_path / "whole.zip")
    for stop in stops:
        th.manual_seed(stop)
        np.random.seed(stop)  # noqa: NPY002
        parts = SACLag.load_checkpoint(tmp_path / f"{stop}.zip", continuous(), "cpu")
        parts.learn(160 - stop, reset_num_timesteps=False)
        parts.save(tmp_path / "parts.zip")
        assert_equal_files(tmp_path / "whole.zip", tmp_path / "parts.zip")
        assert parts.replay_buffer is not None
        assert whole.replay_buffer is not None
        for (name, mine), (_, other) in zip(
            parts.replay_buffer._named(), whole.replay_buffer._named(), strict=True
        ):
            assert np.array_equal(mine, other), name
    alone = SACLag.load(tmp_path / "120.zip", env=continuous(), device="cpu")
    with pytest.warns(NotExactWarning, match="its replay is not here"):
        alone.learn(4, reset_num_timesteps=False)


@pytest.mark.parametrize(
    ("policy", "observation"), [("CnnPolicy", "image"), ("MultiInputPolicy", "multi")]
)
def test_it_sees_images_and_several_observations(
    policy: str, observation: str, tmp_path: Path
) -> None:
    frames = 2 if observation == "image" else 1
    env = Counting(observation=observation)
    agent = SACLag(policy, env, frame_stack=frames, **SMALL | {"batch_size": 2}).learn(14)
    agent.save(tmp_path / "a.zip")
    again = SACLag.load(tmp_path / "a.zip", device="cpu")
    seen = env.reset()[0]
    expected, found = (a.predict(seen, deterministic=True)[0] for a in (agent, again))
    assert np.array_equal(expected, found)


def test_what_it_is_given_is_checked() -> None:
    for wrong in ({"tau": 2.0}, {"batch_size": 0}, {"multiplier_interval": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            SACLag("MlpPolicy", Counting(), **wrong)
    with pytest.raises(ValueError, match="SACLag learns Box actions, not Discrete"):
        SACLag("MlpPolicy", CountingEnv(), **SMALL)
    refused: dict[str, Any] = {"n_steps": 3}
    with pytest.raises(ValueError, match="leave n_steps out"):
        SACLag("MlpPolicy", Counting(), **refused)
    with pytest.raises(KeyError, match=r"SACLag needs one .* use SB3's SAC"):
        SACLag("MlpPolicy", "Pendulum-v1", **SMALL).learn(3)
    normalised = VecNormalize(make_vec_env(Counting, 1))
    with pytest.raises(ValueError, match="leave VecNormalize out"):
        SACLag("MlpPolicy", normalised, **SMALL).learn(3)


@pytest.mark.slow  # about 60 s of one core
@pytest.mark.timeout(1800)
def test_sac_lag_reaches_the_constrained_optimum() -> None:
    agent = SACLag(
        "MlpPolicy", make_vec_env(TradeOff, 4), cost_limit=LIMIT, gamma=1.0, seed=0, device="cpu",
        buffer_size=8_000, learning_starts=400, batch_size=64, learning_rate=2e-3, tau=0.02,
        ent_coef=0.005, multiplier_interval=200, lagrange_kwargs={"learning_rate": 0.03},
        policy_kwargs={"net_arch": [32, 32]},
    ).learn(24_000)  # fmt: skip
    cost, earned = _drive(agent, 100)
    print(f"SAC-Lag: cost {cost:.2f}, return {earned:.2f}, multiplier "
          f"{agent.lagrange_multiplier:.2f}")  # fmt: skip
    assert cost == pytest.approx(LIMIT, abs=0.5)
    assert earned == pytest.approx(BEST_RETURN, abs=0.5)
    assert agent.lagrange_multiplier == pytest.approx(1.0, abs=0.3)


def _drive(agent: Any, episodes: int) -> tuple[float, float]:
    """Mean cost and return of sampled actions."""
    seen, cost, earned = np.zeros((episodes, 1), np.float32), 0.0, 0.0
    for step in range(STEPS):
        x = np.clip(agent.predict(seen)[0][:, 0], 0, 1)
        cost, earned = cost + float((x * x).mean()), earned + float(x.mean())
        seen[:] = (step + 1) / STEPS
    return cost, earned
