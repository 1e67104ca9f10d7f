"""The command line on MetaDrive, of which a process can hold one environment only."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from vlsafe_agents.risk import RiskModel

pytest.importorskip("metadrive", reason="MetaDrive is not installed: its wheels want Python < 3.12")


def vlsafe(*arguments: str) -> str:
    """Output of a command in a process of its own."""
    command = [sys.executable, "-m", "vlsafe_agents.cli.main", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_drivers_are_recorded_and_evaluated_on_metadrives_maps(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "expert"
    env = ("--env", "VLSafe-Navigation-v0", "--env-arg", "duration=3")
    vlsafe("collect", *env, "--episodes", "2", "--workers", "1", "--out", str(data))
    options = ("--episodes", "2", "--scorer", "none", "--no-record", "--env-arg", "maps=test")
    vlsafe("evaluate", "expert", "--data", str(data), *options, "--out", str(out))
    found = json.loads((out / "evaluation_maps_test.json").read_text())
    assert found["env_kwargs"] == {"duration": 3, "maps": "test"}
    assert [episode["steps"] for episode in found["episodes"]] == [30, 30]
    assert all(episode["waypoints"] > 0 for episode in found["episodes"])
    env = (*env, "--env-arg", "action=continuous")
    ours = ("--episodes", "1", "--scorer", "none", "--no-record", "--out", str(tmp_path / "ppo"))
    vlsafe("evaluate", "metadrive_ppo", *env, *ours)
    shipped = json.loads((tmp_path / "ppo" / "evaluation.json").read_text())
    assert shipped["env_kwargs"] == {"duration": 3, "action": "continuous"}
    assert shipped["episodes"][0]["mean_speed"] > 0.5


def test_a_risk_model_of_metadrives_maps_is_told_how_its_tails_begin(tmp_path: Path) -> None:
    risk, expert = tmp_path / "risk", tmp_path / "expert"
    env = ("--env", "VLSafe-Navigation-v0", "--env-arg", "duration=5", "--env-arg", "num_maps=3")
    small = ("--states", "4", "--rounds", "1", "--round-states", "2", "--held-out", "2")
    quick = ("--updates", "20", "--horizon", "1", "--random-actions", "0", "--threshold", "1")
    vlsafe("train-risk", *env, *small, *quick, "--out", str(risk))
    assert RiskModel.load(risk).told
    ours = ("--episodes", "1", "--scorer", "none", "--no-record")
    vlsafe("evaluate", str(risk), *ours)
    planned = json.loads((risk / "evaluation.json").read_text())["episodes"][0]
    vlsafe("evaluate", "expert", *env, *ours, "--shield", str(risk), "--out", str(expert))
    (file,) = expert.glob("evaluation*shield*.json")
    shielded = json.loads(file.read_text())["episodes"][0]
    assert shielded["replaced"] == 0  # at a threshold of 1 everybody goes ahead
    assert planned["waypoints"] == shielded["waypoints"] > 10  # nobody is near in 5 s
