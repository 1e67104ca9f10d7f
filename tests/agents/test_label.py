"""What labelling writes into a data set."""

import csv
import errno
import itertools
import json
import os
import shutil
import sys
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest
from toy_drives import collect_toy
from toy_scorers import InfoScorer, SceneScorer, SizeScorer, ToyDrawing, WindowScorer

from vlsafe_agents.data import EpisodeDataset
from vlsafe_agents.labelling import LabellingError, estimate, label
from wrappers.controls import Deal
from wrappers.files import FolderInUseError, one_writer
from wrappers.score_cache import ScoreCache


def scores(path: Path) -> list[Any]:
    with h5py.File(path / "data" / "main_data.hdf5") as file:
        return [file[f"episode_{i}/infos/safety_score"][()] for i in range(len(file))]


def record(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((path / "data" / "metadata.json").read_text())["labelling"]
    return found


def forget_record(path: Path) -> None:
    """As if a run was killed between writing labels and metadata."""
    metadata = path / "data" / "metadata.json"
    content = json.loads(metadata.read_text())
    content["labelling"] = {"labels_sha256": "of another run"}
    metadata.write_text(json.dumps(content))


@pytest.mark.parametrize("scorer", [SceneScorer, InfoScorer])
def test_every_frame_gets_its_own_score_the_resets_too(tmp_path: Path, scorer: Any) -> None:
    path = collect_toy(tmp_path, episodes=4).path
    summary = label(tmp_path, scorer, ToyDrawing, batch_size=5, progress=False)
    for score in scores(path):
        np.testing.assert_allclose(score, 1 / (1 + np.arange(len(score))))
    data = EpisodeDataset.from_minari(tmp_path, cost="vlm")
    assert data.has_safety_score
    assert summary.auroc == 1.0  # a step is unsafe from t = 3 on
    assert summary.mean_unsafe < summary.mean_safe
    assert sum(summary.histogram) == summary.frames == data.num_steps
    again = label(tmp_path, scorer, ToyDrawing, batch_size=5, progress=False)  # as it is stored
    assert (again.histogram, again.auroc) == (summary.histogram, summary.auroc)


def test_stored_images_are_scored_where_nothing_is_drawn(tmp_path: Path) -> None:
    path = collect_toy(tmp_path, episodes=3).path

    class Brightness(SceneScorer):
        def __call__(self, frames: Any, infos: Any = None) -> Any:
            return frames.reshape(len(frames), -1).mean(1) / 255

    label(tmp_path, Brightness, progress=False)
    with h5py.File(path / "data" / "main_data.hdf5") as file:
        for number, score in enumerate(scores(path)):
            images = file[f"episode_{number}/observations/image"][()]
            np.testing.assert_allclose(score, images.reshape(len(images), -1).mean(1) / 255)


def test_windows_reach_back_to_the_start_of_their_episode_only(tmp_path: Path) -> None:
    path = collect_toy(tmp_path, episodes=4).path
    label(tmp_path, WindowScorer, ToyDrawing, batch_size=4, progress=False)
    for score in scores(path):
        t = np.arange(len(score))
        before, long_before = np.maximum(t - 1, 0), np.maximum(t - 2, 0)
        np.testing.assert_allclose(score, 0.01 * long_before + 0.001 * before + 0.0001 * t)


@pytest.mark.parametrize("workers", [1, 2])
def test_frames_are_drawn_in_the_size_that_a_scorer_asks_for(tmp_path: Path, workers: int) -> None:
    path = collect_toy(tmp_path, episodes=3).path
    label(tmp_path, SizeScorer, ToyDrawing, workers=workers, progress=False)
    np.testing.assert_allclose(np.concatenate(scores(path)), 0.04)
    assert record(path)["judged_frames"]["size"] == 4

    class Indifferent(SizeScorer):
        frame_size = None  # type: ignore[assignment]

    label(tmp_path, Indifferent, ToyDrawing, progress=False)
    np.testing.assert_allclose(np.concatenate(scores(path)), 0.08)
    Indifferent.frame_size = 5  # type: ignore[assignment]  # cannot be drawn: as environments do
    label(tmp_path, Indifferent, ToyDrawing, progress=False)
    np.testing.assert_allclose(np.concatenate(scores(path)), 0.08)


def test_the_scorers_identity_is_kept_and_replaced_with_its_scores(tmp_path: Path) -> None:
    path = collect_toy(tmp_path, episodes=3).path
    label(tmp_path, SceneScorer, ToyDrawing, progress=False)
    before = EpisodeDataset.from_minari(tmp_path)
    assert before.metadata["scorer"] == {"name": "scene", "prompts": ["safe", "unsafe"]}
    control = label(tmp_path, SceneScorer, ToyDrawing, deal=Deal(0), progress=False)
    after = EpisodeDataset.from_minari(tmp_path)
    assert after.metadata["scorer"]["name"] == control.scorer["name"] == "shuffled"
    stored = json.loads((path / "data" / "metadata.json").read_text())
    assert stored["scorer"] == after.metadata["scorer"]
    mixed, plain = np.concatenate(scores(path)), before._flat.safety_score
    np.testing.assert_array_equal(np.sort(mixed), np.sort(plain))
    assert not np.array_equal(mixed, plain)
    np.testing.assert_array_equal(after._flat.safety_score, mixed)
    np.testing.assert_array_equal(after._flat.obs["image"], before._flat.obs["image"])


def test_labelled_files_do_not_depend_on_the_number_of_processes(tmp_path: Path) -> None:
    path = collect_toy(tmp_path / "one", episodes=12).path
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    run = partial(label, make_scorer=SceneScorer, make_drawing=ToyDrawing, progress=False)
    run(tmp_path / "one", batch_size=7)
    run(tmp_path / "two", batch_size=7, workers=2)
    first = path / "data" / "main_data.hdf5"
    once = first.read_bytes()
    assert once == (tmp_path / "two" / first.relative_to(tmp_path / "one")).read_bytes()
    forget_record(path)
    assert run(tmp_path / "one").counts is not None  # written again
    assert once == first.read_bytes()


def test_metadata_tell_where_the_labels_come_from(tmp_path: Path) -> None:
    path = collect_toy(tmp_path, episodes=4).path
    summary = label(tmp_path, partial(SceneScorer, speechless=[4]), ToyDrawing, progress=False)
    found = record(path)
    total = len(np.concatenate(scores(path)))
    silent = int(np.isnan(np.concatenate(scores(path))).sum())
    assert silent > 0
    assert summary.counts is not None
    assert (summary.counts.frames, summary.counts.without_label) == (total, silent)
    assert found["frames"] == total
    assert found["scored"] == total - silent
    assert found["without_label"] == silent == summary.without_label
    assert (found["kept"], found["from_cache"]) == (0, 0)
    assert found["judged_frames"] == {"name": "toy", "version": 1}
    assert found["date"].endswith("+00:00")
    assert found["vlsafe"]


def test_complete_labels_are_left_alone(tmp_path: Path) -> None:
    path, log = collect_toy(tmp_path / "data", episodes=4).path, tmp_path / "log"
    first = label(path, SceneScorer, ToyDrawing, progress=False)
    before = [(file, file.stat().st_mtime_ns) for file in sorted((path / "data").iterdir())]
    again = label(path, partial(SceneScorer, str(log)), ToyDrawing, progress=False)
    assert [(file, file.stat().st_mtime_ns) for file, _ in before] == before
    assert not log.exists()
    assert again.counts is None
    assert (again.histogram, again.auroc, again.frames, again.scorer) == (
        first.histogram,
        first.auroc,
        first.frames,
        first.scorer,
    )


def test_metadata_of_another_run_are_mended(tmp_path: Path) -> None:
    path = collect_toy(tmp_path, episodes=4).path
    label(path, SceneScorer, ToyDrawing, progress=False)
    forget_record(path)
    summary = label(path, SceneScorer, ToyDrawing, progress=False)
    assert summary.counts is not None
    assert summary.counts.kept == summary.counts.frames
    assert record(path)["labels_sha256"] != "of another run"


def test_labels_changed_by_something_else_are_not_believed(tmp_path: Path) -> None:
    path = collect_toy(tmp_path, episodes=4).path
    label(path, SceneScorer, ToyDrawing, progress=False)
    with h5py.File(path / "data" / "main_data.hdf5", "r+") as file:
        file["episode_1/infos/safety_score"][2] = 0.9
    label(path, SceneScorer, ToyDrawing, progress=False)
    np.testing.assert_allclose(scores(path)[1][2], 1 / 3)


def test_another_drawing_or_another_scorer_means_other_labels(tmp_path: Path) -> None:
    path, log = collect_toy(tmp_path / "data", episodes=2).path, tmp_path / "log"
    scorer = partial(SceneScorer, str(log))
    total = len(np.concatenate(scores_of_all(path, scorer)))
    label(path, scorer, partial(ToyDrawing, 2), progress=False)
    assert len(log.read_text().split()) == 2 * total
    label(
        path, partial(SceneScorer, str(log), name="other"), partial(ToyDrawing, 2), progress=False
    )
    assert len(log.read_text().split()) == 3 * total
    assert EpisodeDataset.from_minari(path).metadata["scorer"]["name"] == "other"


def scores_of_all(path: Path, scorer: Any) -> list[Any]:
    label(path, scorer, ToyDrawing, progress=False)
    return scores(path)


def test_frames_without_a_label_are_listed_with_the_reason_and_asked_about_again(
    tmp_path: Path,
) -> None:
    path, log = collect_toy(tmp_path / "data", episodes=6).path, tmp_path / "log"
    label(path, partial(SceneScorer, speechless=[2, 5]), ToyDrawing, progress=False)
    with (path / "data" / "unlabelled.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    lengths = [len(score) for score in scores(path)]
    expected = [(e, t) for e, length in enumerate(lengths) for t in (2, 5) if t < length]
    assert [(int(row["episode"]), int(row["step"])) for row in rows] == expected
    assert all(row["reason"] == f"t is {row['step']}" for row in rows)
    summary = label(path, partial(SceneScorer, str(log)), ToyDrawing, progress=False)
    assert sorted(log.read_text().split()) == sorted(row["step"] for row in rows)
    assert summary.counts is not None
    assert summary.counts.scored == len(expected)
    assert summary.counts.kept == sum(lengths) - len(expected)
    assert not (path / "data" / "unlabelled.csv").exists()
    for score in scores(path):
        np.testing.assert_allclose(score, 1 / (1 + np.arange(len(score))))


def test_a_scorer_that_has_stopped_is_not_called_again(tmp_path: Path) -> None:
    path, log = collect_toy(tmp_path / "data", episodes=12).path, tmp_path / "log"

    class Limited(SceneScorer):
        @property
        def stopped(self) -> str:
            return "the budget is spent" if log.exists() else ""

    summary = label(path, partial(Limited, str(log)), ToyDrawing, batch_size=8, progress=False)
    assert summary.counts is not None
    assert len(log.read_text().splitlines()) == 1
    assert summary.counts.scored == 8
    assert summary.counts.without_label == summary.counts.frames - 8
    with (path / "data" / "unlabelled.csv").open(newline="") as file:
        assert {row["reason"] for row in csv.DictReader(file)} == {"the budget is spent"}


def contents(path: Path) -> dict[str, bytes]:
    """Everything in a data set's folder."""
    return {file.name: file.read_bytes() for file in (path / "data").iterdir()}


class Hesitant(SceneScorer):
    """Has labels for a share of the frames of each call."""

    def __init__(self, share: float = 1.0, name: str = "hesitant") -> None:
        super().__init__(name=name)
        self.share = share

    def __call__(self, frames: Any, infos: Any = None) -> Any:
        known = np.arange(len(frames)) < self.share * len(frames)
        self.last_reasons = [None if one else "no idea" for one in known]
        return np.where(known, 0.5 + np.arange(len(frames)) / 1000, np.nan)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_that_labels_nearly_nothing_is_an_error_that_writes_nothing(
    tmp_path: Path, workers: int
) -> None:
    path = collect_toy(tmp_path, episodes=12).path
    bare = contents(path)
    for share in (0.0, 0.04):
        with pytest.raises(LabellingError, match=r"have a label .*'no idea'.*nothing was written"):
            label(path, partial(Hesitant, share), ToyDrawing, workers=workers, progress=False)
        assert contents(path) == bare
    summary = label(path, partial(Hesitant, 0.2), ToyDrawing, workers=workers, progress=False)
    assert 0 < summary.frames < summary.without_label


@pytest.mark.parametrize("workers", [1, 2])
def test_labels_of_another_scorer_stand_until_the_new_ones_are_there(
    tmp_path: Path, workers: int
) -> None:
    path = collect_toy(tmp_path, episodes=12).path
    label(path, SceneScorer, ToyDrawing, progress=False)
    former = contents(path)
    run = partial(label, path, make_drawing=ToyDrawing, workers=workers, progress=False)
    for share in (0.0, 0.04, 0.4):
        with pytest.raises(LabellingError, match="the labels of another scorer stand"):
            run(make_scorer=partial(Hesitant, share))
        assert contents(path) == former
    run(make_scorer=partial(Hesitant, 0.7))
    assert EpisodeDataset.from_minari(path).metadata["scorer"]["name"] == "hesitant"
    run(make_scorer=partial(Hesitant, 0.2, "hesitant"))  # its own ones are only added to
    assert np.isnan(np.concatenate(scores(path))).mean() < 0.3


def test_labels_that_are_all_alike_are_told(tmp_path: Path) -> None:
    path = collect_toy(tmp_path, episodes=3).path

    class Constant(SceneScorer):
        def __call__(self, frames: Any, infos: Any = None) -> Any:
            return np.full(len(frames), 0.5)

    with pytest.warns(UserWarning, match=r"all .* frames got the same score, 0\.5"):
        label(path, Constant, ToyDrawing, progress=False)
    with warnings.catch_warnings(action="error"):
        label(path, partial(Constant, name="constant"), ToyDrawing, progress=False)  # a control


class Fickle(SceneScorer):
    """Another scorer in every process."""

    @property
    def identity(self) -> dict[str, Any]:
        return {"name": "fickle", "process": os.getpid()}


class Failing(SceneScorer):
    """Fails with words that help."""

    def __call__(self, frames: Any, infos: Any = None) -> Any:
        raise RuntimeError("the server is of no use; look at the address")


def test_a_worker_with_another_scorer_labels_nothing(tmp_path: Path) -> None:
    path = collect_toy(tmp_path, episodes=6).path
    before = contents(path)
    with pytest.raises(RuntimeError, match=r"another one than that of the command: .* process"):
        label(path, Fickle, ToyDrawing, batch_size=4, workers=2, progress=False)
    assert contents(path) == before
    label(path, Fickle, ToyDrawing, batch_size=4, progress=False)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_scorers_own_words_come_out_of_every_process(tmp_path: Path, workers: int) -> None:
    path = collect_toy(tmp_path, episodes=6).path
    with pytest.raises(RuntimeError) as caught:
        label(path, Failing, ToyDrawing, batch_size=4, workers=workers, progress=False)
    assert str(caught.value) == "the server is of no use; look at the address"


def test_a_data_set_has_one_writer(tmp_path: Path) -> None:
    path = collect_toy(tmp_path, episodes=2).path
    with (
        one_writer(path, "vlsafe collect"),
        pytest.raises(FolderInUseError, match=r"being written by `vlsafe collect` \(process"),
    ):
        label(path, SceneScorer, ToyDrawing, progress=False)
    (path / "data" / ".main_data.hdf5.1234.tmp").write_text("what a killed run left")
    label(path, SceneScorer, ToyDrawing, progress=False)
    assert sorted(file.name for file in path.iterdir()) == ["data"]
    assert not list((path / "data").glob(".*"))


def test_an_interrupted_run_says_what_is_kept(tmp_path: Path) -> None:
    path, cache = collect_toy(tmp_path / "data", episodes=12).path, ScoreCache(tmp_path / "cache")

    class Interrupted(SceneScorer):
        calls = 0

        def __call__(self, frames: Any, infos: Any = None) -> Any:
            Interrupted.calls += 1
            if Interrupted.calls == 2:
                raise KeyboardInterrupt
            return super().__call__(frames)

    run = partial(label, path, Interrupted, ToyDrawing, batch_size=2, progress=False)
    before = contents(path)
    with pytest.raises(KeyboardInterrupt) as caught:
        run(cache=cache)
    said = str(caught.value)
    assert f"2 new scores are kept in {cache.folder}" in said
    assert "the labels in" in said
    assert contents(path) == before
    summary = run(cache=cache)
    assert summary.counts is not None
    assert f"scores the other {summary.counts.frames - summary.counts.from_cache:,} " not in said
    Interrupted.calls = 0
    shutil.rmtree(path)
    path = collect_toy(tmp_path / "data", episodes=12).path
    with pytest.raises(KeyboardInterrupt, match="no scores are kept"):
        run()


def test_without_room_for_the_labels_the_old_ones_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = collect_toy(tmp_path, episodes=2).path
    before = contents(path)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", full)
        with pytest.raises(OSError, match=r"cannot be written .* make room there"):
            label(path, SceneScorer, ToyDrawing, progress=False)
    assert contents(path) == before
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["vlsafe_agents.labelling.label"], "one_writer", full)
        with pytest.raises(OSError, match="label a copy of it"):
            label(path, SceneScorer, ToyDrawing, progress=False)


def test_damaged_data_are_named(tmp_path: Path) -> None:
    path = collect_toy(tmp_path, episodes=4).path
    file = path / "data" / "main_data.hdf5"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises((ValueError, OSError)):
        label(path, SceneScorer, ToyDrawing, progress=False)
    file.write_bytes(whole)
    with h5py.File(file) as data:
        place = data["episode_1/infos/scene"].id.get_chunk_info(0)
    damaged = bytearray(whole)
    damaged[place.byte_offset : place.byte_offset + place.size] = b"\xff" * place.size
    file.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"main_data\.hdf5.*copy or download"):
        label(path, SceneScorer, ToyDrawing, progress=False)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda n: np.full(n, 1.2), "returned 1.2"),
        (lambda n: np.full(n, np.inf), "returned inf"),
        (lambda n: np.zeros((n, 1)), "returned shape"),
        (lambda n: ["high"] * n, "no numbers"),
        (lambda n: None, "returned shape|no numbers"),
    ],
)
def test_impossible_scores_are_refused(tmp_path: Path, answer: Any, message: str) -> None:
    collect_toy(tmp_path, episodes=1)

    class Odd(SceneScorer):
        def __call__(self, frames: Any, infos: Any = None) -> Any:
            return answer(len(frames))

    with pytest.raises(ValueError, match=message):
        label(tmp_path, Odd, ToyDrawing, progress=False)


