"""What the frames of a data set are made from, by row of all episodes laid end to end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vlsafe_agents.data.episode import Array
from vlsafe_agents.data.storage import open_file
from vlsafe_agents.labelling.arrays import array_length, read_array

_JUDGEMENTS = ("safety_score", "vlm_cost")  # infos that an earlier judge wrote

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class FrameSource:
    """Where frames come from: stored images, or stored scenes that are drawn again.

    With a ``context`` of k above 1 a frame comes with the k - 1 before it in its episode, oldest
    first; where the episode is younger, its first frame is repeated.
    """

    data_path: Path
    starts: Rows  # (E + 1,), first row of each episode, then the number of rows
    scenes: bool
    context: int = 1

    @classmethod
    def of(cls, data_path: Path, episodes: int, scenes: bool, context: int = 1) -> FrameSource:
        """The source of a data set."""
        with open_file(data_path) as file:
            steps = [array_length(file, f"episode_{number}/rewards") for number in range(episodes)]
        starts = np.concatenate(([0], np.cumsum(np.array(steps, np.int64) + 1)))
        return cls(data_path, starts, scenes, context)

    def __len__(self) -> int:
        return int(self.starts[-1])

    @property
    def steps(self) -> npt.NDArray[np.bool_]:
        """Rows ``(R,)`` that a step led to, not a reset."""
        led = np.ones(len(self), bool)
        led[self.starts[:-1]] = False
        return led

    def episode_of(self, rows: Rows) -> Rows:
        """Number of the episode of each row."""
        return np.searchsorted(self.starts, rows, side="right") - 1

    def windows(self, rows: Rows) -> Rows:
        """Rows ``(N, k)`` that are looked at to judge ``rows (N,)``, oldest first."""
        first = self.starts[self.episode_of(rows)]
        return np.maximum(rows[:, None] + np.arange(1 - self.context, 1), first[:, None])


class FrameReader:
    """Reads a source's arrays; keeps the file open.  For one thread."""

    def __init__(self, source: FrameSource) -> None:
        self.source = source
        self._file = open_file(source.data_path)

    def pictures(self, rows: Rows) -> Array:
        """Packed scenes or images ``(N, ...)`` of ascending rows.

        Raises ``ValueError`` where an episode has none.
        """
        name = "infos/scene" if self.source.scenes else "observations/image"
        try:
            return self._gather(name, rows)
        except KeyError as error:
            raise ValueError(
                f"the data set has episodes without {name}, so there is no frame to judge; collect "
                "with scene_in_info=True (as `vlsafe collect` does)"
            ) from error

    def contents(self, rows: Rows, infos: bool) -> Array:
        """Everything that the scores of ascending rows may depend on.

        N rows, of bytes if many kinds of things count.
        """
        if self.source.context == 1:
            pictures = self.pictures(rows)
        else:
            wanted = self.source.windows(rows)  # (N, k)
            needed, place = np.unique(wanted, return_inverse=True)
            pictures = self.pictures(needed)[place.reshape(wanted.shape)]
        if not infos:
            return pictures
        columns = [self._gather(f"infos/{name}", rows) for name in self.info_names]
        numbers = np.stack(columns, 1).astype(np.float64) if columns else np.zeros((len(rows), 0))
        return np.concatenate([_as_bytes(pictures), _as_bytes(numbers)], 1)

    def infos(self, rows: Rows) -> list[dict[str, float]]:
        """The scalar infos of ascending rows."""
        columns = {name: self._gather(f"infos/{name}", rows) for name in self.info_names}
        return [
            {name: float(column[place]) for name, column in columns.items()}
            for place in range(len(rows))
        ]

    @cached_property
    def info_names(self) -> list[str]:
        """Infos with one number a frame, but for judges' ones."""
        infos = self._file["episode_0"].get("infos", {})
        return sorted(n for n, array in infos.items() if array.ndim == 1 and n not in _JUDGEMENTS)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _gather(self, name: str, rows: Rows) -> Array:
        parts = []
        for number, steps in self._by_episode(rows):
            low, high = int(steps[0]), int(steps[-1]) + 1
            part = read_array(self._file, f"episode_{number}/{name}", low, high)
            parts.append(part if len(part) == len(steps) else part[steps - low])
        return np.concatenate(parts)

    def _by_episode(self, rows: Rows) -> Iterator[tuple[int, Rows]]:
        """Numbers of episodes, each with its steps among ascending rows."""
        episodes = self.source.episode_of(rows)
        borders = np.flatnonzero(np.diff(episodes)) + 1
        for part in np.split(np.arange(len(rows)), borders):
            number = int(episodes[part[0]])
            yield number, rows[part] - self.source.starts[number]


def _as_bytes(array: Array) -> Any:
    return np.ascontiguousarray(array).reshape(len(array), -1).view(np.uint8)
