"""Every example runs from a clean folder as its own head says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vlsafe_agents.training import EnvName, TrainSettings
from vlsafe_agents.training.hyperparameters import read_hyperparameters

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.timeout(600)
def test_the_algorithms_differ_by_their_class_name_only(tmp_path: Path) -> None:
    answer = subprocess.run(
        [sys.executable, ROOT / "examples" / "swap_the_algorithm.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr[-2000:]
    lines = [line.split()[0] for line in answer.stdout.splitlines() if " +- " in line]
    assert lines == ["PPO", "PPOLag", "VLSafe"]


def test_a_search_ends_with_settings_that_train(tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="needs the extra tune")
    few = ("--trials", "2", "--steps", "256", "--episodes", "2", "--cost-limit", "1000")
    answer = subprocess.run(
        [sys.executable, ROOT / "examples" / "tune_with_optuna.py", *few],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr[-2000:]
    assert answer.stdout.startswith("best: return ")
    found = read_hyperparameters(tmp_path / "runs/tune/best.yaml", "VLSafe-Highway-v0")
    settings = TrainSettings(env=EnvName("VLSafe-Highway-v0"), **found)
    settings.check()
    assert (settings.steps, settings.cost_limit) == (256, 1000)
    assert set(settings.config) >= {"learning_rate", "n_steps", "gamma"}
