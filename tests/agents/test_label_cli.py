"""`vlsafe label`: what it says, and what it keeps where."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from vlsafe_agents.cli import main as cli
from vlsafe_agents.data.storage import resolve_dataset


def run(*arguments: object) -> int:
    """Exit code of a command line, run in this process."""
    with pytest.raises(SystemExit) as stop:
        cli.main([str(argument) for argument in arguments])
    return int(stop.value.code or 0)


@pytest.fixture(scope="module")
def drives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny data set without labels."""
    out = tmp_path_factory.mktemp("drives") / "data"
    assert run("collect", "--steps", "80", "--mix", "random=1", "--workers", "1", "--out", out) == 0
    return out


@pytest.fixture
def data(drives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, and a cache of its own."""
    monkeypatch.setenv("VLSAFE_CACHE", str(tmp_path / "cache"))
    return Path(shutil.copytree(drives, tmp_path / "data"))


def labels(data: Path) -> Any:
    with h5py.File(resolve_dataset(data) / "main_data.hdf5") as file:
        return np.concatenate(
            [file[f"episode_{i}/infos/safety_score"][()] for i in range(len(file))]
        )


def test_a_run_tells_its_speed_and_where_labels_came_from(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(data, tmp_path / "copy")
    assert run("label", data, "--scorer", "random:1") == 0
    said = capsys.readouterr().out
    count = len(labels(data))
    assert "frames/s" in said
    assert f"{count} scored" in said
    assert run("label", tmp_path / "copy", "--scorer", "random:1") == 0
    assert f"0 scored, {count} from the cache" in capsys.readouterr().out
    np.testing.assert_array_equal(labels(data), labels(tmp_path / "copy"))
    assert run("label", data, "--scorer", "random:1") == 0
    assert "nothing to do" in capsys.readouterr().out


def test_a_dry_run_says_what_is_known_and_changes_nothing(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = resolve_dataset(data) / "main_data.hdf5"
    before = path.read_bytes()
    assert run("label", data, "--scorer", "random:2", "--dry-run", "--batch-size", 4) == 0
    said = capsys.readouterr().out
    assert "0 have this label" in said
    assert "expected time: about" in said
    assert path.read_bytes() == before
    assert run("label", data, "--scorer", "random:2") == 0
    assert run("label", data, "--scorer", "random:2", "--dry-run") == 0
    assert "100.0% known" in capsys.readouterr().out


def test_scores_are_kept_where_they_are_told_to_be(data: Path, tmp_path: Path) -> None:
    assert run("label", data, "--scorer", "random", "--cache", tmp_path / "mine") == 0
    assert list((tmp_path / "mine").glob("scores.*.sqlite"))
    assert not (tmp_path / "cache").exists()
    assert run("label", data, "--scorer", "random:1") == 0
    assert list((tmp_path / "cache" / "scores").glob("scores.*.sqlite"))


def test_without_a_cache_nothing_is_left_behind(data: Path, tmp_path: Path) -> None:
    assert run("label", data, "--scorer", "random", "--no-cache") == 0
    assert not (tmp_path / "cache").exists()
    folder = resolve_dataset(data).parent
    assert sorted(path.name for path in folder.iterdir()) == ["data"]
    assert run("label", data, "--no-cache", "--cache", tmp_path / "mine") == 2


def test_without_a_cache_a_run_that_fails_goes_on_where_it_was(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from wrappers.controls import RandomScorer

    calls, score = [], RandomScorer.__call__

    def failing(scorer: Any, frames: Any, infos: Any = None) -> Any:
        calls.append(len(frames))
        if len(calls) == 3:
            raise RuntimeError("the power went")
        return score(scorer, frames)

    monkeypatch.setattr(RandomScorer, "__call__", failing)
    command = ("label", data, "--scorer", "random", "--no-cache", "--batch-size", 8)
    assert run(*command) == 2
    capsys.readouterr()
    assert run(*command) == 0
    count = len(labels(data))
    assert f"{count - 16} scored, 16 from the cache" in capsys.readouterr().out
    assert sum(calls) == count + 8  # the call that failed


@pytest.mark.parametrize("spec", ["distilled", "cached:distilled", "ensemble:distilled+distilled"])
def test_a_distilled_scorer_sees_the_images_that_it_sees_while_driving(
    data: Path, spec: str
) -> None:
    from wrappers import make_scorer

    assert run("label", data, "--scorer", spec) == 0
    with h5py.File(resolve_dataset(data) / "main_data.hdf5") as file:
        images = [file[f"episode_{i}/observations/image"][()] for i in range(len(file))]
    expected = make_scorer("distilled")(np.concatenate(images))
    np.testing.assert_allclose(labels(data), expected, atol=2e-3)  # scenes are float32
    metadata = json.loads((resolve_dataset(data) / "metadata.json").read_text())
    assert metadata["labelling"]["judged_frames"]["size"] == [64, 64, 3]


@pytest.mark.parametrize("name", ["run[seed=1]", "run[/x]", "a,b=c d+e", "zürich"])
def test_folders_of_any_name_are_printed_as_they_are(
    data: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from wrappers.clip_loading import bundled_folder

    odd = Path(shutil.copytree(data, tmp_path / name / "data"))
    model = Path(shutil.copytree(bundled_folder(), tmp_path / name / "model"))
    assert run("label", odd, "--scorer", f"clip:{model},batch_size=16") == 0
    assert f"scored by {model}" in capsys.readouterr().out
    assert run("label", odd, "--scorer", f"shuffled:clip:{model},seed=3,form=cosine") == 0
    metadata = json.loads((resolve_dataset(odd) / "metadata.json").read_text())
    assert metadata["scorer"]["seed"] == 3
    assert metadata["scorer"]["of"]["form"] == "cosine"
    assert metadata["scorer"]["of"]["model"] == str(model)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("shuffled:random,pool_size=5", "pool_size has no effect"),
        ("shuffled:random,seed=x", "seed is 'x'"),
        ("shuffled:chat:m@http://localhost:1/v1,seed=-3", "seed is -3"),
        ("bundled,form=cosine,margin=1", "margin=1 has no effect"),
        ("bundled,tempreature=1", "no option 'tempreature'"),
    ],
)
def test_options_without_effect_are_refused(
    data: Path, spec: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("label", data, "--scorer", spec) == 2
    assert said in capsys.readouterr().err


def test_a_scorer_with_a_label_for_nothing_is_an_error(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from wrappers.controls import RandomScorer

    monkeypatch.setattr(
        RandomScorer, "__call__", lambda self, frames, infos=None: np.full(len(frames), np.nan)
    )
    before = (resolve_dataset(data) / "main_data.hdf5").read_bytes()
    assert run("label", data, "--scorer", "random") == 2
    assert "only 0 of" in capsys.readouterr().err
    assert (resolve_dataset(data) / "main_data.hdf5").read_bytes() == before


def test_the_oracle_reads_infos_and_the_control_is_its_permutation(data: Path) -> None:
    assert run("label", data, "--scorer", "oracle") == 0
    truth = labels(data)
    assert len(np.unique(truth)) > 3
    assert run("label", data, "--scorer", "shuffled:oracle,seed=4") == 0
    np.testing.assert_array_equal(np.sort(labels(data)), np.sort(truth))
    metadata = json.loads((resolve_dataset(data) / "metadata.json").read_text())
    assert metadata["scorer"]["seed"] == 4
    assert metadata["labelling"]["scored"] == 0


def test_frames_without_a_label_end_in_a_clear_sentence(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from wrappers.controls import RandomScorer

    score = RandomScorer.__call__

    def hesitant(scorer: Any, frames: Any, infos: Any = None) -> Any:
        scores = score(scorer, frames)
        scores[0] = np.nan
        scorer.last_reasons = ["refused", *(None for _ in scores[1:])]
        return scores

    with monkeypatch.context() as patch:
        patch.setattr(RandomScorer, "__call__", hesitant)
        assert run("label", data, "--scorer", "random", "--batch-size", 16) == 0
    said = " ".join(capsys.readouterr().out.split())
    missing = int(np.isnan(labels(data)).sum())
    assert missing > 1
    assert f"{missing} of {len(labels(data))} frames have NO label ({missing} 'refused')" in said
    assert "unlabelled.csv lists them" in said
    assert run("label", data, "--scorer", "random", "--batch-size", 16) == 0
    assert f"{missing} scored, 0 from the cache" in capsys.readouterr().out
    assert not np.isnan(labels(data)).any()


@pytest.mark.slow  # the model is loaded in a fresh process
def test_the_bundled_scorer_is_not_loaded_to_learn_that_all_is_done(data: Path) -> None:
    import subprocess
    import sys

    script = (
        "import sys\nfrom vlsafe_agents.cli.main import main\n"
        f"try:\n    main(['label', {str(data)!r}])\nexcept SystemExit:\n    pass\n"
        "print('TORCH', 'torch' in sys.modules)\n"
    )
    answers = [
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert ["TORCH True" in answer.stdout for answer in answers] == [True, False]
    assert "nothing to do" in answers[1].stdout
