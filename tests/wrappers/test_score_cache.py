"""Scores on disk: never wrong, never lost half-way, whatever happens to file and processes."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest

from wrappers import score_cache
from wrappers.score_cache import ScoreCache, cache_folder, content_keys

ROOT = Path(__file__).parents[2]


def some_keys(count: int, first: int = 0) -> list[bytes]:
    rows = np.arange(first, first + count, dtype=np.int64)[:, None]
    return content_keys({"test": 1}, rows)


def some_scores(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(count).astype(np.float32)


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    """A process that runs a script with the repository on its path."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def test_scores_come_back_exactly_and_unknown_ones_are_nan(tmp_path: Path) -> None:
    cache = ScoreCache(tmp_path)
    keys, scores = some_keys(20_000), some_scores(20_000)
    scores[:2] = 0.0, 1.0
    cache.put(keys[:15_000], scores[:15_000])
    cache.close()
    found = ScoreCache(tmp_path).get([*keys, keys[0]])
    np.testing.assert_array_equal(found[:15_000], scores[:15_000])
    assert np.isnan(found[15_000:-1]).all()
    assert found[-1] == scores[0]
    assert found.dtype == np.float32


def test_no_label_is_not_kept_and_the_first_score_stays(tmp_path: Path) -> None:
    cache = ScoreCache(tmp_path)
    keys = some_keys(3)
    cache.put(keys, np.array([0.5, np.nan, 1.0]))
    assert len(cache) == 2
    cache.put(keys, np.array([0.1, 0.2, np.nan]))
    np.testing.assert_array_equal(cache.get(keys), np.array([0.5, 0.2, 1.0], np.float32))


@pytest.mark.parametrize("bad", [1.5, -0.1, np.inf])
def test_impossible_scores_are_refused(tmp_path: Path, bad: float) -> None:
    with pytest.raises(ValueError, match=r"lies in \[0, 1\]"):
        ScoreCache(tmp_path).put(some_keys(2), np.array([0.5, bad]))


def test_keys_tell_content_scope_shape_and_type_apart() -> None:
    rows = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    scopes = [{"scorer": {"prompts": ["a", "b"]}}, {"scorer": {"prompts": ["ab", ""]}}]
    variants = [rows, rows.reshape(2, 4, 3), rows.view(np.int8), rows.reshape(2, 12)]
    keys = [key for scope in scopes for variant in variants for key in content_keys(scope, variant)]
    assert len(set(keys)) == len(keys) == 16
    assert content_keys({"b": 1, "a": 2}, rows) == content_keys({"a": 2, "b": 1}, rows.copy())
    assert content_keys({}, rows[:, ::-1]) == content_keys({}, rows[:, ::-1].copy())


def test_a_changed_entry_is_noticed_dropped_and_can_be_put_again(tmp_path: Path) -> None:
    keys, scores = some_keys(10), some_scores(10)
    ScoreCache(tmp_path).put(keys, scores)
    with sqlite3.connect(ScoreCache(tmp_path).path) as connection:
        connection.execute("UPDATE scores SET score = 1 - score WHERE key = ?", (keys[3],))
        connection.execute("UPDATE scores SET score = 'x' WHERE key = ?", (keys[4],))
    cache = ScoreCache(tmp_path)
    found = cache.get(keys)
    assert np.isnan(found[3:5]).all()
    assert len(cache) == 8
    np.testing.assert_array_equal(np.delete(found, [3, 4]), np.delete(scores, [3, 4]))
    cache.put(keys, scores)
    np.testing.assert_array_equal(cache.get(keys), scores)


@pytest.mark.filterwarnings("ignore:the score cache")
def test_no_damage_to_the_file_makes_a_wrong_score(tmp_path: Path) -> None:
    keys, scores = some_keys(2_000), some_scores(2_000)
    first = ScoreCache(tmp_path / "first")
    first.put(keys, scores)
    first.close()
    whole = first.path.read_bytes()
    dice = random.Random(0)
    lost = 0
    for trial in range(50):
        folder = tmp_path / str(trial)
        folder.mkdir()
        content = bytearray(whole)
        for _ in range(dice.choice([1, 10, 300])):
            content[dice.randrange(len(content))] = dice.randrange(256)
        (folder / first.path.name).write_bytes(content)
        cache = ScoreCache(folder)
        found = cache.get(keys)
        known = ~np.isnan(found)
        np.testing.assert_array_equal(found[known], scores[known])
        lost += int((~known).sum())
        for _ in range(3):  # a broken tree may lose some more, which are then put again
            cache.put(keys, scores)
            again = cache.get(keys)
            known = ~np.isnan(again)
            np.testing.assert_array_equal(again[known], scores[known])
        assert known.all()
        cache.close()
    assert lost > 0  # the damage did reach entries


