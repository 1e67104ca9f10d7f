"""Sets of vehicles from recording to evaluation, by the commands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vlsafe_agents.cli import main as cli
from vlsafe_agents.data import EpisodeDataset
from vlsafe_agents.training import load_agent

ROADS = {
    "VLSafe-Highway-v0": ("--env-arg", "duration=6", "--env-arg", "vehicles=8"),
    "VLSafe-LeftTurn-v0": ("--env-arg", "duration=2", "--env-arg", "traffic=hard"),
}
AGENTS = {
    "vlsafe": ("--preset", "debug", "--update", "lagrangian", "--cost", "env", "--steps", "6"),
    "bc": ("--algo", "bc", "--steps", "6"),
    "ppo_lag": (
        *("--algo", "ppo_lag", "--cost", "env", "--scorer", "none"),
        *("--steps", "32", "--envs", "2"),
    ),
}


def vlsafe(*arguments: str) -> int:
    """Exit code of a command, run in this process."""
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    return int(stop.value.code or 0)


@pytest.mark.parametrize("env_id", ROADS)
def test_sets_are_recorded_learned_from_and_driven_with(env_id: str, tmp_path: Path) -> None:
    recorded, data = ("--env", env_id, *ROADS[env_id]), str(tmp_path / "data")
    amount = ("--episodes", "4", "--workers", "1", "--observation", "all")
    assert vlsafe("collect", "--out", data, *recorded, *amount) == 0
    dataset = EpisodeDataset.from_minari(data)
    parts = {name: space.shape for name, space in dataset.observation_space.items()}  # type: ignore[attr-defined]
    assert parts["ego"] == (16,)
    assert parts["vehicles"] == (16, 14)
    assert set(parts) == {"ego", "image", "vector", "vehicles"}
    assert dataset.episodes[0].obs["vehicles"][:, 0, 0].any()  # somebody is there
    for name, options in AGENTS.items():
        out = str(tmp_path / name)
        seen = ("--data", data, "--observation", "vehicles")
        assert vlsafe("train", "--out", out, *seen, *options) == 0
        assert set(load_agent(out)[0].observation_space.spaces) == {"ego", "vehicles"}
        driven = ("--episodes", "1", "--scorer", "none", "--no-record")
        assert vlsafe("evaluate", out, *driven) == 0
        drives = json.loads((tmp_path / name / "evaluation.json").read_text())["episodes"]
        assert drives[0]["steps"] > 0


def test_the_same_collection_with_more_to_see_is_another_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ("collect", "--out", str(tmp_path), "--episodes", "1", "--workers", "1")
    road = ("--mix", "expert=1", "--env-arg", "duration=2", "--env-arg", "vehicles=2")
    assert vlsafe(*few, *road) == 0
    assert vlsafe(*few, *road, "--observation", "multi") == 0  # finished already
    assert vlsafe(*few, *road, "--observation", "all") != 0
    assert "other settings" in capsys.readouterr().err
    assert vlsafe(*few, *road, "--observation", "vector") != 0
    assert "choose one of multi, all" in capsys.readouterr().err
