"""``vlsafe calibrate`` from labelled drives to a judge whose p is a share of safe frames."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from vlsafe_agents.cli import main as cli
from vlsafe_agents.data.storage import MAIN_FILE, resolve_dataset
from wrappers import Calibration, make_scorer


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


def labels_and_truth(data: Path) -> tuple[np.ndarray, np.ndarray]:
    """Scores and times to collision of all frames."""
    with h5py.File(resolve_dataset(data) / MAIN_FILE) as file:
        infos = [file[f"episode_{n}/infos"] for n in range(12)]
        scores = np.concatenate([info["safety_score"][()] for info in infos])
        return scores, np.concatenate([info["time_to_collision"][()] for info in infos])


@pytest.mark.parametrize("method", ["isotonic", "platt"])
def test_calibrated_scores_average_to_the_share_of_safe_frames(
    labelled: Path, tmp_path: Path, method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "judge.json"
    options = ("--scorer", "oracle", "--event", "time_to_collision", "--method", method)
    assert run("calibrate", str(labelled), "--out", str(out), *options) == 0
    assert "time to collision under 2 s" in capsys.readouterr().out
    calibration = Calibration.load(out)
    assert calibration.method == method
    assert calibration.fitted_on.event == "time to collision under 2 s"
    scores, time = labels_and_truth(labelled)
    assert 0 < calibration.fitted_on.frames < len(scores)  # some episodes were kept out
    calibrated, safe = calibration(scores), time >= 2.0
    assert abs(calibrated.mean() - safe.mean()) < 0.05 < abs(scores.mean() - safe.mean())
    assert make_scorer(f"calibrated:{out}").identity["of"] == make_scorer("oracle").identity


def test_labels_of_another_judge_are_refused(
    labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "judge.json"
    assert run("calibrate", str(labelled), "--out", str(out), "--scorer", "constant:0.9") == 2
    assert "vlsafe label" in capsys.readouterr().err
    assert not out.exists()