@pytest.mark.parametrize("content", [b"not a database" * 999, b"\0" * 4096, b"SQLite format 3\0"])
def test_a_file_that_is_no_database_is_replaced(tmp_path: Path, content: bytes) -> None:
    path = ScoreCache(tmp_path).path
    path.write_bytes(content)
    cache = ScoreCache(tmp_path)
    with pytest.warns(UserWarning, match="damaged"):
        assert np.isnan(cache.get(some_keys(1))).all()
    cache.put(some_keys(1), [0.5])
    assert not path.exists()
    assert (tmp_path / "scores.damaged").read_bytes() == content
    assert ScoreCache(tmp_path).get(some_keys(1)) == [0.5]


def test_another_programs_database_is_not_taken_for_ours(tmp_path: Path) -> None:
    with sqlite3.connect(ScoreCache(tmp_path).path) as connection:
        connection.execute("CREATE TABLE scores (key BLOB, score REAL)")
    with pytest.warns(UserWarning, match="damaged"):
        ScoreCache(tmp_path).put(some_keys(1), [0.5])
    assert ScoreCache(tmp_path).get(some_keys(1)) == [0.5]


def test_files_of_earlier_versions_are_read(tmp_path: Path) -> None:
    keys, scores = some_keys(3), some_scores(3)
    with sqlite3.connect(tmp_path / "scores.v1.2.sqlite") as connection:
        connection.execute("PRAGMA application_id = 0x564C5301")
        connection.execute(
            "CREATE TABLE scores (key BLOB PRIMARY KEY, score REAL NOT NULL, "
            "checksum INTEGER NOT NULL, used INTEGER NOT NULL) WITHOUT ROWID"
        )
        for key, score in zip(keys, scores.tolist(), strict=True):
            row = (key, score, zlib.crc32(key + struct.pack("d", score)), 400_000)
            connection.execute("INSERT INTO scores VALUES (?, ?, ?, ?)", row)
    np.testing.assert_array_equal(ScoreCache(tmp_path).get(keys), scores)


def test_without_a_write_ahead_log_all_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score_cache, "_PATIENCE", 0.1)
    path = ScoreCache(tmp_path).path
    reader = sqlite3.connect(path)
    reader.execute(score_cache._SCHEMA)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM scores").fetchall()  # holds a lock, so that the log cannot begin
    cache = ScoreCache(tmp_path)
    assert np.isnan(cache.get(some_keys(1))).all()
    reader.close()
    cache.put(some_keys(1), [0.5])
    assert not path.with_name(path.name + "-wal").exists()
    assert ScoreCache(tmp_path).get(some_keys(1)) == [0.5]


def test_who_still_has_a_replaced_file_open_goes_on_with_the_new_one(tmp_path: Path) -> None:
    slow, other = ScoreCache(tmp_path), ScoreCache(tmp_path)
    keys = some_keys(2)
    slow.put(keys[:1], [0.25])
    other.get(keys)
    with pytest.warns(UserWarning, match="damaged"):
        other._set_aside(ValueError("found out elsewhere"))
    other.put(keys[:1], [0.25])
    slow.put(keys[1:], [0.75])
    np.testing.assert_array_equal(ScoreCache(tmp_path).get(keys), [0.25, 0.75])


def test_an_emptied_folder_is_filled_again(tmp_path: Path) -> None:
    cache = ScoreCache(tmp_path / "cache")
    cache.put(some_keys(1), [0.5])
    for path in cache.folder.iterdir():
        path.unlink()
    cache.folder.rmdir()
    assert np.isnan(cache.get(some_keys(1))).all()
    cache.put(some_keys(1), [0.5])
    assert len(ScoreCache(tmp_path / "cache")) == 1


WRITER = """
import sys, numpy as np
from wrappers.score_cache import ScoreCache, content_keys
cache = ScoreCache(sys.argv[1])
first, count, step = map(int, sys.argv[2:])
print("ready", flush=True)
for begin in range(first, first + count, step):
    rows = np.arange(begin, begin + step, dtype=np.int64)[:, None]
    cache.put(content_keys({"test": 1}, rows), (rows[:, 0] % 1000) / 1000)
"""


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    writers = [start(WRITER, tmp_path, first, 4_000, 50) for first in (0, 1_000, 2_000, 3_000)]
    assert [writer.wait(60) for writer in writers] == [0] * 4
    cache = ScoreCache(tmp_path)
    expected = (np.arange(7_000) % 1000 / 1000).astype(np.float32)
    np.testing.assert_array_equal(cache.get(some_keys(7_000)), expected)
    assert len(cache) == 7_000


def test_a_killed_writer_leaves_whole_batches_and_a_sound_file(tmp_path: Path) -> None:
    dice = random.Random(1)
    for kill in range(5):
        writer = start(WRITER, tmp_path, 1_000_000 * kill, 1_000_000, 64)
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(0.05 + 0.1 * dice.random())
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        cache = ScoreCache(tmp_path)
        assert len(cache) % 64 == 0
        cache.close()
        with sqlite3.connect(cache.path) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert len(cache) > 0


