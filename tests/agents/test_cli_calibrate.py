"""``vlsafe calibrate`` from labelled drives to a scorer whose p is a share of safe frames."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import h5py
import numpy as np
import pytest

from vlsafe_agents.cli import main as cli
from vlsafe_agents.data.storage import MAIN_FILE, resolve_dataset
from wrappers import Calibration, make_scorer
from wrappers.calibrated import FittedOn


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
    out = tmp_path / "scorer.json"
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


def test_labels_of_another_scorer_are_refused(
    labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "scorer.json"
    assert run("calibrate", str(labelled), "--out", str(out), "--scorer", "constant:0.9") == 2
    assert "vlsafe label" in capsys.readouterr().err
    assert not out.exists()


def test_the_name_of_a_calibration_can_be_pasted_whatever_its_file_is_called(
    labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a [b],c=d" / "scorer's.json"
    options = ("--scorer", "oracle", "--event", "time_to_collision")
    assert run("calibrate", str(labelled), "--out", str(out), *options) == 0
    said = capsys.readouterr().out
    assert f"the calibration is in {out}: " in said
    option, spec = shlex.split(said.strip().splitlines()[-1].rpartition(": --")[2])
    assert option == "scorer"
    assert make_scorer(spec).identity["name"] == "calibrated"


@pytest.mark.parametrize("wrong", [("--held-out", "1.5"), ("--horizon", "nan"), ("--seed", "-1")])
def test_impossible_numbers_are_refused_by_name(
    labelled: Path, tmp_path: Path, wrong: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("calibrate", str(labelled), "--out", str(tmp_path / "x.json"), *wrong) == 2
    assert wrong[0] in capsys.readouterr().err


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"version https://git-lfs.github.com/spec/v1\n",
        '{"spec": "\xfc"}'.encode("latin-1"),
        b'{"format": 1}',
        json.dumps(
            {
                "format": 1,
                "spec": "oracle",
                "method": "isotonic",
                "points": [[0, 0.5], [1, 0.5]],
                "scorer": {},
                "fitted_on": {},
            }
        ).encode(),
    ],
)
def test_files_that_are_no_calibration_are_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "scorer.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"scorer\.json"):
        make_scorer(f"calibrated:{path}")


def test_a_calibration_that_tells_no_frame_from_another_is_refused(tmp_path: Path) -> None:
    fitted_on = FittedOn("collision", 9, 3, "abc", "2026-11-29")
    with pytest.raises(ValueError, match=r"all scores would become 0\.5"):
        Calibration("isotonic", ((0.0, 0.5), (1.0, 0.5)), {}, fitted_on)
