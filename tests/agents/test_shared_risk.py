"""Risk models to take and to share: round trips, cards, and the Hub without a network."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import huggingface_hub
import numpy as np
import pytest
from huggingface_hub import ModelCard
from ledge import SMALL, Ledge, ledge_outcomes

import vlsafe_envs  # noqa: F401  # registers the ids
from vlsafe_agents.risk import Outcomes, RiskModel, SafetyShield
from vlsafe_agents.risk.run_folder import read_risk
from vlsafe_agents.risk.shared import FILES, FOLDER
from wrappers.files import read_json, write_json

MERGE = FOLDER / "VLSafe-Merge-v0"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = RiskModel.from_pretrained("merge")
    return model.save_pretrained(tmp_path_factory.mktemp("shared") / "risk")


@pytest.fixture(scope="module")
def outcomes() -> Outcomes:
    return ledge_outcomes()


@pytest.fixture(scope="module")
def ledge(outcomes: Outcomes) -> RiskModel:
    config = replace(SMALL, updates=20)
    model = RiskModel(Ledge.observation_space, Ledge.action_space, ("go", "stay"), config)
    return model.fit(outcomes)


def test_a_shared_one_estimates_exactly_what_it_did(shared: Path) -> None:
    assert {file.name for file in shared.iterdir()} == set(FILES)
    first, second = RiskModel.load(MERGE), RiskModel.from_pretrained(shared)
    env = gym.make("VLSafe-Merge-v0", observation="vehicles", scorer=None)
    obs, _ = env.reset(seed=0)
    batch = {name: part[None] for name, part in obs.items()}
    one, other = (model.estimate(batch, np.arange(5)[None]) for model in (first, second))
    np.testing.assert_array_equal(one.risk, other.risk)
    np.testing.assert_array_equal(one.reward, other.reward)
    assert (first.config, first.facts, first.tails) == (second.config, second.facts, second.tails)
    shield = SafetyShield.from_pretrained(shared, env)
    assert shield.threshold == first.config.threshold
    assert read_risk(shared).facts == read_risk(MERGE).facts  # `vlsafe evaluate` takes it


def test_what_was_measured_travels_on_with_the_model(shared: Path) -> None:
    before, after = (read_json(folder / "card.json") for folder in (MERGE, shared))
    for name in ("evaluations", "examined", "commands", "model"):
        assert after[name] == before[name], name
    card = (shared / "README.md").read_text(encoding="utf-8")
    assert "From 14,000 states" in card
    assert "| Expert (rule-based) | density 1.5 | 100 | 2% (0.2% to 7%)" in card


def test_the_hub_reads_the_card(shared: Path) -> None:
    card = ModelCard((shared / "README.md").read_text(encoding="utf-8"))
    assert (card.data.library_name, card.data.license) == ("vlsafe", "mit")
    assert {"reinforcement-learning", "safety-shield"} <= set(card.data.tags)
    assert card.data.metrics == ["collision_rate", "mean_reward"]
    found = {(one.dataset_config, one.metric_type) for one in card.data.eval_results}
    assert found >= {("density 1.0", "collision_rate"), ("density 1.5", "collision_rate")}


def test_one_without_settings_says_what_is_known(ledge: RiskModel, tmp_path: Path) -> None:
    folder = ledge.save_pretrained(tmp_path / "risk", notes=["It fears rain."])
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "# A risk model" in card
    assert f"From {ledge.facts['states']:,} states" in card
    assert 'It sees "place"; the action is held for a moment, then "go" or "stay" drives on' in card
    assert "It was not measured." in card
    assert "It fears rain." in card
    again = RiskModel.from_pretrained(folder)
    for one, other in zip(ledge.net.parameters(), again.net.parameters(), strict=True):
        assert (one == other).all()


def test_of_one_that_has_learnt_since_nothing_is_claimed(
    ledge: RiskModel, outcomes: Outcomes, tmp_path: Path
) -> None:
    folder = ledge.save_pretrained(tmp_path / "risk")
    write_json(folder / "settings.json", read_json(MERGE / "settings.json"))
    model = RiskModel.from_pretrained(folder)
    model.fit(outcomes).save_pretrained(tmp_path / "later")
    assert not (tmp_path / "later" / "settings.json").exists()


def test_settings_lose_the_places_of_one_machine_and_nothing_else(tmp_path: Path) -> None:
    run = Path(shutil.copytree(MERGE, tmp_path / "run"))
    settings = read_json(run / "settings.json")
    places = {
        "policy": {"folder": "/home/me/agent", "sha256": "12"},
        "start": {"model": "/home/me/risk", "sha256": "34"},
        "beside": {"folders": ["/home/me/a", "b"], "sha256": "56"},
    }
    judge = {"judge": {"scorer": "hub/model", "identity": {"model": "hub/model"}}}
    write_json(run / "settings.json", {**settings, **places, **judge})
    RiskModel.from_pretrained(run).save_pretrained(tmp_path / "shared")
    found = read_json(tmp_path / "shared" / "settings.json")
    assert found["policy"] == {"folder": "agent", "sha256": "12"}
    assert found["start"]["model"] == "risk"
    assert found["beside"]["folders"] == ["a", "b"]
    assert {name: found[name] for name in settings if name != "policy"} == {
        name: value for name, value in settings.items() if name != "policy"
    }
    assert found["judge"] == judge["judge"]


def test_an_only_copy_is_not_written_over(ledge: RiskModel, tmp_path: Path) -> None:
    ledge.save(tmp_path / "risk.zip")
    with pytest.raises(FileExistsError, match=r"risk\.zip .*only copy"):
        ledge.save_pretrained(tmp_path)


@pytest.mark.parametrize("name", ["left-turn", "leftturn", "VLSafe-LeftTurn-v0"])
def test_names_may_be_hyphenated(name: str) -> None:
    assert RiskModel.from_pretrained(name).tails == ("go", "hold")


# --- the Hub: its cache as `huggingface_hub` keeps it, and its client without a network -----------


def test_a_repository_is_found_at_a_revision(shared: Path, tmp_path: Path) -> None:
    repository = tmp_path / "models--someone--risk"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    shutil.copytree(shared, repository / "snapshots" / COMMIT)
    where: dict[str, Any] = {"cache_dir": tmp_path, "local_files_only": True}
    found = RiskModel.from_pretrained("someone/risk", revision=COMMIT, **where)
    assert found.facts == RiskModel.load(MERGE).facts
    with pytest.raises(OSError, match="cannot be had"):
        RiskModel.from_pretrained("someone/risk", revision="v9", **where)


def test_only_files_of_risk_models_are_fetched(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def fetch(repository: str, **given: Any) -> str:
        asked.update(given)
        return str(shared)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    RiskModel.from_pretrained("someone/risk")
    assert set(asked["allow_patterns"]) == set(FILES)


def test_pushing_uploads_the_folder(ledge: RiskModel, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    class Commit:
        commit_url = "https://huggingface.co/someone/risk/commit/1"

    def create(self: Any, repository: str, **given: Any) -> None:
        calls.append((repository, given["private"]))

    def upload(self: Any, **given: Any) -> Commit:
        folder = Path(given["folder_path"])
        calls.append(sorted(file.name for file in folder.iterdir()))
        facts = json.loads((folder / "card.json").read_text(encoding="utf-8"))
        calls.append((facts["notes"], given["revision"]))
        return Commit()

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", create)
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", upload)
    url = ledge.push_to_hub("someone/risk", private=True, revision="v1", notes=["Small."])
    assert url == Commit.commit_url
    assert calls == [
        ("someone/risk", True),
        ["README.md", "card.json", "risk.zip"],
        (["Small."], "v1"),
    ]
