"""No frame is scored twice, whatever happens to the processes that score."""

import os
import random
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
from toy_scorers import BatchScorer, SceneScorer, ToyDrawing

from vlsafe_agents.labelling import estimate, label
from wrappers.cached_scorer import CachedScorer
from wrappers.remembered_scorer import RememberedScorer, facts_of
from wrappers.score_cache import ScoreCache

HERE = Path(__file__).parent

# labels arguments 1 with the cache in 2; scores slowly, and writes what it sees into 3
SLOW_RUN = """
import sys
from functools import partial
import toy_scorers
from vlsafe_agents.labelling import label
from wrappers.score_cache import ScoreCache
data, cache, log, scorer, pause = sys.argv[1:]
make = partial(getattr(toy_scorers, scorer), log, float(pause))
label(data, make, toy_scorers.ToyDrawing, ScoreCache(cache), batch_size=4, progress=False)
"""


def start(*arguments: object) -> subprocess.Popen[bytes]:
    python_path = os.pathsep.join([str(HERE), str(HERE.parents[1])])
    command = [sys.executable, "-c", SLOW_RUN, *map(str, arguments)]
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": python_path})


def labels(path: Path) -> Any:
    with h5py.File(path / "data" / "main_data.hdf5") as file:
        episodes = [file[f"episode_{i}/infos/safety_score"][()] for i in range(len(file))]
    return np.concatenate(episodes)


def tell_apart(path: Path) -> int:
    """Make all scenes of a toy data set different; how many there are."""
    count = 0
    with h5py.File(path / "data" / "main_data.hdf5", "r+") as file:
        for number in range(len(file)):
            scene = file[f"episode_{number}/infos/scene"]
            packed = scene[()]
            packed[:, 1, 0] = count + np.arange(len(packed))
            scene[...] = packed
            count += len(packed)
    return count


def count_scored(log: Path) -> int:
    return len(log.read_text().split()) if log.exists() else 0


def test_equal_frames_are_scored_once_in_all_data_sets(tmp_path: Path) -> None:
    cache, log = ScoreCache(tmp_path / "cache"), tmp_path / "log"
    first = collect_toy(tmp_path / "first", episodes=5).path
    second = collect_toy(tmp_path / "second", episodes=9, seed=3).path
    run = partial(label, make_scorer=partial(SceneScorer, str(log)), make_drawing=ToyDrawing)
    counts = run(first, cache=cache, progress=False).counts
    assert counts is not None
    assert count_scored(log) == len(set(log.read_text().split())) == counts.scored
    assert counts.from_cache == counts.frames - counts.scored
    before = count_scored(log)
    counts = run(second, cache=cache, progress=False).counts
    assert counts is not None
    assert count_scored(log) == len(set(log.read_text().split())) == before + counts.scored
    with h5py.File(second / "data" / "main_data.hdf5") as file:
        for number in range(len(file)):
            score = file[f"episode_{number}/infos/safety_score"][()]
            np.testing.assert_allclose(score, 1 / (1 + np.arange(len(score))))


def test_a_copy_is_labelled_from_the_cache_alone(tmp_path: Path) -> None:
    path = collect_toy(tmp_path / "one", episodes=6).path
    tell_apart(path)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    label(path, SceneScorer, ToyDrawing, ScoreCache(tmp_path / "cache"), progress=False)

    class Mute(SceneScorer):
        def __call__(self, frames: Any, infos: Any = None) -> Any:
            raise AssertionError("asked again")

    summary = label(
        tmp_path / "two", Mute, ToyDrawing, ScoreCache(tmp_path / "cache"), progress=False
    )
    assert summary.counts is not None
    assert (summary.counts.scored, summary.counts.without_label) == (0, 0)
    data = path / "data" / "main_data.hdf5"
    assert data.read_bytes() == (tmp_path / "two" / data.relative_to(tmp_path / "one")).read_bytes()


