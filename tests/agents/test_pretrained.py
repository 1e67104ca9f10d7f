"""Trained agents to take and to share: folders, names, the Hub's cache, and what acts alike."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
from speed_limit import SpeedLimit, record
from tiny_agents import make

from vlsafe_agents import BC, PPOLag, RecurrentPPOLag, VLSafe
from vlsafe_agents.data.dataset import EpisodeDataset
from vlsafe_agents.pretrained import Bundle
from vlsafe_agents.pretrained.sources import find_folder
from vlsafe_agents.pretrained.weights import completed, halved
from vlsafe_agents.risk import RiskModel
from vlsafe_agents.risk.shared import FOLDER as RISKS
from wrappers.files import write_json

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def dataset() -> EpisodeDataset:
    return record(30)


@pytest.fixture(scope="module")
def trained(dataset: EpisodeDataset) -> VLSafe:
    return make(dataset, config={"model_warmup": 0.5}).learn(8)


@pytest.fixture(scope="module")
def shared(trained: VLSafe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained.save_pretrained(tmp_path_factory.mktemp("shared") / "agent")


# --- weights --------------------------------------------------------------------------------------


def test_matrices_are_rounded_to_float16_and_nothing_else() -> None:
    weights = {
        "matrix": torch.full((2, 2), 1.0 + 2.0**-12),
        "vector": torch.full((3,), 1.0 + 2.0**-12),
        "count": torch.tensor([7]),
        "decoder.matrix": torch.ones(2, 2),
    }
    stored = halved(weights, ["decoder."])
    assert set(stored) == {"matrix", "vector", "count"}
    own = {name: torch.zeros_like(value) for name, value in weights.items()}
    back = completed(stored, own, ["decoder."])
    assert (back["matrix"] == 1.0).all()  # float16 has 10 bits behind the point
    torch.testing.assert_close(back["vector"], weights["vector"], rtol=0, atol=0)
    assert back["matrix"].dtype == torch.float32
    assert (back["decoder.matrix"] == 0).all()  # the agent's own


@pytest.mark.parametrize(
    ("value", "fault"),
    [(torch.full((1, 1), 1e5), "float16's range"), (torch.ones(1) / 0, "finite")],
)
def test_weights_that_float16_cannot_hold_are_refused(value: torch.Tensor, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        halved({"a": value}, [])


def test_weights_of_another_network_are_refused() -> None:
    own = {"a": torch.ones(2, 2), "b": torch.ones(1)}
    for stored in ({"a": torch.ones(2, 2)}, {"a": torch.ones(2, 3), "b": torch.ones(1)}):
        with pytest.raises(ValueError, match=r"weights lack|has shape"):
            completed(stored, own, [])


# --- agents ---------------------------------------------------------------------------------------


def test_a_shared_agent_acts_as_it_did_and_its_file_is_small(
    trained: VLSafe, shared: Path, tmp_path: Path
) -> None:
    trained.save(tmp_path / "whole.zip")
    assert (shared / "model.zip").stat().st_size < (tmp_path / "whole.zip").stat().st_size / 3
    loaded = VLSafe.from_pretrained(shared, device="cpu")
    obs = np.random.default_rng(1).normal(size=(500, 4)).astype(np.float32)
    state_a = state_b = None
    agree = []
    for _ in range(3):
        a, state_a = trained.predict(obs, state_a, deterministic=True)
        b, state_b = loaded.predict(obs, state_b, deterministic=True)
        agree.append(a == b)
    assert np.mean(agree) >= 0.99
    critic = loaded.policy.actor_critic.reward_critic
    for slow, fast in zip(critic.slow_net.parameters(), critic.net.parameters(), strict=True):
        torch.testing.assert_close(slow, fast, rtol=0, atol=0)


def test_its_policy_learns_on_in_its_world_model_and_the_model_does_not(
    shared: Path, dataset: EpisodeDataset, tmp_path: Path
) -> None:
    agent = VLSafe.from_pretrained(shared, SpeedLimit(), device="cpu", dataset=dataset)
    before = {k: v.clone() for k, v in agent.policy.state_dict().items()}
    agent.learn(3)
    changed = {k for k, v in agent.policy.state_dict().items() if not torch.equal(v, before[k])}
    assert any(name.startswith("actor_critic.actor.") for name in changed)
    assert not any(name.startswith("world_model.") for name in changed)
    agent.save(tmp_path / "again.zip")
    with pytest.raises(ValueError, match="learnable=True"):
        VLSafe.load(tmp_path / "again.zip", SpeedLimit(), device="cpu").learn(1, online=True)


def test_one_that_is_to_learn_is_shared_whole(trained: VLSafe, tmp_path: Path) -> None:
    folder = trained.save_pretrained(tmp_path / "whole", learnable=True)
    agent = VLSafe.from_pretrained(folder, SpeedLimit(), device="cpu")
    for name, value in trained.policy.state_dict().items():
        torch.testing.assert_close(agent.policy.state_dict()[name], value, rtol=0, atol=0)
    assert agent.model_can_learn


def ppo_lag(dataset: EpisodeDataset) -> PPOLag:
    return PPOLag("MlpPolicy", SpeedLimit(), n_steps=16, batch_size=16, device="cpu", seed=0)


def recurrent_ppo_lag(dataset: EpisodeDataset) -> RecurrentPPOLag:
    words: dict[str, Any] = {"n_steps": 16, "batch_size": 16, "device": "cpu", "seed": 0}
    return RecurrentPPOLag("MlpLstmPolicy", SpeedLimit(), **words)


def bc(dataset: EpisodeDataset) -> BC:
    return BC("MlpPolicy", SpeedLimit(), dataset, device="cpu", seed=0)


@pytest.mark.parametrize("build", [ppo_lag, recurrent_ppo_lag, bc])
def test_other_agents_are_shared_too(build: Any, dataset: EpisodeDataset, tmp_path: Path) -> None:
    agent = build(dataset)
    agent.save_pretrained(tmp_path / "agent")
    loaded = type(agent).from_pretrained(tmp_path / "agent", device="cpu")
    obs = np.random.default_rng(1).normal(size=(200, 4)).astype(np.float32)
    same = agent.predict(obs, deterministic=True)[0] == loaded.predict(obs, deterministic=True)[0]
    assert np.mean(same) >= 0.99
    with pytest.raises(ValueError, match=f"holds a {type(agent).__name__}, not a VLSafe"):
        VLSafe.from_pretrained(tmp_path / "agent")


def test_what_was_recorded_stands_in_the_card_and_travels_on(
    trained: VLSafe, tmp_path: Path
) -> None:
    run, first, second = (tmp_path / name for name in ("run", "first", "second"))
    run.mkdir()
    trained.save(run / "model.zip")
    env = {"env_id": "VLSafe-Highway-v0", "kwargs": {}}
    settings = {"algo": "vlsafe", "steps": 8, "env": env, "data": "/home/me/secret/data", "seed": 3}
    write_json(run / "settings.json", settings)
    write_json(run / "training.json", {"gradient_steps": 4321, "env_steps": 0})
    agent = VLSafe.from_pretrained(run, device="cpu")
    agent.save_pretrained(first, notes=["It fears rain."])
    VLSafe.from_pretrained(first, device="cpu").save_pretrained(second)
    for folder in (first, second):
        card = (folder / "README.md").read_text(encoding="utf-8")
        assert "4,321 gradient updates" in card
        assert "Training seed 3" in card
        assert "It fears rain." in card
        assert "not here any more" in card  # the data
        assert "It was not measured." in card
        assert json.loads((folder / "settings.json").read_text())["data"] == "data"  # no place


def test_of_an_agent_that_has_learned_since_nothing_is_claimed(
    shared: Path, dataset: EpisodeDataset, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(shared, tmp_path / "agent"))
    write_json(folder / "training.json", {"gradient_steps": 4321, "env_steps": 0})
    agent = VLSafe.from_pretrained(folder, SpeedLimit(), device="cpu", dataset=dataset).learn(1)
    agent.save_pretrained(tmp_path / "later")
    card = (tmp_path / "later" / "README.md").read_text(encoding="utf-8")
    assert "4,321" not in card
    assert "What learning has cost is not known." in card


def test_an_only_copy_is_not_written_over(trained: VLSafe, tmp_path: Path) -> None:
    trained.save(tmp_path / "model.zip")
    with pytest.raises(FileExistsError, match="only copy"):
        trained.save_pretrained(tmp_path)


# --- names ----------------------------------------------------------------------------------------


def test_a_name_of_nothing_says_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = Bundle(tmp_path / "here", "model.zip", "trained driver", "or train one")
    (tmp_path / "here" / "highway").mkdir(parents=True)
    (tmp_path / "here" / "highway" / "model.zip").touch()
    assert find_folder("highway", bundle) == tmp_path / "here" / "highway"
    with pytest.raises(ValueError, match=r"'higway'; there are some for highway; did you mean 'hi"):
        find_folder("higway", bundle)
    with pytest.raises(ValueError, match="has no revisions"):
        find_folder("highway", bundle, revision="main")
    with pytest.raises(FileNotFoundError, match="no trained driver in"):
        find_folder(tmp_path / "nothing", bundle)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tmp_path / "here" / "highway", "highway")
    with pytest.raises(ValueError, match=r"write \./highway"):
        find_folder("highway", bundle)
    assert find_folder("./highway", bundle) == Path("highway")


def test_risk_models_have_the_same_names() -> None:
    assert (
        RiskModel.from_pretrained("highway").facts
        == RiskModel.from_pretrained(RISKS / "VLSafe-Highway-v0").facts
    )
    with pytest.raises(ValueError, match="did you mean 'highway'"):
        RiskModel.from_pretrained("higway")


# --- the Hub: its cache as `huggingface_hub` keeps it, and its client without a network -----------


@pytest.fixture
def cache(shared: Path, tmp_path: Path) -> Path:
    """A repository that was fetched before, of which a branch and a commit are known."""
    repository = tmp_path / "cache" / "models--someone--driver"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    shutil.copytree(shared, repository / "snapshots" / COMMIT)
    return tmp_path / "cache"


@pytest.mark.parametrize("revision", [None, "main", COMMIT])
def test_a_repository_is_found_at_a_revision(
    revision: str | None, cache: Path, trained: VLSafe
) -> None:
    where: dict[str, Any] = {"cache_dir": cache, "local_files_only": True}
    agent = VLSafe.from_pretrained("someone/driver", device="cpu", revision=revision, **where)
    assert agent._n_updates == trained._n_updates
    with pytest.raises(OSError, match="Hugging Face repository of that name cannot be had"):
        VLSafe.from_pretrained("someone/driver", revision="v9", **where)
    with pytest.raises(OSError, match="cannot be had"):
        VLSafe.from_pretrained("someone/else", **where)


def test_only_files_of_agents_are_fetched(
    shared: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {}

    def fetch(repository: str, **given: Any) -> str:
        asked.update(given, repository=repository)
        return str(shared)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    VLSafe.from_pretrained("someone/driver", revision="v1", device="cpu")
    assert asked["repository"] == "someone/driver"
    assert asked["revision"] == "v1"
    assert "model.zip" in asked["allow_patterns"]
    assert not any(name.endswith((".py", ".pkl")) for name in asked["allow_patterns"])


def test_pushing_uploads_the_folder(trained: VLSafe, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    class Commit:
        commit_url = "https://huggingface.co/someone/driver/commit/1"

    def create(self: Any, repository: str, **given: Any) -> None:
        calls.append(("create", repository, given["private"]))

    def upload(self: Any, **given: Any) -> Commit:
        calls.append(sorted(file.name for file in Path(given["folder_path"]).iterdir()))
        return Commit()

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", create)
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", upload)
    assert trained.push_to_hub("someone/driver", private=True) == Commit.commit_url
    assert calls == [
        ("create", "someone/driver", True),
        ["README.md", "card.json", "model.zip"],
    ]
