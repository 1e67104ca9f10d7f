"""``vlsafe distill`` from labelled drives to a scorer that environments can use."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import gymnasium as gym
import h5py
import numpy as np
import pytest

from vlsafe_agents.cli import main as cli
from vlsafe_agents.data.storage import MAIN_FILE, resolve_dataset
from wrappers import make_scorer


def run(*arguments: str) -> int:
    """Exit code of a command line, run in this process."""
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    return int(stop.value.code or 0)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some drives, labelled by the oracle."""
    out = tmp_path_factory.mktemp("drives") / "highway"
    options = ("--episodes", "12", "--density", "2", "--mix", "random=1", "--workers", "1")
    assert run("collect", "--out", str(out), *options) == 0
    assert run("label", str(out), "--scorer", "oracle", "--no-cache") == 0
    return out


def test_labelled_drives_become_a_scorer_with_its_figures(
    labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "pupil"
    lessons = ("--steps", "20", "--batch-size", "32", "--held-out", "0.3")
    assert run("distill", str(labelled), "--out", str(out), *lessons) == 0
    assert "held-out episodes" in capsys.readouterr().out
    facts = json.loads((out / "pupil.json").read_text())
    assert facts["teacher"] == make_scorer("oracle").identity
    assert set(facts["agreement"]) == {"all", "all, shrunk from 224 px"}
    held_out, frames = facts["agreement"]["all"]["frames"], facts["training"]["frames"]
    with h5py.File(resolve_dataset(labelled) / MAIN_FILE) as file:
        lengths = {len(file[f"episode_{n}/infos/safety_score"]) for n in range(12)}
        total = sum(len(file[f"episode_{n}/infos/safety_score"]) for n in range(12))
    assert held_out + frames == total
    assert held_out not in lengths  # several whole episodes
    questions = facts["agreement"]["all"]["truth"]
    assert questions["time to collision under 2 s"]["frames"] == held_out
    env = gym.make_vec("VLSafe-Highway-v0", num_envs=2, scorer=f"distilled:{out}")
    observation, infos = env.reset(seed=0)
    expected = make_scorer(f"distilled:{out}")(observation)
    np.testing.assert_allclose(infos["safety_score"], expected, atol=1e-6)


def test_data_without_labels_or_of_several_teachers_are_refused(
    labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other, bare = tmp_path / "other", tmp_path / "bare"
    for copy in (other, bare):
        shutil.copytree(labelled, copy)
    assert run("label", str(other), "--scorer", "constant:0.9", "--no-cache") == 0
    out = ("--out", str(tmp_path / "pupil"), "--steps", "1")
    assert run("distill", str(labelled), str(other), *out) == 2
    assert "different scorers" in capsys.readouterr().err
    assert run("distill", str(other), *out) == 2
    assert "nothing to learn" in capsys.readouterr().err
    with h5py.File(resolve_dataset(bare) / MAIN_FILE, "r+") as file:
        del file.attrs["scorer"]
    assert run("distill", str(bare), *out) == 2
    assert "vlsafe label" in capsys.readouterr().err
    assert not (tmp_path / "pupil").exists()
