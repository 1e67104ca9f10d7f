"""The rows of some episodes laid end to end, by their numbers; nothing is stored for a row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from vlsafe_agents.common.border import Array

Rows = npt.NDArray[np.int64]
CHUNK = 2**18  # rows that are looked at together where all of them are


class Stream:
    """Row numbers of a view of the data, in which episodes follow each other without gaps.

    Args:
        starts: first row of each episode of the data, then the number of rows ``(E + 1,)``.
        episode_ids: the episodes of the view, in its order.
    """

    def __init__(self, starts: Rows, episode_ids: Sequence[int] | Array) -> None:
        ids = np.asarray(episode_ids, np.int64)
        self.starts, self._first, self._count = starts, starts[ids], len(ids)
        self._before = np.concatenate(([0], np.cumsum(starts[ids + 1] - self._first)))
        self._steps_before = self._before - np.arange(self._count + 1)

    @property
    def num_rows(self) -> int:
        """Rows of the view."""
        return int(self._before[-1])

    @property
    def num_steps(self) -> int:
        """Steps of the view: all rows but those of resets."""
        return int(self._steps_before[-1])

    def rows(self, places: Rows) -> Rows:
        """Row numbers at places ``(...)`` of the view, which are below :attr:`num_rows`."""
        episode = np.searchsorted(self._before, places, "right") - 1
        return self._first[episode] + places - self._before[episode]

    def acting_rows(self, steps: Rows) -> Rows:
        """Rows in which steps ``(...)`` of the view, counted from 0, begin."""
        episode = np.searchsorted(self._steps_before, steps, "right") - 1
        return self._first[episode] + steps - self._steps_before[episode]

    def all_rows(self) -> Rows:
        """All row numbers of the view, ``(R',)``."""
        return self.rows(np.arange(self.num_rows))

    def chunks(self) -> Iterator[Rows]:
        """All row numbers of the view, some at a time."""
        for begin in range(0, self.num_rows, CHUNK):
            yield self.rows(np.arange(begin, min(begin + CHUNK, self.num_rows)))

    def is_first(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """Whether row numbers ``(...)`` begin an episode."""
        found: npt.NDArray[np.bool_] = self.starts[self.episode(rows)] == rows
        return found

    def has_action(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """Whether an action was taken at row numbers ``(...)``: not at an episode's last."""
        found: npt.NDArray[np.bool_] = self.starts[self.episode(rows) + 1] != rows + 1
        return found

    def episode(self, rows: Rows) -> Rows:
        """Numbers, in all the data, of the episodes that row numbers ``(...)`` belong to."""
        return np.searchsorted(self.starts, rows, "right") - 1