def test_a_remembered_scorer_is_not_loaded_where_the_cache_knows_all(tmp_path: Path) -> None:
    path = collect_toy(tmp_path / "one", episodes=2).path
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    run = partial(label, make_drawing=ToyDrawing, cache=ScoreCache(tmp_path / "cache"))
    run(path, SceneScorer, progress=False)

    def load() -> Any:
        raise AssertionError("loaded")

    remembered = RememberedScorer(load, facts_of(SceneScorer()))
    summary = run(tmp_path / "two", lambda: remembered, progress=False)
    assert summary.counts is not None
    assert summary.counts.from_cache == summary.counts.frames


class Brightness:
    """The mean of a frame's pixels."""

    identity = {"name": "brightness"}  # noqa: RUF012

    def __call__(self, frames: Any, infos: Any = None) -> Any:
        return (frames.reshape(len(frames), -1).mean(1) / 255).astype(np.float32)


def test_environments_know_the_frames_of_data_sets_with_images(tmp_path: Path) -> None:
    path, cache = collect_toy(tmp_path / "data", episodes=3).path, ScoreCache(tmp_path / "cache")
    label(path, Brightness, cache=cache, progress=False)
    scorer = CachedScorer(Brightness(), cache)
    with h5py.File(path / "data" / "main_data.hdf5") as file:
        images = np.concatenate([file[f"episode_{i}/observations/image"][()] for i in range(3)])
    np.testing.assert_array_equal(scorer(images), labels(path))
    assert scorer.misses == 0


def test_a_killed_labelling_goes_on_without_scoring_twice(tmp_path: Path) -> None:
    path = collect_toy(tmp_path / "data", episodes=30).path
    total, log = tell_apart(path), tmp_path / "log"
    process = start(path, tmp_path / "cache", log, "SceneScorer", 0.05)
    deadline = time.monotonic() + 200  # a busy machine starts processes slowly
    while count_scored(log) < 20:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    cache = ScoreCache(tmp_path / "cache")
    kept = len(cache)
    assert 0 < kept < total
    assert kept % 4 == 0  # whole batches
    label(path, partial(SceneScorer, str(tmp_path / "later")), ToyDrawing, cache, progress=False)
    assert count_scored(tmp_path / "later") == total - kept
    times = np.concatenate([np.arange(n) for n in episode_lengths(path)])
    np.testing.assert_allclose(labels(path), 1 / (1 + times))


def episode_lengths(path: Path) -> list[int]:
    with h5py.File(path / "data" / "main_data.hdf5") as file:
        return [len(file[f"episode_{i}/rewards"]) + 1 for i in range(len(file))]


def test_killed_many_times_the_labels_are_the_same_to_the_byte(tmp_path: Path) -> None:
    path = collect_toy(tmp_path / "data", episodes=40).path
    tell_apart(path)
    shutil.copytree(tmp_path / "data", tmp_path / "whole")
    cache = partial(ScoreCache, tmp_path / "cache")
    label(tmp_path / "whole", BatchScorer, ToyDrawing, batch_size=4, progress=False)
    dice = random.Random(0)
    kills = 0
    for attempt in range(40):
        process = start(path, tmp_path / "cache", tmp_path / f"log{attempt}", "BatchScorer", 0.02)
        aim = count_scored(tmp_path / f"log{attempt}") + dice.randrange(4, 30)
        while process.poll() is None and count_scored(tmp_path / f"log{attempt}") < aim:
            time.sleep(0.002)
        time.sleep(0.02 * dice.random())
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
    assert kills >= 5
    assert process.returncode == 0
    twin = tmp_path / "whole" / path.relative_to(tmp_path / "data")
    assert labels(path).tobytes() == labels(twin).tobytes()
    assert len(cache()) == len(labels(path))


