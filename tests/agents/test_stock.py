"""Stock algorithms as rows: where they end on solved tasks, their files, and what they refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from recall import Recall, share_recalled
from speed_limit import SpeedLimit
from stable_baselines3.common.env_util import make_vec_env
from test_exact_resume import assert_equal_files
from test_frame_stack import POLICIES
from test_offline_baselines import SEEN
from test_vehicle_rows import Approach
from tiny_cmdp import TradeOff
from toy_envs import CountingEnv, SpeedLimitEnv
from two_lanes import COSTS, STEPS, TwoLanes, action_values

from vlsafe_agents import DQN, QRDQN, SAC, TRPO, RecurrentPPO
from vlsafe_agents.common.vehicle_policies import VehiclesExtractor
from vlsafe_agents.training import EnvName, TrainSettings, load_agent, train

OWN: dict[str, Any] = {"seed": 0, "device": "cpu"}
REPLAY: dict[str, Any] = {
    "buffer_size": 60,
    "learning_starts": 12,
    "batch_size": 8,
    "train_freq": 1,
}
SMALL: dict[Any, dict[str, Any]] = {
    TRPO: {"n_steps": 10, "batch_size": 10},
    RecurrentPPO: {"n_steps": 10, "batch_size": 10, "n_epochs": 1},
    **dict.fromkeys((DQN, QRDQN, SAC), REPLAY),
}
GAIN = tuple(1.0 - 2.0 * cost for cost in COSTS)  # of a cell in the fast lane, at a price of 2


class Priced(TwoLanes):
    """Two lanes where a unit of cost takes 2 from the reward: the fast lane pays in some cells."""

    def step(self, action: Any) -> Any:
        seen, reward, over, cut, info = super().step(action)
        return seen, reward - 2.0 * info["cost"], over, cut, info


class PricedTradeOff(TradeOff):
    """Reward x - x^2 of ten steps: best at x = 0.5 each, a return of 2.5."""

    def step(self, action: Any) -> Any:
        seen, reward, over, cut, info = super().step(action)
        return seen, reward - info["cost"], over, cut, info


def best_start() -> float:
    """What the best policy earns from the beginning, by backward induction."""
    ahead = np.zeros(2)
    for k in reversed(range(STEPS)):
        changed = 0.8 * (GAIN[k] + ahead[1]), 0.8 * ahead[0] + 0.2 * (GAIN[k] + ahead[1])
        stays = ahead[0], GAIN[k] + ahead[1]
        slow = max(stays[0], changed[0] + 0.2 * ahead[0])
        ahead = np.array([slow, max(stays[1], changed[1])])
    return float(ahead[0])


def start_of(agent: Any) -> float:
    """What an agent's likeliest actions earn from the beginning, exactly."""
    chosen = agent.predict(SEEN, deterministic=True)[0].reshape(STEPS, 2)
    q = action_values(chosen.astype(float), GAIN)[0, 0]
    return float(q[int(chosen[0, 0])])


def test_the_best_policy_is_no_constant_one() -> None:
    fixed = [action_values(np.full((STEPS, 2), one), GAIN)[0, 0][int(one)] for one in (0.0, 1.0)]
    assert best_start() == pytest.approx(1.24, abs=0.01)
    assert max(fixed) < 0.2


@pytest.mark.parametrize(
    ("kind", "steps", "given"),
    [
        (DQN, 2_000, {"learning_rate": 2e-3, "exploration_fraction": 0.5, "batch_size": 64}),
        (QRDQN, 2_000, {"learning_rate": 2e-3, "exploration_fraction": 0.5, "batch_size": 64}),
        (TRPO, 10_000, {"n_steps": 128, "target_kl": 0.05}),
    ],
)
def test_it_ends_at_the_best_policy(kind: Any, steps: int, given: dict[str, Any]) -> None:
    more: dict[str, Any] = {"policy_kwargs": {"net_arch": [32]}, "gamma": 1.0}
    if kind is not TRPO:
        more |= {"target_update_interval": 200, "train_freq": 1, "gradient_steps": 2}
    if kind is QRDQN:
        more["policy_kwargs"] |= {"n_quantiles": 16}
    agent = kind("MlpPolicy", make_vec_env(Priced, 8), **OWN, **more, **given).learn(steps)
    print(f"{kind.__name__}: {start_of(agent):.3f} of {best_start():.3f}")
    assert start_of(agent) > best_start() - 0.1


