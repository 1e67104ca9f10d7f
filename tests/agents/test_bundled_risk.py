"""The risk models that come with vlsafe."""

from __future__ import annotations

import shutil
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from load_script import script

import vlsafe_envs
from vlsafe_agents.cli import main as cli
from vlsafe_agents.evaluation import read_evaluation
from vlsafe_agents.pretrained.card import card_text
from vlsafe_agents.pretrained.kinds import RISK
from vlsafe_agents.risk import SafetyShield, bundled_ids, bundled_risk
from vlsafe_agents.risk.run_folder import read_risk
from vlsafe_agents.risk.shared import FILES, FOLDER
from wrappers.files import file_sha256, read_json

MOST_BYTES = 1_000_000  # of one


@pytest.mark.parametrize("env_id", bundled_ids())
def test_each_is_of_its_environment_and_described(env_id: str) -> None:
    run = read_risk(FOLDER / env_id)
    assert run.settings["env"]["env_id"] == env_id
    env = gym.make(env_id, observation="vehicles", scorer=None, **run.settings["env"]["kwargs"])
    assert run.model.observation_space == env.observation_space
    assert run.model.action_space == env.action_space
    facts = read_json(FOLDER / env_id / "card.json")
    assert facts["weights"]["sha256"] == file_sha256(FOLDER / env_id / "risk.zip")
    assert facts["model"] == run.model.told_in_card()
    densities = sorted({found["env_kwargs"]["density"] for found in facts["evaluations"]})
    assert densities == list(script("benchmarks/bundled_risk.py").densities(env_id))
    card = (FOLDER / env_id / "README.md").read_text(encoding="utf-8")
    assert card == card_text(RISK, FOLDER / env_id)
    assert f"{run.facts['simulated']['learnt from']['states']:,} states" in card
    assert {file.name for file in (FOLDER / env_id).iterdir()} == set(FILES)
    assert sum(file.stat().st_size for file in (FOLDER / env_id).iterdir()) < MOST_BYTES


def test_they_are_those_that_the_script_makes() -> None:
    roads = script("benchmarks/bundled_risk.py").ROADS
    assert set(bundled_ids()) == set(roads)
    for env_id, (_, _, threshold) in roads.items():
        assert read_risk(FOLDER / env_id).threshold == threshold


def test_an_unknown_one_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"VLSafe-Higway-v0.*did you mean 'VLSafe-Highway-v0'"):
        bundled_risk("VLSafe-Higway-v0")


def test_it_keeps_a_reckless_driver_on_the_highway_from_crashing() -> None:
    env = gym.make("VLSafe-Highway-v0", observation="vector", scorer=None)
    shielded = SafetyShield(env, bundled_risk("VLSafe-Highway-v0"), sense=vlsafe_envs.vehicles_seen)
    crashes = {"bare": 0, "shielded": 0}
    for name, road in (("bare", env), ("shielded", shielded)):
        for seed in range(8):
            road.reset(seed=seed)
            over = False
            while not over:
                _, _, terminated, truncated, info = road.step(np.int64(3))  # FASTER
                over = terminated or truncated
            crashes[name] += bool(info["collision"])
    assert crashes["bare"] == 8
    assert crashes["shielded"] <= 1


def test_the_command_line_finds_it_by_the_agents_environment(tmp_path: Path) -> None:
    out = tmp_path / "expert"
    drive = ("evaluate", "expert", "--env", "VLSafe-Highway-v0", "--env-arg", "duration=5")
    few = ("--episodes", "2", "--scorer", "none", "--out", str(out))
    with pytest.raises(SystemExit) as stop:
        cli.main([*drive, *few, "--shield", "bundled"])
    assert not stop.value.code
    (file,) = out.glob("evaluation*shield*.json")
    shielded = read_evaluation(file).shielded
    assert shielded is not None
    assert shielded["model"] == "bundled"


def test_the_script_packs_a_run_with_its_drives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env_id, made = "VLSafe-Merge-v0", script("benchmarks/bundled_risk.py")
    stated = read_json(FOLDER / env_id / "card.json")
    for who, agent in ((env_id, str(FOLDER / env_id)), (f"{env_id}-expert", "expert")):
        out = tmp_path / who
        where = ("--env", env_id) if agent == "expert" else ()
        drive = ("evaluate", agent, "--episodes", "2", "--scorer", "none", "--no-record", *where)
        for density in made.densities(env_id):
            with pytest.raises(SystemExit) as stop:
                cli.main([*drive, "--density", str(density), "--out", str(out)])
            assert not stop.value.code
    for name in ("risk.zip", "settings.json", "training.json"):
        shutil.copyfile(FOLDER / env_id / name, tmp_path / env_id / name)
    monkeypatch.setattr(made, "FOLDER", tmp_path / "package")
    monkeypatch.setattr(made, "examination_rows", lambda *_: stated["examined"])
    place = made.pack(env_id, tmp_path, [f"vlsafe train-risk --out {tmp_path}/{env_id}"])
    facts = read_json(place / "card.json")
    assert {file.name for file in place.iterdir()} == set(FILES)
    assert facts["weights"]["sha256"] == file_sha256(place / "risk.zip")
    assert facts["model"] == stated["model"]
    assert facts["commands"] == [f"vlsafe train-risk --out runs/bundled_risk/{env_id}"]
    rows = [(found["who"], found["env_kwargs"]["density"]) for found in facts["evaluations"]]
    who = [found["who"] for found in stated["evaluations"]]
    assert rows == list(zip(who, [1.0, 1.0, 1.5, 1.5], strict=True))
