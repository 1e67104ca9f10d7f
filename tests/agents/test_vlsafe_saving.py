"""Saved `VLSafe` agents act and learn on as if nothing had happened, and run no code."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from speed_limit import SpeedLimit, record
from tiny_agents import MULTI, Still, make, weights

from vlsafe_agents import VLSafe
from vlsafe_agents.data.dataset import EpisodeDataset


@pytest.fixture(scope="module")
def dataset() -> EpisodeDataset:
    return record(30)


@pytest.fixture(scope="module")
def trained(dataset: EpisodeDataset) -> VLSafe:
    agent = make(dataset)
    return agent.learn(6)


def test_a_loaded_agent_predicts_the_same_and_holds_no_data(
    trained: VLSafe, dataset: EpisodeDataset, tmp_path: Path
) -> None:
    trained.save(tmp_path / "agent")
    loaded = VLSafe.load(tmp_path / "agent", device="cpu")
    obs = np.random.default_rng(1).normal(size=(20, 4)).astype(np.float32)
    state_a = state_b = None
    for _ in range(3):
        a, state_a = trained.predict(obs, state_a, deterministic=True)
        b, state_b = loaded.predict(obs, state_b, deterministic=True)
        np.testing.assert_array_equal(a, b)
    assert loaded.dataset is None
    with pytest.raises(ValueError, match="call set_dataset first"):
        loaded.learn(1)


def test_learning_goes_on_after_loading_with_optimisers_and_multiplier(
    dataset: EpisodeDataset, tmp_path: Path
) -> None:
    agent = make(dataset, update="lagrangian", cost_limit=0.0, config={"model_warmup": 0.0})
    agent.learn(3)
    assert agent.policy.actor_critic.multiplier is not None
    agent.policy.actor_critic.multiplier.update(50.0)
    agent.save(tmp_path / "agent.zip")
    loaded = VLSafe.load(tmp_path / "agent.zip", SpeedLimit(), device="cpu", dataset=dataset)
    assert loaded.update == "lagrangian"
    assert loaded.policy.actor_critic.price > 0.4
    assert loaded.policy.actor_critic.price == agent.policy.actor_critic.price
    for name in ("model_optimizer", "actor_critic_optimizer"):
        ours, theirs = getattr(agent, name).state_dict(), getattr(loaded, name).state_dict()
        torch.testing.assert_close(ours["state"], theirs["state"])
    for one in (agent, loaded):  # the second draws what the first has drawn
        one.learn(2, reset_num_timesteps=False)
    assert torch.equal(weights(agent), weights(loaded))


def test_a_policy_alone_is_saved_and_loaded(trained: VLSafe, tmp_path: Path) -> None:
    path = str(tmp_path / "policy.pth")
    trained.policy.save(path)
    loaded = type(trained.policy).load(path, device="cpu")
    obs = np.random.default_rng(1).normal(size=(20, 4)).astype(np.float32)
    a, b = (policy.predict(obs, deterministic=True)[0] for policy in (trained.policy, loaded))
    np.testing.assert_array_equal(a, b)
    Path(path).write_bytes(Path(path).read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"policy\.pth cannot be read"):
        type(trained.policy).load(path)


def test_saved_files_hold_no_pickles_and_files_with_pickles_are_refused(
    trained: VLSafe, tmp_path: Path
) -> None:
    path = tmp_path / "agent.zip"
    trained.save(path)
    assert path.stat().st_size < 2_000_000
    with zipfile.ZipFile(path) as archive:
        data = json.loads(archive.read("data"))
    assert not [k for k, v in data.items() if isinstance(v, dict) and ":serialized:" in v]
    bad = tmp_path / "bad.zip"
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(bad, "w") as copy:
        for name in archive.namelist():
            content = archive.read(name)
            if name == "data":
                content = json.dumps(data | {"evil": {":serialized:": "gASV"}}).encode()
            copy.writestr(name, content)
    with pytest.raises(ValueError, match=r"pickled objects.*allow_pickle"):
        VLSafe.load(bad)


def test_loading_with_an_environment_of_other_spaces_is_refused(
    trained: VLSafe, tmp_path: Path
) -> None:
    trained.save(tmp_path / "agent.zip")
    with pytest.raises(ValueError, match="spaces do not match"):
        VLSafe.load(tmp_path / "agent.zip", env=Still(MULTI))