def test_sac_ends_at_the_best_action() -> None:
    agent = SAC(
        "MlpPolicy", make_vec_env(PricedTradeOff, 4), gamma=0.9, learning_starts=200, ent_coef=0.01,
        learning_rate=3e-3, batch_size=64, policy_kwargs={"net_arch": [32]}, **OWN,
    ).learn(2_000)  # fmt: skip
    seen = np.linspace(0, 0.9, STEPS, dtype=np.float32)[:, None]
    x = agent.predict(seen, deterministic=True)[0]
    print(f"SAC: {x.ravel().round(2)}")
    assert (x - x * x).sum() > 2.4


def test_recurrent_ppo_recalls_what_one_frame_cannot_show() -> None:
    agent = RecurrentPPO(
        "MlpPolicy", make_vec_env(lambda: Recall(1, 2), n_envs=8), n_steps=32, batch_size=64,
        n_epochs=4, learning_rate=1e-2, policy_kwargs={"lstm_hidden_size": 16, "net_arch": [16]},
        **OWN,
    ).learn(3_000)  # fmt: skip
    assert share_recalled(agent, 1) > 0.95
    assert share_recalled(agent, 2) > 0.95


# --- files ----------------------------------------------------------------------------------------


def counting(kind: Any, observation: str = "vector") -> CountingEnv:
    env = CountingEnv(observation=observation, length=7)
    if kind is SAC:
        env.action_space = SpeedLimitEnv(continuous=True).action_space
    return env


@pytest.mark.parametrize("kind", [DQN, QRDQN, SAC, TRPO, RecurrentPPO])
def test_a_checkpoint_goes_on_exactly(kind: Any, tmp_path: Path) -> None:
    def envs() -> Any:
        return make_vec_env(lambda: SpeedLimit(continuous=kind is SAC), 2)

    stops, total = (40, 120) if "buffer_size" in SMALL[kind] else (26, 60), 160
    whole = kind("MlpPolicy", envs(), **OWN, **SMALL[kind])
    done = 0
    for stop in (*stops, total):
        whole.learn(stop - done, reset_num_timesteps=done == 0)
        done = whole.num_timesteps
        if stop in stops:
            whole.save_checkpoint(tmp_path / f"{stop}.zip")
    whole.save(tmp_path / "whole.zip")
    for stop in stops:
        th.manual_seed(stop)
        np.random.seed(stop)  # noqa: NPY002
        parts = kind.load_checkpoint(tmp_path / f"{stop}.zip", envs(), "cpu")
        for until in (*(s for s in stops if s > stop), total):
            parts.learn(until - parts.num_timesteps, reset_num_timesteps=False)
        parts.save(tmp_path / "parts.zip")
        assert_equal_files(tmp_path / "whole.zip", tmp_path / "parts.zip")


@pytest.mark.parametrize("observation", ["image", "multi"])
@pytest.mark.parametrize("kind", [DQN, SAC, TRPO, RecurrentPPO])
def test_it_sees_images_and_several_observations(
    kind: Any, observation: str, tmp_path: Path
) -> None:
    stacked = {} if kind is RecurrentPPO else {"frame_stack": 2}
    env = counting(kind, observation)
    given = {**OWN, **SMALL[kind], "batch_size": 2, **stacked}
    agent = kind(POLICIES[observation], env, **given).learn(14)
    agent.save(tmp_path / "a.zip")
    again = kind.load(tmp_path / "a.zip", device="cpu")
    seen = env.reset()[0]
    expected, found = (a.predict(seen, deterministic=True)[0] for a in (agent, again))
    assert np.array_equal(expected, found)


