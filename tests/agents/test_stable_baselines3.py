"""What Stable-Baselines3's own tests ask of an algorithm (benchmarks/stable_baselines3_suite)."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.evaluation import evaluate_policy
from tiny_agents import Still, make

from vlsafe_agents import PPOLag, VLSafe
from vlsafe_agents.ppo_lag import CostActorCriticPolicy

LAGRANGIAN: dict[str, Any] = {"update": "lagrangian"}


def test_the_action_of_one_observation_is_an_array() -> None:
    env = gym.make("CartPole-v1")
    agent = make(None, env, safety=None)
    action, _ = agent.predict(env.reset(seed=0)[0], deterministic=True)
    assert isinstance(action, np.ndarray)
    assert action.shape == env.action_space.shape
    assert env.action_space.contains(action)


# --- parameters -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["plain", "pid"])
def test_a_state_dict_holds_tensors_and_the_multiplier_among_them(kind: str) -> None:
    agent = make(None, **LAGRANGIAN, config={"multiplier": {"kind": kind}})
    multiplier = agent.policy.actor_critic.multiplier
    assert multiplier is not None
    multiplier.update(5.0)
    state = agent.policy.state_dict()
    assert all(isinstance(value, torch.Tensor) for value in state.values())
    other = make(None, **LAGRANGIAN, config={"multiplier": {"kind": kind}})
    other.policy.load_state_dict(state)
    assert other.policy.actor_critic.multiplier is not None
    assert other.policy.actor_critic.multiplier.state_dict() == multiplier.state_dict()
    assert multiplier.value > 0


def test_the_multiplier_of_files_up_to_november_2026_is_read() -> None:
    agent = make(None, **LAGRANGIAN)
    agent.policy.actor_critic.set_extra_state({"value": torch.tensor(0.25)})
    assert agent.policy.actor_critic.multiplier is not None
    assert agent.policy.actor_critic.multiplier.value == 0.25


def test_no_entry_of_the_parameters_may_be_missing() -> None:
    agent = make(None, **LAGRANGIAN)
    parameters = agent.get_parameters()
    for name in parameters["policy"]:
        rest = {key: value for key, value in parameters["policy"].items() if key != name}
        with pytest.raises(RuntimeError, match="Missing key"):
            agent.set_parameters({**parameters, "policy": rest}, exact_match=True)


# --- words ----------------------------------------------------------------------------------------


def test_a_frequency_in_steps_is_a_number_of_steps() -> None:
    assert make(None, train_freq=(4, "step")).train_freq == 4
    with pytest.raises(ValueError, match="end of an episode"):
        make(None, train_freq=(1, "episode"))


def test_callbacks_can_read_settings_by_their_names() -> None:
    words = {"gamma": 0.5, "batch_size": 3, "buffer_size": 700, "learning_starts": 9}
    agent = make(None, learning_rate=2e-3, **words)
    assert {name: getattr(agent, name) for name in words} == words
    assert agent.learning_rate == 2e-3


def test_policy_kwargs_may_be_said_again_on_loading(tmp_path: Path) -> None:
    make(None, policy_kwargs={"net_arch": [16]}).save(tmp_path / "agent")
    same = VLSafe.load(tmp_path / "agent", policy_kwargs={"net_arch": [16]})
    assert same.config.network.units == 16
    with pytest.raises(ValueError, match="cannot be changed on loading"):
        VLSafe.load(tmp_path / "agent", policy_kwargs={"net_arch": [8]})


def test_what_is_included_is_not_excluded(tmp_path: Path) -> None:
    make(None, verbose=2).save(tmp_path / "agent", exclude=["verbose"], include=["verbose"])
    assert VLSafe.load(tmp_path / "agent").verbose == 2


def test_custom_objects_that_no_file_holds_are_passed_over(tmp_path: Path) -> None:
    PPOLag("MlpPolicy", Still(spaces.Box(-1, 1, (2,)))).save(tmp_path / "agent")
    custom = {"learning_rate": 2e-5, "lr_schedule": lambda _: 0.0}
    with pytest.warns(UserWarning, match="lr_schedule, which no PPOLag file holds"):
        again = PPOLag.load(tmp_path / "agent", custom_objects=custom)
    assert again.learning_rate == 2e-5
    with pytest.raises(TypeError, match="lr_schedule"):
        PPOLag.load(tmp_path / "agent", lr_schedule=lambda _: 0.0)


def test_small_networks_are_advised_against_a_gpu() -> None:
    agent = PPOLag("MlpPolicy", Still(spaces.Box(-1, 1, (2,))), device="cpu")
    agent.device = torch.device("cuda")
    with pytest.warns(UserWarning, match="on the GPU"):
        agent._maybe_recommend_cpu()


class Constant(CostActorCriticPolicy):
    """A policy of a user's own, whose critic always says 7."""

    def forward(self, obs: Any, deterministic: bool = False) -> Any:
        actions, values, log_prob = super().forward(obs, deterministic)
        return actions, torch.full_like(values, 7.0), log_prob

    def evaluate_actions(self, obs: Any, actions: Any) -> Any:
        values, log_prob, entropy = super().evaluate_actions(obs, actions)
        return 0 * values + 7.0, log_prob, entropy


