"""Actions of several parts, such as acceleration and steering: `VLSafe` on `MultiDiscrete`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from speed_limit import SpeedLimit, record
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from tiny_agents import VECTOR, make
from toy_drives import MIX, CountingDriver, NoisyCountingEnv

from vlsafe_agents import VLSafe
from vlsafe_agents.common.agent_file import space_from_json, space_to_json
from vlsafe_agents.data.collect import CollectConfig, collect
from vlsafe_agents.data.dataset import EpisodeDataset
from vlsafe_agents.data.episode import Episode
from vlsafe_agents.vlsafe.actions import action_kind

SPACE = spaces.MultiDiscrete([3, 2], start=[-1, 5])


class TwoParts(SpeedLimit):
    """The change of speed, -1 to 1, and a lamp, 5 or 6, that nothing depends on."""

    def __init__(self) -> None:
        super().__init__()
        self.action_space = SPACE

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action), action
        return super().step(int(action[0]) + 1)


@pytest.fixture(scope="module")
def dataset() -> EpisodeDataset:
    rng = np.random.default_rng(0)
    episodes = [
        Episode(
            e.obs,
            np.stack([e.action - 1, rng.integers(5, 7, len(e.action))], 1),
            e.reward,
            e.env_cost,
            e.terminated,
            safety_score=e.safety_score,
        )
        for e in record(30).episodes
    ]
    return EpisodeDataset.from_arrays(episodes, VECTOR, SPACE)


def test_every_combination_has_one_vector_and_back() -> None:
    kind = action_kind(SPACE)
    actions = np.array([[a, b] for a in (-1, 0, 1) for b in (5, 6)])
    vectors = kind.vector(torch.as_tensor(actions))
    assert torch.equal(vectors, torch.eye(6))
    assert np.array_equal(kind.to_env(vectors.numpy()), actions)
    assert all(SPACE.contains(action) for action in kind.to_env(vectors.numpy()))


@pytest.mark.parametrize("update", ["gated", "lagrangian"])
def test_an_agent_learns_is_saved_and_acts_as_before(
    update: str, dataset: EpisodeDataset, tmp_path: Path
) -> None:
    agent = make(dataset, TwoParts(), update=update, config={"critic_warmup": 0.0}).learn(8)
    evaluate_policy(agent, Monitor(TwoParts()), n_eval_episodes=1)
    agent.save(tmp_path / "agent.zip")
    again = VLSafe.load(tmp_path / "agent.zip", device="cpu", dataset=dataset)
    obs = np.random.default_rng(1).normal(size=(20, 4)).astype(np.float32)
    actions = agent.predict(obs, deterministic=True)[0]
    assert actions.shape == (20, 2)
    assert np.array_equal(actions, again.predict(obs, deterministic=True)[0])
    again.learn(1, reset_num_timesteps=False)


def test_the_prior_learns_what_each_part_did(dataset: EpisodeDataset) -> None:
    """The lamp is a coin toss, the speed is not: cloning tells them apart."""
    config = {"model_warmup": 1.0, "train": {"learning_rate": 3e-3, "batch_size": 16}}
    agent = make(dataset, TwoParts(), config=config).learn(100)
    obs = np.tile(np.array([[-1.0, 1.0, 1.0, -1.0]], np.float32), (400, 1))  # slow, limit is high
    torch.manual_seed(0)
    actions = agent.predict(obs)[0]
    assert (actions[:, 0] == 1).mean() > 0.6
    assert (actions[:, 1] == 6).mean() == pytest.approx(0.5, abs=0.2)


def test_the_space_is_stored_as_text() -> None:
    assert space_from_json(space_to_json(SPACE)) == SPACE


class CountingParts(NoisyCountingEnv):
    def __init__(self) -> None:
        super().__init__()
        self.action_space = SPACE

    def step(self, action: Any) -> Any:
        return super().step(int(action[0]) % 3)


class PartsDriver(CountingDriver):
    def act(self) -> Any:
        return np.array([super().act() - 1, 6])


def test_drives_are_recorded_and_read_back(tmp_path: Path) -> None:
    config = CollectConfig("Toy-v0", mix=MIX, steps=20)
    found = collect(config, tmp_path, CountingParts, PartsDriver, progress=False)
    drives = EpisodeDataset.from_minari(found.path, cost="env")
    assert drives.action_space == SPACE
    actions = np.concatenate([episode.action for episode in drives.episodes])
    assert actions.dtype == np.int64
    assert set(actions[:, 0]) == {-1, 0, 1}
    assert set(actions[:, 1]) == {6}