@pytest.mark.parametrize("kind", [DQN, QRDQN, TRPO, RecurrentPPO])
def test_it_sees_a_set_of_vehicles(kind: Any) -> None:
    agent = kind("MultiInputPolicy", Approach(), **OWN, **SMALL[kind])
    assert any(isinstance(part, VehiclesExtractor) for part in agent.policy.modules())


def test_exploration_is_as_it_was(tmp_path: Path) -> None:
    agent = DQN("MlpPolicy", counting(DQN), exploration_fraction=1.0, **OWN, **REPLAY).learn(20)
    agent.learn(10)
    agent.save(tmp_path / "a.zip")
    assert 0.0 < agent.exploration_rate < 1.0
    assert DQN.load(tmp_path / "a.zip").exploration_rate == agent.exploration_rate


# --- as rows --------------------------------------------------------------------------------------


@pytest.mark.parametrize("algo", ["dqn", "qrdqn", "sac", "trpo", "recurrent_ppo"])
def test_it_is_trained_as_a_row(algo: str, tmp_path: Path) -> None:
    here = EnvName("SpeedLimit-v0", {"continuous": True} if algo == "sac" else {})
    settings = TrainSettings(algo=algo, env=here, observation="vector", steps=64, envs=4)
    facts = train(settings, tmp_path / "a", lambda: SpeedLimit(**here.kwargs))
    assert facts["env_steps"] == 64
    model = load_agent(tmp_path / "a")[0]
    if algo in ("dqn", "qrdqn"):
        assert facts["gradient_steps"] == pytest.approx((64 - 6) / 4, abs=1)
    elif algo == "sac":
        assert facts["gradient_steps"] == pytest.approx(64 - 6, abs=4)
    else:
        assert facts["gradient_steps"] > 0
    assert model.predict(np.zeros(4, np.float32), deterministic=True)[0] is not None


@pytest.mark.parametrize(("envs", "every", "updates"), [(1, 4, 1), (2, 2, 1), (8, 1, 2)])
def test_q_learners_make_an_update_for_four_steps(envs: int, every: int, updates: int) -> None:
    settings = TrainSettings(algo="dqn", env=EnvName("x"), observation="vector", envs=envs)
    found = settings.arguments()
    assert (found["train_freq"], found["gradient_steps"]) == (every, updates)
    assert every * envs == 4 * updates


def test_what_it_is_given_is_checked() -> None:
    with pytest.raises(ValueError, match="DQN learns Discrete actions, not Box"):
        DQN("MlpPolicy", counting(SAC))
    with pytest.raises(ValueError, match="SAC learns Box actions, not Discrete"):
        SAC("MlpPolicy", counting(DQN))
    env = counting(DQN)
    env.action_space = type(env.action_space)(2, start=1)
    with pytest.raises(ValueError, match="QRDQN counts actions from 0, not from 1"):
        QRDQN("MlpPolicy", env)
    with pytest.raises(ValueError, match="leave n_steps out"):
        DQN("MlpPolicy", counting(DQN), n_steps=3)
    for wrong in ({"exploration_fraction": 2.0}, {"target_update_interval": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            DQN("MlpPolicy", counting(DQN), **wrong)
    with pytest.raises(ValueError, match="target_kl"):
        TRPO("MlpPolicy", counting(TRPO), target_kl=-1.0)
    env = counting(TRPO)
    env.action_space = spaces.MultiBinary(2)
    with pytest.raises(ValueError, match="RecurrentPPO does not learn MultiBinary"):
        RecurrentPPO("MlpPolicy", env)
    with pytest.raises(ValueError, match="n_epochs"):
        RecurrentPPO("MlpPolicy", counting(TRPO), n_epochs=0)