def test_what_a_policy_of_ones_own_says_holds() -> None:
    agent = PPOLag(Constant, Still(spaces.Box(-1, 1, (2,))), device="cpu")
    obs, _ = agent.policy.obs_to_tensor(np.zeros((3, 2), np.float32))
    actions, values, cost_values, log_prob = agent.policy.forward_with_cost(obs)
    assert (values == 7.0).all()
    assert torch.equal(cost_values, agent.policy.predict_cost_values(obs))
    again = agent.policy.evaluate_actions_with_cost(obs, actions)
    assert (again[0] == 7.0).all()
    assert torch.equal(again[1], cost_values)
    assert torch.allclose(again[2], log_prob)


# --- the replay -----------------------------------------------------------------------------------


def test_a_replay_is_there_before_anything_was_driven(tmp_path: Path) -> None:
    agent = make(None)
    agent.save_replay_buffer(tmp_path / "replay")
    agent.load_replay_buffer(str(tmp_path / "replay"))
    assert agent.replay_buffer is not None
    assert agent.replay_buffer.num_rows == 0


def test_a_replay_goes_into_a_file_that_is_open() -> None:
    agent = make(None, **LAGRANGIAN).learn(30)
    file = io.BytesIO()
    agent.save_replay_buffer(file)
    file.seek(0)
    other = make(None, **LAGRANGIAN)
    other.load_replay_buffer(file)
    assert other.replay_buffer is not None
    assert other.replay_buffer.num_steps == 30
    with pytest.raises(ValueError, match="the given file cannot be read as a replay"):
        other.load_replay_buffer(io.BytesIO(b"PK"))


# --- observations that count ----------------------------------------------------------------------

COUNTED = spaces.Dict(
    {
        "gear": spaces.Discrete(4, start=-1),
        "lamps": spaces.MultiBinary((2, 3)),
        "lanes": spaces.MultiDiscrete([3, 2], start=[0, 5]),
        "speed": spaces.Box(-1, 1, (2,), np.float32),
    }
)


@pytest.mark.parametrize("space", [COUNTED, *list(COUNTED.values())[:3]], ids=lambda s: str(s)[:9])
def test_it_drives_by_observations_that_count(space: Any, tmp_path: Path) -> None:
    env = Still(space)
    env.observation_space.seed(0)
    words: dict[str, Any] = {"safety": None, "learning_starts": 20, "train_freq": 8}
    agent = VLSafe("MultiInputPolicy", env, preset="debug", **words).learn(60)
    assert agent._n_updates > 0
    observation = space.sample()
    action, _ = agent.predict(observation, deterministic=True)
    assert env.action_space.contains(action)
    agent.save(tmp_path / "agent")
    again = VLSafe.load(tmp_path / "agent", env=env)
    assert (again.predict(observation, deterministic=True)[0] == action).all()
    evaluate_policy(again, env, 2, warn=False)