def test_a_file_over_the_limit_loses_what_was_not_used_for_longest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hour = 1_000
    monkeypatch.setattr(score_cache, "_hour", lambda: hour)
    limit = 400_000
    cache = ScoreCache(tmp_path, limit=limit)
    keys = some_keys(12_000)
    for begin in range(0, 12_000, 2_000):
        hour += 100
        cache.put(keys[begin : begin + 2_000], np.full(2_000, 0.5))
    hour += 100
    cache.get(keys[:2_000])  # the oldest are used again
    assert cache.size > limit
    dropped = cache.prune()
    assert cache.size <= limit
    assert len(cache) == 12_000 - dropped
    known = ~np.isnan(cache.get(keys))
    assert known[:2_000].all()
    assert not known[2_000:4_000].any()
    assert known[10_000:].all()
    assert cache.prune() == 0


def test_the_limit_holds_while_scores_are_put(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score_cache, "_PUTS_BETWEEN_CHECKS", 4)
    cache = ScoreCache(tmp_path, limit=300_000)
    for begin in range(0, 40_000, 500):
        cache.put(some_keys(500, begin), np.full(500, 0.5))
        assert cache.size <= 300_000 + 4 * 500 * 100
    cache.close()
    assert cache.path.stat().st_size <= 300_000 + 4 * 500 * 100


def test_a_forked_child_and_its_parent_both_go_on(tmp_path: Path) -> None:
    cache = ScoreCache(tmp_path)
    keys = some_keys(3)
    cache.put(keys[:1], [0.1])
    child = os.fork()
    if child == 0:
        cache.put(keys[1:2], [0.2])
        os._exit(0 if cache.get(keys[:1])[0] == np.float32(0.1) else 1)
    assert os.waitpid(child, 0)[1] == 0
    cache.put(keys[2:], [0.3])
    np.testing.assert_array_equal(cache.get(keys), np.array([0.1, 0.2, 0.3], np.float32))


def test_the_place_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("VLSAFE_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == Path.home() / ".cache" / "vlsafe"
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/vlsafe")
    monkeypatch.setenv("VLSAFE_CACHE", "/elsewhere")
    assert cache_folder() == Path("/elsewhere")
    assert ScoreCache().folder == Path("/elsewhere/scores")


def use(cache: ScoreCache) -> None:
    keys = some_keys(3)
    assert np.isnan(cache.get(keys)).all()
    cache.put(keys[:2], [0.1, 0.2])
    cache.put(keys[1:], [0.9, 0.3])
    np.testing.assert_array_equal(cache.get(keys), np.array([0.1, 0.2, 0.3], np.float32))
    cache.close()


def test_an_unusable_folder_is_named_with_the_remedy_and_memory_takes_its_place(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "cache"
    with pytest.warns(UserWarning, match=re.escape(str(folder))) as caught:
        use(ScoreCache(folder))
    (said,) = (str(one.message) for one in caught)  # once
    assert "--no-cache" in said
    assert "kept in memory" in said


IN_A_SMALL_PLACE = """
import sys, time, warnings
from pathlib import Path
import numpy as np
from wrappers.score_cache import ScoreCache
cache = ScoreCache(Path(sys.argv[1]))
keys = [bytes([i % 256, i // 256]) * 8 for i in range(20_000)]
began = time.monotonic()
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for begin in range(0, len(keys), 500):
        cache.put(keys[begin : begin + 500], np.full(500, begin / 20_000))
    found = cache.get(keys)
assert len(caught) == 1, caught
assert "kept in memory" in str(caught[0].message), caught[0].message
np.testing.assert_allclose(found, np.repeat(np.arange(40) / 40, 500), atol=1e-6)
assert time.monotonic() - began < 50
"""


@pytest.mark.parametrize("mount", ["size=200k", "size=4k", "ro"])
def test_a_full_or_read_only_disk_costs_nothing_but_a_warning(tmp_path: Path, mount: str) -> None:
    if os.geteuid() or not shutil.which("unshare"):
        pytest.skip("only root can mount a small disk")
    (tmp_path / "disk").mkdir()
    command = (
        f"mount --make-rprivate / && mount -t tmpfs -o {mount} tmpfs {tmp_path}/disk && "
        f"exec {sys.executable} -c '{IN_A_SMALL_PLACE}' {tmp_path}/disk/cache"
    )
    found = subprocess.run(
        ["unshare", "-m", "sh", "-c", command],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    if found.stderr.startswith(("mount", "unshare")):
        pytest.skip("mounting is not allowed here")
    assert found.returncode == 0, found.stderr


def test_keys_that_sqlite_cannot_hold_are_no_damage(tmp_path: Path) -> None:
    cache = ScoreCache(tmp_path)
    cache.put([b"k" * 16], [0.5])
    with pytest.warns(UserWarning, match="cannot use the score cache"):
        assert np.isnan(cache.get([(1, 2)]))  # type: ignore[list-item]
    assert ScoreCache(tmp_path).get([b"k" * 16]) == 0.5
    assert not (tmp_path / "scores.damaged").exists()