def test_two_commands_at_once_give_the_same_labels(tmp_path: Path) -> None:
    path = collect_toy(tmp_path / "one", episodes=25).path
    total = tell_apart(path)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    runs = [
        start(tmp_path / name, tmp_path / "cache", tmp_path / f"log_{name}", "SceneScorer", 0.02)
        for name in ("one", "two")
    ]
    assert [run.wait(60) for run in runs] == [0, 0]
    both = count_scored(tmp_path / "log_one") + count_scored(tmp_path / "log_two")
    assert total <= both <= 2 * total
    assert len(ScoreCache(tmp_path / "cache")) == total
    twin = tmp_path / "two" / path.relative_to(tmp_path / "one")
    np.testing.assert_array_equal(labels(path), labels(twin))


def test_damaged_entries_are_scored_again(tmp_path: Path) -> None:
    import sqlite3

    path = collect_toy(tmp_path / "one", episodes=5).path
    tell_apart(path)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    cache = ScoreCache(tmp_path / "cache")
    label(path, SceneScorer, ToyDrawing, cache, progress=False)
    cache.close()
    with sqlite3.connect(cache.path) as connection:
        connection.execute("UPDATE scores SET score = 0.123 WHERE score < 0.3")
        changed = connection.execute("SELECT changes()").fetchone()[0]
    assert changed > 0
    log = tmp_path / "log"
    label(
        tmp_path / "two",
        partial(SceneScorer, str(log)),
        ToyDrawing,
        ScoreCache(cache.folder),
        progress=False,
    )
    assert count_scored(log) == changed
    twin = tmp_path / "two" / path.relative_to(tmp_path / "one")
    np.testing.assert_array_equal(labels(path), labels(twin))


class Forgetful(SceneScorer):
    """Scores by the number of the call."""

    reads_history = True
    calls = 0

    def __call__(self, frames: Any, infos: Any = None) -> Any:
        Forgetful.calls += 1
        return np.full(len(frames), 1 / Forgetful.calls)


def test_scores_that_depend_on_earlier_calls_are_not_kept(tmp_path: Path) -> None:
    path = collect_toy(tmp_path / "data", episodes=3).path
    cache = ScoreCache(tmp_path / "cache")
    label(path, Forgetful, ToyDrawing, cache, batch_size=4, progress=False)
    assert len(cache) == 0
    assert len(set(labels(path))) == Forgetful.calls > 1


def test_an_estimate_knows_what_is_cached_and_wastes_no_sample(tmp_path: Path) -> None:
    path, log = collect_toy(tmp_path / "data", episodes=30).path, tmp_path / "log"
    total = tell_apart(path)
    cache, scorer = ScoreCache(tmp_path / "cache"), partial(SceneScorer, str(log))
    found = estimate(path, scorer, ToyDrawing, cache, batch_size=2)
    assert (found.from_cache, found.to_score) == (0, total)
    sampled = count_scored(log)
    assert 0 < sampled < total
    found = estimate(path, scorer, ToyDrawing, cache, batch_size=2)
    assert (found.from_cache, found.to_score) == (sampled, total - sampled)
    label(path, scorer, ToyDrawing, cache, progress=False)
    assert count_scored(log) == total
    found = estimate(path, scorer, ToyDrawing, cache)
    assert (found.kept, found.to_score, found.seconds) == (total, 0, 0.0)


@pytest.mark.slow  # starting Ray takes 20 s
def test_ray_gives_the_same_labels(tmp_path: Path) -> None:
    pytest.importorskip("ray.data", reason="Ray is an optional extra")
    path = collect_toy(tmp_path / "one", episodes=12).path
    tell_apart(path)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    label(path, BatchScorer, ToyDrawing, batch_size=7, progress=False)
    cache = ScoreCache(tmp_path / "cache")
    label(
        tmp_path / "two",
        BatchScorer,
        ToyDrawing,
        cache,
        batch_size=7,
        workers=2,
        engine="ray",
        progress=False,
    )
    twin = tmp_path / "two" / path.relative_to(tmp_path / "one")
    assert labels(path).tobytes() == labels(twin).tobytes()
    assert len(cache) == len(labels(path))