def test_data_without_scenes_name_the_remedy(tmp_path: Path) -> None:
    path = collect_toy(tmp_path, episodes=1).path
    with h5py.File(path / "data" / "main_data.hdf5", "r+") as file:
        del file["episode_0/infos/scene"]
    with pytest.raises(ValueError, match="scene_in_info=True"):
        label(tmp_path, SceneScorer, ToyDrawing, progress=False)


def test_an_unknown_engine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown engine 'rey'"):
        label(tmp_path, SceneScorer, ToyDrawing, engine="rey")  # type: ignore[arg-type]


def test_an_estimate_tells_time_or_price_and_leaves_the_data_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = collect_toy(tmp_path, episodes=20).path
    before = (path / "data" / "main_data.hdf5").read_bytes()
    total = sum(len(e.reward) + 1 for e in EpisodeDataset.from_minari(path, cost="env").episodes)
    now = itertools.count(0.0, 0.05)  # [s], a step every time it is looked at
    estimating = sys.modules["vlsafe_agents.labelling.estimate"]  # the package has its function
    monkeypatch.setattr(estimating, "time", SimpleNamespace(monotonic=lambda: next(now)))
    found = estimate(path, SceneScorer, ToyDrawing, batch_size=4)
    assert (found.frames, found.kept, found.to_score) == (total, 0, total)
    assert found.price is None
    assert found.frames_per_second == pytest.approx(4 / 0.05, rel=0.05)  # the last may be smaller
    assert found.seconds == pytest.approx(total / found.frames_per_second)

    class Hosted(SceneScorer):
        def price_estimate(self, frames: int) -> float:
            return 0.01 * frames

        def __call__(self, frames: Any, infos: Any = None) -> Any:
            raise AssertionError("this would cost money")

    found = estimate(path, Hosted, ToyDrawing)
    assert found.price == pytest.approx(0.01 * total)
    assert found.seconds is None
    assert (path / "data" / "main_data.hdf5").read_bytes() == before


def test_an_estimate_leaves_the_first_batch_out_and_stops_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    estimating = sys.modules["vlsafe_agents.labelling.estimate"]  # the package has its function
    now, added = [0.0], []
    monkeypatch.setattr(estimating, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def results(*seconds: float) -> Iterator[Any]:
        for spent in seconds:
            now[0] += spent
            yield SimpleNamespace(scores=np.zeros(4))

    known: Any = SimpleNamespace(add=added.append)
    assert estimating._rate(known, results(1.0, 0.05, 0.05, 0.1)) == pytest.approx(12 / 0.2)
    assert estimating._rate(known, results(0.5)) == pytest.approx(4 / 0.5)
    assert len(added) == 5
    assert estimating._rate(known, results(*[1.0] * 50)) == pytest.approx(4.0)
    assert len(added) < 12
