"""A replay on disk: what a save writes, what a kill leaves, and what comes back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from test_replay import drive, replay

from vlsafe_agents.data.replay import Replay
from vlsafe_agents.data.replay_folder import ReplayFolder


def contents(memory: Replay) -> dict[str, np.ndarray]:
    return {name: array.copy() for name, array in memory.state_dict().items()}


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def some_episodes(memory: Replay, rng: np.random.Generator) -> None:
    for slot in range(2):
        for _ in range(rng.integers(3)):
            drive(memory, slot, int(rng.integers(1, 7)), int(rng.integers(50)), rng.random() < 0.5)


@pytest.mark.parametrize("capacity", [24, 1000])  # rings that come round, and some that do not
@pytest.mark.parametrize("seed", range(4))
def test_what_was_saved_last_comes_back_and_goes_on(
    capacity: int, seed: int, tmp_path: Path
) -> None:
    rng = np.random.default_rng(seed)
    memory, folder = replay(capacity), ReplayFolder(tmp_path / "a")
    for _ in range(12):
        some_episodes(memory, rng)
        folder.save(memory)
        kept = contents(memory)  # a checkpoint is written here
        folder.forget(memory)
        if rng.random() < 0.4:  # more is driven and saved, and then a kill comes
            some_episodes(memory, rng)
            folder.save(memory)
        memory, folder = replay(capacity), ReplayFolder(tmp_path / "a")
        folder.load(memory, kept["end"])
        assert_same(contents(memory), kept)


def test_a_save_writes_what_is_new_and_forgotten_rows_leave_no_files(tmp_path: Path) -> None:
    memory, folder = replay(40, n_envs=1), ReplayFolder(tmp_path / "a")
    for number in range(30):
        drive(memory, 0, 4, begin=10 * number)
        folder.save(memory)
        folder.forget(memory)
    names = sorted(path.name for path in folder.path.iterdir())
    assert names == [f"{5 * number:015d}.npz" for number in range(22, 30)]  # the last 40 rows
    for path in folder.path.iterdir():
        with np.load(path) as rows:
            assert len(rows["reward"]) == 5
    before = [path.stat().st_mtime_ns for path in sorted(folder.path.iterdir())]
    folder.save(memory)
    assert [path.stat().st_mtime_ns for path in sorted(folder.path.iterdir())] == before


def test_what_a_run_without_a_checkpoint_left_is_removed(tmp_path: Path) -> None:
    for steps in (9, 3):
        memory, folder = replay(n_envs=1), ReplayFolder(tmp_path / "a")
        drive(memory, 0, steps)
        folder.save(memory)
        drive(memory, 0, 2)
        folder.save(memory)
    assert [path.name for path in sorted(folder.path.iterdir())] == [
        "000000000000000.npz", "000000000000004.npz",
    ]  # fmt: skip


def test_missing_rows_are_named(tmp_path: Path) -> None:
    memory, folder = replay(n_envs=1), ReplayFolder(tmp_path / "a")
    for _ in range(3):
        drive(memory, 0, 4)
        folder.save(memory)
    (tmp_path / "a" / "000000000000005.npz").unlink()
    with pytest.raises(ValueError, match="lacks rows of the replay after 5 of 15"):
        ReplayFolder(tmp_path / "a").load(replay(n_envs=1), memory.rows_added)
