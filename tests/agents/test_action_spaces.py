"""`VLSafe` in every kind of action space: it learns, acts, is saved and read again."""

from __future__ import annotations

import json
import zipfile
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
from vlsafe_agents.vlsafe.policies import VLSafePolicy

SPACES: dict[str, Any] = {
    "discrete from -1": spaces.Discrete(3, start=-1),
    "discrete from 4": spaces.Discrete(3, start=4),
    "multi-binary": spaces.MultiBinary(2),
    "multi-binary of two axes": spaces.MultiBinary((1, 2)),
    "multi-discrete of two axes": spaces.MultiDiscrete([[3, 2]]),
    "wide box": spaces.Box(-5.0, 5.0, (1,), np.float32),
    "box of two axes": spaces.Box(-0.1, 0.3, (2, 1), np.float64),
}


def actions_in(space: Any, index: np.ndarray) -> np.ndarray:
    """Brake, keep, accelerate ``(T,)`` as actions of a space."""
    if isinstance(space, spaces.Discrete):
        return index + space.start
    if isinstance(space, spaces.MultiBinary):
        return np.stack([index > 0, index > 1], -1).reshape(-1, *space.shape)
    if isinstance(space, spaces.MultiDiscrete):
        return np.stack([index, index % 2], -1).reshape(-1, *space.shape)
    share = index.reshape(-1, *(1 for _ in space.shape)) / 2
    return (space.low + share * (space.high - space.low)).astype(space.dtype)


class Any3(SpeedLimit):
    """Brake, keep, accelerate as actions of a space."""

    def __init__(self, space: Any) -> None:
        super().__init__()
        self.action_space = space

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action), action
        every = actions_in(self.action_space, np.arange(3)).reshape(3, -1).astype(float)
        distance = np.abs(every - np.asarray(action, float).reshape(1, -1)).sum(-1)
        return super().step(int(distance.argmin()))


@pytest.fixture(scope="module", params=SPACES)
def space(request: pytest.FixtureRequest) -> Any:
    return SPACES[request.param]


@pytest.fixture(scope="module")
def dataset(space: Any) -> EpisodeDataset:
    return dataset_in(space)


def dataset_in(space: Any) -> EpisodeDataset:
    episodes = [
        Episode(
            e.obs,
            actions_in(space, e.action),
            e.reward,
            e.env_cost,
            e.terminated,
            safety_score=e.safety_score,
        )
        for e in record(20).episodes
    ]
    return EpisodeDataset.from_arrays(episodes, VECTOR, space)


def test_an_agent_learns_acts_is_saved_and_acts_as_before(
    space: Any, dataset: EpisodeDataset, tmp_path: Path
) -> None:
    agent = make(dataset, Any3(space), config={"critic_warmup": 0.0}).learn(6)
    evaluate_policy(agent, Monitor(Any3(space)), n_eval_episodes=1)
    evaluate_policy(agent, Monitor(Any3(space)), n_eval_episodes=1, deterministic=False)
    agent.save(tmp_path / "agent.zip")
    agent.policy.save(str(tmp_path / "policy.pt"))
    again = VLSafe.load(tmp_path / "agent.zip", device="cpu", dataset=dataset)
    policy = VLSafePolicy.load(str(tmp_path / "policy.pt"), device="cpu")
    obs = np.random.default_rng(1).normal(size=(20, 4)).astype(np.float32)
    actions = agent.predict(obs, deterministic=True)[0]
    assert actions.shape == (20, *space.shape)
    assert all(space.contains(action) for action in actions)
    assert np.array_equal(actions, again.predict(obs, deterministic=True)[0])
    assert np.array_equal(actions, policy.predict(obs, deterministic=True)[0])
    again.learn(1, reset_num_timesteps=False)


def test_the_space_is_stored_as_text(space: Any) -> None:
    assert space_from_json(json.loads(json.dumps(space_to_json(space)))) == space


@pytest.mark.parametrize("name", ["discrete from -1", "multi-binary", "box of two axes"])
def test_drives_are_recorded_and_read_back(name: str, tmp_path: Path) -> None:
    space = SPACES[name]

    class Env(NoisyCountingEnv):
        def __init__(self) -> None:
            super().__init__()
            self.action_space = space

        def step(self, action: Any) -> Any:
            return super().step(0)

    class Driver(CountingDriver):
        def act(self) -> Any:
            action = actions_in(space, np.array([super().act()]))[0]
            return action.astype(space.dtype) if space.shape else int(action)

    config = CollectConfig("Toy-v0", mix=MIX, steps=20)
    found = collect(config, tmp_path, Env, Driver, progress=False)
    drives = EpisodeDataset.from_minari(found.path, cost="env")
    assert drives.action_space == space
    actions = np.concatenate([episode.action for episode in drives.episodes])
    assert {a.tobytes() for a in actions} == {
        a.astype(actions.dtype).tobytes() for a in actions_in(space, np.arange(3))
    }


def test_the_prior_tells_states_apart_by_what_was_done_in_them() -> None:
    """Careful drivers accelerate where they are slow below a high limit, and brake above one."""
    space = SPACES["wide box"]
    config = {"model_warmup": 1.0, "train": {"learning_rate": 3e-3, "batch_size": 16}}
    agent = make(dataset_in(space), Any3(space), config=config).learn(160)
    slow, fast = [-1.0, 1.0, 1.0, -1.0], [1.0, -1.0, -1.0, -1.0]
    means = [
        agent.predict(np.tile(np.array([obs], np.float32), (200, 1)))[0].mean()
        for obs in (slow, fast)
    ]
    assert means[0] > means[1] + 1.0


# --- agents of before -----------------------------------------------------------------------------


def test_an_agent_that_saw_unscaled_actions_is_refused_with_a_remedy(tmp_path: Path) -> None:
    env = SpeedLimit(continuous=True)
    agent = make(record(10, continuous=True), env).learn(2)
    agent.save(tmp_path / "agent.zip")
    with zipfile.ZipFile(tmp_path / "agent.zip") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    data = json.loads(parts["data"])
    del data["state"]["action_units"]
    parts["data"] = json.dumps(data).encode()
    with zipfile.ZipFile(tmp_path / "old.zip", "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    with pytest.raises(ValueError, match=r"old\.zip.*not scaled.*train it again"):
        VLSafe.load(tmp_path / "old.zip", device="cpu")
    VLSafe.load(tmp_path / "agent.zip", device="cpu")


def test_a_policy_that_saw_unscaled_actions_is_refused_with_a_remedy(tmp_path: Path) -> None:
    agent = make(record(10, continuous=True), SpeedLimit(continuous=True))
    path = tmp_path / "policy.pt"
    agent.policy.save(str(path))
    stored = torch.load(path, weights_only=True)
    data = json.loads(stored["data"])
    del data["action_units"]
    torch.save(stored | {"data": json.dumps(data)}, path)
    with pytest.raises(ValueError, match=r"not scaled.*train it again"):
        VLSafePolicy.load(str(path), device="cpu")
