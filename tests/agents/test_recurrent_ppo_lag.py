"""PPO-Lag with a memory: the same objective as PPO-Lag's, on states that are carried along."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from test_frame_stack import POLICIES, Recall
from toy_envs import CountingEnv

from vlsafe_agents import PPOLag, RecurrentPPOLag
from vlsafe_agents.evaluation import evaluate

SMALL: dict[str, Any] = {
    "n_steps": 10,
    "batch_size": 7,
    "n_epochs": 1,
    "seed": 0,
    "device": "cpu",
    "policy_kwargs": {"lstm_hidden_size": 8, "net_arch": [8]},
}


class Check(BaseCallback):
    """Compares the buffer's minibatches with what was stored, before anything is learned."""

    def _on_rollout_end(self) -> None:
        model: Any = self.model
        buffer = model.rollout_buffer
        stored = {name: getattr(buffer, name).copy() for name in ("log_probs", "cost_values")}
        self.seen = []
        for batch in buffer.get(7):
            actions = batch.actions.long().flatten()
            with th.no_grad():
                values, cost_values, log_prob, entropy = model._evaluate(batch, actions)
            assert len(values) == len(batch.old_values) == int(batch.mask.sum())
            # the weights are those of the rollout, so that all must come out as it was
            assert th.allclose(values, batch.old_values, atol=1e-5)
            assert th.allclose(cost_values, batch.old_cost_values, atol=1e-5)
            assert th.allclose(log_prob, batch.old_log_prob, atol=1e-5)
            assert entropy is not None
            self.seen += batch.old_log_prob.tolist()
        assert sorted(self.seen) == pytest.approx(sorted(stored["log_probs"].ravel().tolist()))

    def _on_step(self) -> bool:
        return True


@pytest.mark.parametrize("observation", ["vector", "image", "multi"])
def test_minibatches_of_sequences_give_what_the_rollout_gave(observation: str) -> None:
    env = make_vec_env(lambda: CountingEnv(length=4, observation=observation), n_envs=3)
    check = Check()
    RecurrentPPOLag(POLICIES[observation], env, **SMALL).learn(60, check)
    assert len(check.seen) == 30


class CheckAdvantages(BaseCallback):
    """Compares what the buffer has made of a rollout with the definition, episode by episode."""

    def _on_rollout_end(self) -> None:
        buffer: Any = self.model.rollout_buffer  # type: ignore[attr-defined]
        after, dones = self.locals["new_obs"], self.locals["dones"]
        values = self.model._values(th.as_tensor(after), dones, slice(None))  # type: ignore[attr-defined]
        self.checked = 0
        for signal, value, advantage, last, gamma, lam in (
            (buffer.rewards, buffer.values, buffer.advantages, values[0], 0.9, 0.7),
            (buffer.costs, buffer.cost_values, buffer.cost_advantages, values[1], 0.8, 0.6),
        ):
            steps, envs = signal.shape
            for env in range(envs):
                starts = [*np.flatnonzero(buffer.episode_starts[:, env]), steps]
                for begin, end in pairwise(sorted({0, *starts})):
                    ahead = np.append(value[begin:end, env], 0.0)
                    if end == steps and not dones[env]:
                        ahead[-1] = last[env].item()
                    deltas = signal[begin:end, env] + gamma * ahead[1:] - ahead[:-1]
                    for t in range(end - begin):
                        weights = (gamma * lam) ** np.arange(end - begin - t)
                        expected = (weights * deltas[t:]).sum()
                        assert advantage[begin + t, env] == pytest.approx(expected, abs=1e-4)
                        self.checked += 1

    def _on_step(self) -> bool:
        return True


def test_advantages_are_those_of_the_definition() -> None:
    """Sums of discounted temporal differences (Schulman et al. 2016, eq. 16), written out."""
    env = make_vec_env(lambda: CountingEnv(length=4), n_envs=2)
    check = CheckAdvantages()
    given = {**SMALL, "gamma": 0.9, "gae_lambda": 0.7, "cost_gamma": 0.8, "cost_gae_lambda": 0.6}
    RecurrentPPOLag("MlpPolicy", env, **given).learn(40, check)
    assert check.checked == 40


class Acts(CountingEnv):
    """Any space of actions, which must be met."""

    def __init__(self, space: Any) -> None:
        super().__init__(length=4)
        self.action_space = space

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action)
        return super().step(0)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(-1.0, 1.0, (2, 2)),
        spaces.MultiDiscrete([2, 3], start=[1, 0]),
        spaces.MultiBinary(3),
    ],
    ids=str,
)
def test_it_learns_all_kinds_of_actions(space: Any) -> None:
    agent = RecurrentPPOLag("MlpPolicy", make_vec_env(lambda: Acts(space), 2), **SMALL).learn(20)
    action = agent.predict(np.zeros(3, np.float32))[0]
    assert space.contains(action)


class Counted(CountingEnv):
    """The observation is counted in two parts."""

    def __init__(self) -> None:
        super().__init__(length=4)
        self.observation_space = spaces.MultiDiscrete([3, 2])

    def reset(self, **kwargs: Any) -> Any:
        return np.array([1, 0]), super().reset(**kwargs)[1]

    def step(self, action: Any) -> Any:
        _, *rest = super().step(action)
        return np.array([2, 1]), *rest


