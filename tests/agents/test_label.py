import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from toy_drives import collect_toy
from toy_judge import SceneScorer, make_draw

from vlsafe_agents.data import EpisodeDataset
from vlsafe_agents.data.label import auroc, label


def scores(path: Path) -> list[Any]:
    with h5py.File(path / "data" / "main_data.hdf5") as file:
        return [file[f"episode_{i}/infos/safety_score"][()] for i in range(len(file))]


def test_every_frame_gets_its_own_score_the_resets_too(tmp_path: Path) -> None:
    path = collect_toy(tmp_path, episodes=4).path
    summary = label(tmp_path, SceneScorer, make_draw, batch_size=5, progress=False)
    for score in scores(path):
        np.testing.assert_allclose(score, 1 / (1 + np.arange(len(score))))
    data = EpisodeDataset.from_minari(tmp_path, cost="vlm")
    assert data.has_safety_score
    assert summary.auroc == 1.0  # a step is unsafe from t = 3 on
    assert summary.mean_unsafe < summary.mean_safe
    assert sum(summary.histogram) == summary.frames == data.num_steps


def test_the_judges_identity_is_kept_and_replaced_with_its_scores(tmp_path: Path) -> None:
    path = collect_toy(tmp_path, episodes=3).path
    label(tmp_path, SceneScorer, make_draw, progress=False)
    before = EpisodeDataset.from_minari(tmp_path)
    assert before.metadata["scorer"] == {"name": "scene", "prompts": ["safe", "unsafe"]}
    control = label(tmp_path, SceneScorer, make_draw, permutation_seed=0, progress=False)
    after = EpisodeDataset.from_minari(tmp_path)
    assert after.metadata["scorer"]["name"] == control.scorer["name"] == "shuffled"
    stored = json.loads((path / "data" / "metadata.json").read_text())
    assert stored["scorer"] == after.metadata["scorer"]
    mixed, plain = np.concatenate(scores(path)), before._flat.safety_score
    np.testing.assert_array_equal(np.sort(mixed), np.sort(plain))
    assert not np.array_equal(mixed, plain)
    np.testing.assert_array_equal(after._flat.safety_score, mixed)
    np.testing.assert_array_equal(after._flat.obs["image"], before._flat.obs["image"])


def test_labelled_files_do_not_depend_on_the_number_of_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vlsafe_agents.data.label._CHUNK_FRAMES", 10)
    path = collect_toy(tmp_path / "one", episodes=4).path
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    label(tmp_path / "one", SceneScorer, make_draw, progress=False)
    label(tmp_path / "two", SceneScorer, make_draw, workers=2, progress=False)
    first = path / "data" / "main_data.hdf5"
    once = first.read_bytes()
    assert once == (tmp_path / "two" / first.relative_to(tmp_path / "one")).read_bytes()
    label(tmp_path / "one", SceneScorer, make_draw, progress=False)
    assert once == first.read_bytes()


def test_a_killed_labelling_goes_on_without_judging_finished_chunks_again(tmp_path: Path) -> None:
    data, log = tmp_path / "data", tmp_path / "log"
    path = collect_toy(data, episodes=30).path
    frames = EpisodeDataset.from_minari(data, cost="env").num_steps + 30
    script = (
        "import vlsafe_agents.data.label as module\n"
        "from functools import partial\n"
        "from toy_judge import SceneScorer, make_draw\n"
        "module._CHUNK_FRAMES = 20\n"
        "slow = partial(SceneScorer, None, 0.05)\n"
        f"module.label({str(data)!r}, slow, make_draw, progress=False)\n"
    )
    (tmp_path / "script.py").write_text(script)
    python_path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[2])])
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py")],
        env={**os.environ, "PYTHONPATH": python_path},
    )
    deadline = time.monotonic() + 60
    while len(list(path.glob(".labels-*/chunk_*.npy"))) < 3:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = sum(len(np.load(file)) for file in path.glob(".labels-*/chunk_*.npy"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vlsafe_agents.data.label._CHUNK_FRAMES", 20)
        label(data, partial(SceneScorer, str(log)), make_draw, progress=False)
    judged = sum(int(line) for line in log.read_text().split())
    assert 0 < kept < frames
    assert judged == frames - kept
    for score in scores(path):
        np.testing.assert_allclose(score, 1 / (1 + np.arange(len(score))))
    assert not list(path.glob(".labels-*"))


def test_another_judge_does_not_take_over_half_finished_scores(tmp_path: Path) -> None:
    path = collect_toy(tmp_path, episodes=3).path

    class Broken(SceneScorer):
        def __call__(self, frames: Any, infos: Any = None) -> Any:
            return np.full(len(frames), np.nan)

    with pytest.raises(ValueError, match="holds nan"):
        label(tmp_path, Broken, make_draw, progress=False)
    label(tmp_path, partial(SceneScorer, name="other"), make_draw, progress=False)
    assert EpisodeDataset.from_minari(tmp_path).metadata["scorer"]["name"] == "other"
    np.testing.assert_allclose(scores(path)[0][:3], [1, 1 / 2, 1 / 3])


@pytest.mark.parametrize(
    ("answer", "message"),
    [(lambda n: np.full(n, 1.2), "holds 1.2"), (lambda n: np.zeros((n, 1)), "returned shape")],
)
def test_impossible_scores_are_refused(tmp_path: Path, answer: Any, message: str) -> None:
    collect_toy(tmp_path, episodes=1)

    class Odd(SceneScorer):
        def __call__(self, frames: Any, infos: Any = None) -> Any:
            return answer(len(frames))

    with pytest.raises(ValueError, match=message):
        label(tmp_path, Odd, make_draw, progress=False)


def test_data_without_scenes_name_the_remedy(tmp_path: Path) -> None:
    path = collect_toy(tmp_path, episodes=1).path
    with h5py.File(path / "data" / "main_data.hdf5", "r+") as file:
        del file["episode_0/infos/scene"]
    with pytest.raises(ValueError, match="scene_in_info=True"):
        label(tmp_path, SceneScorer, make_draw, progress=False)


def test_auroc_is_the_share_of_pairs_in_the_right_order() -> None:
    rng = np.random.default_rng(0)
    score, positive = rng.integers(0, 6, 60).astype(float), rng.random(60) < 0.3
    pairs = score[positive][:, None] - score[~positive][None]
    slow = ((pairs > 0) + 0.5 * (pairs == 0)).mean()
    assert auroc(score, positive) == pytest.approx(slow)
    assert np.isnan(auroc(score, np.zeros(60, bool)))
