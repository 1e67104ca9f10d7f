"""A replay on disk that grows as it is driven, for checkpoints every few minutes.

A replay of a million rows cannot be written anew at each of them.  Rows do not change once they are
there, so that a save writes those since the last one, into a file of their own.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vlsafe_agents.common.border import Array
from vlsafe_agents.data.replay import Piece, Replay
from wrappers.files import read_npz, write_npz

_ROW = 4096  # [bytes] that a row may take beside its observation
_BEFORE, _BEGIN, _END = "rows_before", "rows_begin", "rows_end"  # of each environment


class ReplayFolder:
    """The files of one replay, each with the rows from one save to the next.

    A file is named after the rows that were there before it, of all environments together.  A
    checkpoint of the agent names the rows that belong to it: it is to be written after
    :meth:`save` and before :meth:`forget`, so that a kill between any two of them leaves all that
    the checkpoint in place needs.

    Args:
        path: the folder; made when it is needed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._saved: Array | None = None  # (n_envs,) rows; None: nothing here is known
        self._files: dict[Path, Array] = {}  # with the rows up to their ends

    def save(self, replay: Replay) -> None:
        """Write the rows that are not here yet."""
        end = replay.rows_added.copy()
        if self._saved is None:
            shutil.rmtree(self.path, ignore_errors=True)  # of a run that left no checkpoint
            self._saved = np.zeros_like(end)
        if (end == self._saved).all():
            return
        begin = np.maximum(self._saved, end - replay.capacity)
        facts = {_BEFORE: self._saved, _BEGIN: begin, _END: end}
        file = self.path / f"{int(self._saved.sum()):015d}.npz"
        write_npz(file, {**facts, **replay.cut(begin, end)})
        self._files[file], self._saved = end, end

    def forget(self, replay: Replay) -> None:
        """Remove files of which the replay has forgotten every row."""
        oldest = replay.rows_added - replay.capacity
        for file in [file for file, end in self._files.items() if (end <= oldest).all()]:
            file.unlink(missing_ok=True)
            del self._files[file]

    def load(self, replay: Replay, end: Array) -> None:
        """Bring back the replay as it was when it had ``end`` rows ``(n_envs,)``.

        What was saved after that is removed.

        Raises:
            ValueError: where files are missing, damaged or another environment's.
        """
        replay.restore(end, self._pieces(replay, end))
        self._saved = np.array(end, np.int64)

    def _pieces(self, replay: Replay, end: Array) -> Iterator[Piece]:
        reached = np.maximum(end - replay.capacity, 0)
        limit = replay.capacity * replay.n_envs * (replay.row_bytes + _ROW)
        self._files = {}
        for file in sorted(self.path.glob("*.npz")):
            if int(file.stem) >= end.sum():
                file.unlink()
                continue
            rows = read_npz(file, "part of a replay", limit=limit)
            before, begin, until = (rows.pop(name) for name in (_BEFORE, _BEGIN, _END))
            self._files[file] = until
            if (before > reached).any():
                break
            yield begin, until, rows
            reached = until
        if (reached != end).any():
            raise ValueError(
                f"{self.path} lacks rows of the replay after {int(reached.sum()):,} of "
                f"{int(end.sum()):,}; remove the checkpoint beside it to train anew"
            )