def test_it_sees_counted_observations() -> None:
    agent = RecurrentPPOLag("MlpPolicy", make_vec_env(Counted, 2), **SMALL).learn(20)
    assert agent.predict(np.array([2, 1]))[0] in (0, 1)


@pytest.mark.parametrize("shared", [True, False])
def test_the_critics_memory_may_be_shared_and_the_extractor_may_not(shared: bool) -> None:
    kwargs = {"lstm_hidden_size": 8, "net_arch": [8], "share_features_extractor": shared}
    if shared:
        kwargs |= {"shared_lstm": True, "enable_critic_lstm": False}
    env = make_vec_env(lambda: CountingEnv(length=4), n_envs=2)
    check = Check()
    agent = RecurrentPPOLag("MlpPolicy", env, **{**SMALL, "policy_kwargs": kwargs})
    before = agent.policy.cost_value_net.weight.detach().clone()
    agent.learn(20, check)
    assert not th.equal(before, agent.policy.cost_value_net.weight)


def test_a_time_out_is_bootstrapped_with_the_states_of_its_environment() -> None:
    env = make_vec_env(lambda: CountingEnv(length=4), n_envs=2)
    agent = RecurrentPPOLag("MlpPolicy", env, cost_gamma=0.5, **SMALL)
    agent.learn(2 * 10)
    buffer = agent.rollout_buffer
    costs = buffer.costs.reshape(10, 2)
    assert costs[0, 0] == 10.0
    assert costs[3, 0] != 40.0  # 40 and half of what the critic expects
    assert agent.multiplier.value > 0.0


def test_it_is_saved_and_goes_on(tmp_path: Any) -> None:
    agent = RecurrentPPOLag("MlpPolicy", CountingEnv(), **SMALL).learn(20)
    agent.save(tmp_path / "a.zip")
    again = RecurrentPPOLag.load(tmp_path / "a.zip", env=CountingEnv(), device="cpu")
    states: list[Any] = [None, None]
    for value in range(4):
        obs, start = np.full(3, value, np.float32), np.array([value == 2])
        answers = []
        for n, one in enumerate((agent, again)):
            action, states[n] = one.predict(obs, states[n], start, deterministic=True)
            answers.append(action)
        assert answers[0] == answers[1]
    assert np.array_equal(states[0][0], states[1][0])
    again.learn(20, reset_num_timesteps=False)
    assert again.num_timesteps == 40
    again.set_env(make_vec_env(CountingEnv, n_envs=1))
    again.learn(10)


def test_what_has_no_memory_or_two_is_refused() -> None:
    with pytest.raises(ValueError, match="leave frame_stack out"):
        RecurrentPPOLag("MlpPolicy", CountingEnv(), frame_stack=2)
    with pytest.raises(ValueError, match="no memory"):
        RecurrentPPOLag(PPOLag.policy_aliases["MlpPolicy"], CountingEnv())  # type: ignore[arg-type]


def test_an_observation_with_its_infos_is_refused() -> None:
    env = CountingEnv()
    with pytest.raises(ValueError, match="a pair with infos"):
        RecurrentPPOLag("MlpPolicy", env, **SMALL).predict(env.reset())  # type: ignore[arg-type]


@pytest.mark.slow  # half a minute of one core
def test_it_recalls_what_ppo_lag_cannot() -> None:
    earned = {}
    for kind in (PPOLag, RecurrentPPOLag):
        kwargs = {"net_arch": [16]} | ({} if kind is PPOLag else {"lstm_hidden_size": 16})
        agent = kind(
            "MlpPolicy", make_vec_env(Recall, n_envs=8), n_steps=32, batch_size=64, n_epochs=4,
            learning_rate=1e-2, seed=0, device="cpu", policy_kwargs=kwargs,
        ).learn(6_000)  # fmt: skip
        earned[kind] = evaluate(agent, Recall, range(40)).summary["return"]["mean"]
    assert earned[PPOLag] < 0.8
    assert earned[RecurrentPPOLag] > 0.95


def test_a_run_that_goes_on_equals_one_that_was_not_stopped(tmp_path: Any) -> None:
    def make() -> RecurrentPPOLag:
        env = make_vec_env(lambda: CountingEnv(length=7), n_envs=2)
        return RecurrentPPOLag("MlpPolicy", env, **SMALL)

    whole = make().learn(20).learn(20, reset_num_timesteps=False)  # stops within an episode
    first = make().learn(20)
    first.save(tmp_path / "a.zip")
    env = make_vec_env(lambda: CountingEnv(length=7), n_envs=2)
    again = RecurrentPPOLag.load(tmp_path / "a.zip", env=env, device="cpu")
    again.learn(20, reset_num_timesteps=False)
    assert again.num_timesteps == whole.num_timesteps
    for a, b in zip(whole.policy.parameters(), again.policy.parameters(), strict=True):
        assert th.equal(a, b)
