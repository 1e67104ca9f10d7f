"""Row numbers of a view against lists of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vlsafe_agents.data import stream as stream_module
from vlsafe_agents.data.drawing import starts_with
from vlsafe_agents.data.paging import take
from vlsafe_agents.data.stream import Stream


@pytest.mark.parametrize("ids", [[0], [0, 1, 2, 3, 4], [3, 1], [4, 4, 0]])
def test_rows_of_a_view_are_those_of_its_episodes_in_order(
    ids: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "CHUNK", 3)
    starts = np.array([0, 3, 5, 9, 11, 17])
    episodes = [list(range(starts[i], starts[i + 1])) for i in ids]
    rows = np.concatenate(episodes)
    acting = np.concatenate([episode[:-1] for episode in episodes])
    stream = Stream(starts, ids)
    assert (stream.num_rows, stream.num_steps) == (len(rows), len(acting))
    np.testing.assert_array_equal(stream.all_rows(), rows)
    np.testing.assert_array_equal(np.concatenate(list(stream.chunks())), rows)
    places = np.random.default_rng(0).integers(len(rows), size=(4, 6))
    np.testing.assert_array_equal(stream.rows(places), rows[places])
    np.testing.assert_array_equal(stream.acting_rows(np.arange(len(acting))), acting)
    np.testing.assert_array_equal(stream.is_first(rows), [row in starts for row in rows])
    np.testing.assert_array_equal(stream.has_action(rows), [row + 1 not in starts for row in rows])


def test_sequences_with_a_marked_row_are_found() -> None:
    marked = np.random.default_rng(0).random(40) < 0.1
    expected = [first for first in range(36) if marked[first : first + 5].any()]
    assert starts_with(marked, 5).tolist() == expected


@pytest.mark.parametrize("shape", [(3,), (), (40, 40, 3)])
def test_rows_of_a_mapped_file_are_those_of_the_array(
    shape: tuple[int, ...], tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    array = rng.integers(0, 255, (60, *shape), dtype=np.uint8)
    np.save(tmp_path / "array.npy", array)
    mapped = np.load(tmp_path / "array.npy", mmap_mode="r")
    for rows in (rng.integers(60, size=7), rng.integers(50, size=(4, 1)) + np.arange(9)):
        for found in (take(mapped, rows), take(array, rows)):
            np.testing.assert_array_equal(found, array[rows])
        np.testing.assert_array_equal(take(mapped[5:], rows % 55), array[5:][rows % 55])
    np.testing.assert_array_equal(take(mapped, np.array([59])), array[[59]])
