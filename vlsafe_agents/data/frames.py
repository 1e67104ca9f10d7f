"""Frames of stored episodes: what they are made from, by row of all episodes laid end to end.

Data sets may have thousands of short episodes.  h5py's everyday interface spends more time on
looking a small array up than on reading it; this is its low-level one, two to four times as fast.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import gymnasium as gym
import h5py
import numpy as np
import numpy.typing as npt
from h5py import h5d, h5s

from vlsafe_agents.data.episode import Array
from vlsafe_agents.data.jpeg import decoded, is_stored_as_jpeg
from vlsafe_agents.data.layout import (
    OBSERVATIONS,
    REWARDS,
    TERMINATIONS,
    TRUNCATIONS,
    episode_name,
    info_name,
    observation_name,
)
from vlsafe_agents.data.rows import bare_name, named_spaces
from vlsafe_agents.data.storage import open_file, read_metadata, read_spaces
from vlsafe_agents.data.stored_array import COPY_AGAIN
from wrappers.frame_windows import window_rows
from wrappers.scorer import Frames, SafetyScorer, frame_size

_SCORES = ("safety_score", "vlm_cost")  # infos that an earlier scorer wrote

Rows = npt.NDArray[np.int64]


class Drawing(Protocol):
    """Draws packed scenes; see ``vlsafe_envs.SceneRenderer``.

    One that can draw frames of several sizes says so in ``frame_sizes`` [px], and
    ``at_size(size)`` is the same drawing in another of them.
    """

    @property
    def identity(self) -> dict[str, Any]:
        """JSON-able; drawings with the same identity make the same frame of a scene."""

    def frames(self, scenes: npt.NDArray[np.float32], /) -> Frames:
        """Frames ``(N, H, W, 3)`` of packed scenes ``(N, ...)``."""


def drawing_for(scorer: SafetyScorer, drawing: Drawing | None) -> Drawing | None:
    """The drawing in the size that a scorer looks at, as environments show it while driving."""
    size, sizes = frame_size(scorer), getattr(drawing, "frame_sizes", ())
    if drawing is None or size not in sizes:
        return drawing
    sized: Drawing = drawing.at_size(size)  # type: ignore[attr-defined]
    return sized


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
    image: str = observation_name("image")  # of images: their array's name within an episode
    jpeg: tuple[int, ...] | None = None  # of images that Minari has stored as JPEG: their shape

    @classmethod
    def of(cls, data_path: Path, episodes: int, scenes: bool, context: int = 1) -> FrameSource:
        """The source of a data set."""
        with open_file(data_path) as file:
            steps = [
                array_length(file, f"{episode_name(number)}/{REWARDS}")
                for number in range(episodes)
            ]
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
        """Rows ``(N, k)`` that a scorer looks at for ``rows (N,)``, oldest first."""
        return window_rows(rows, self.starts[self.episode_of(rows)], self.context)


class FrameReader:
    """Reads a source's arrays; keeps the file open.  For one thread."""

    def __init__(self, source: FrameSource) -> None:
        self.source = source
        self._file = open_file(source.data_path)

    def pictures(self, rows: Rows) -> Array:
        """Packed scenes or images ``(N, ...)`` of ascending rows.

        Raises:
            ValueError: where an episode has none
        """
        name = info_name("scene") if self.source.scenes else self.source.image
        try:
            if self.source.jpeg is not None and not self.source.scenes:
                return self._decoded(name, self.source.jpeg, rows)
            return self._gather(name, rows)
        except KeyError as error:
            raise ValueError(
                f"the data set has episodes without {name}, so there is no frame to score; collect "
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
        columns = [self._gather(info_name(name), rows) for name in self.info_names]
        numbers = np.stack(columns, 1).astype(np.float64) if columns else np.zeros((len(rows), 0))
        return np.concatenate([_as_bytes(pictures), _as_bytes(numbers)], 1)

    def infos(self, rows: Rows) -> list[dict[str, float]]:
        """The scalar infos of ascending rows."""
        columns = {name: self._gather(info_name(name), rows) for name in self.info_names}
        return [
            {name: float(column[place]) for name, column in columns.items()}
            for place in range(len(rows))
        ]

    @cached_property
    def info_names(self) -> list[str]:
        """Infos with one number a frame, but for those of scorers."""
        infos = self._file[episode_name(0)].get("infos", {})
        return sorted(n for n, found in infos.items() if n not in _SCORES and _is_signal(found))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _gather(self, name: str, rows: Rows) -> Array:
        parts = []
        for number, steps in self._by_episode(rows):
            low, high = int(steps[0]), int(steps[-1]) + 1
            part = read_array(self._file, f"{episode_name(number)}/{name}", low, high)
            parts.append(part if len(part) == len(steps) else part[steps - low])
        return np.concatenate(parts)

    def _decoded(self, name: str, shape: tuple[int, ...], rows: Rows) -> Array:
        """JPEG images ``(N, *shape)`` of ascending rows."""
        images = np.empty((len(rows), *shape), np.uint8)
        place = 0
        for number, steps in self._by_episode(rows):
            column = self._file[f"{episode_name(number)}/{name}"]
            for step in steps:
                where = f"{self._file.filename}: episode {number}: {name}, entry {step}"
                images[place] = decoded(column[int(step)], shape, where)
                place += 1
        return images

    def _by_episode(self, rows: Rows) -> Iterator[tuple[int, Rows]]:
        """Numbers of episodes, each with its steps among ascending rows."""
        episodes = self.source.episode_of(rows)
        borders = np.flatnonzero(np.diff(episodes)) + 1
        for part in np.split(np.arange(len(rows)), borders):
            number = int(episodes[part[0]])
            yield number, rows[part] - self.source.starts[number]


def _is_signal(found: Any) -> bool:
    """Whether it has one number a frame; other people's infos may be groups, or texts."""
    return isinstance(found, h5py.Dataset) and found.ndim == 1 and found.dtype.kind in "biuf"


def stored_image(data_path: Path, wanted: str | None = None) -> tuple[str, Any]:
    """Where the frames of a data set are among its observations: name of their array, and JPEG's.

    Args:
        wanted: name of the observation; None: "image", or the only one that is RGB.

    Returns:
        the array's name within an episode, and the shape of images stored as JPEG, else None

    Raises:
        ValueError: where there is no such image, or more than one to choose from.
    """
    metadata = read_metadata(data_path)
    space = read_spaces(data_path, metadata)[0]
    nested = isinstance(space, gym.spaces.Dict)
    parts = named_spaces(space, [bare_name(space)])
    rgb = [n for n, s in parts.items() if s.dtype == np.uint8 and (s.shape or ())[2:] == (3,)]
    name = wanted if wanted is not None else "image" if "image" in rgb else None
    if name is None and len(rgb) == 1:
        name = rgb[0]
    if name not in rgb:
        which = f"no image {wanted!r}" if wanted else f"{len(rgb)} RGB images to choose from"
        raise ValueError(
            f"{data_path} has {which}; its observations are "
            f"{ {n: str(s) for n, s in parts.items()} }: frames to score are uint8 (H, W, 3); name "
            "one with --image"
        )
    where = observation_name(name) if nested else OBSERVATIONS
    shape = parts[name].shape if is_stored_as_jpeg(parts[name], metadata) else None
    return where, shape


def _as_bytes(array: Array) -> Any:
    return np.ascontiguousarray(array).reshape(len(array), -1).view(np.uint8)


def read_infos(
    data_file: Path, episodes: int, names: Sequence[str]
) -> Iterator[tuple[str, bool, dict[str, Array]]]:
    """What was recorded of each episode besides its frames.

    Yields:
        The episode's driver (empty where nobody wrote it down), whether the time limit ended it,
        and those of the infos ``names`` that it has, each with one entry a frame.

    Raises:
        KeyError: for a file that is no data set's
    """
    with h5py.File(data_file, "r") as file:
        for number in range(episodes):
            group = file[episode_name(number)]
            infos = group["infos"]
            found = {name: infos[name][()] for name in names if name in infos}
            cut = bool(group[TRUNCATIONS][-1] and not group[TERMINATIONS][-1])
            yield str(group.attrs.get("driver", "")), cut, found


def array_length(file: h5py.File, name: str) -> int:
    """Entries of an array along its first axis.

    Raises:
        KeyError: where there is none
    """
    return int(h5d.open(file.id, name.encode()).shape[0])


def read_array(file: h5py.File, name: str, first: int = 0, last: int | None = None) -> Array:
    """Entries ``first`` to ``last`` (not included) of an array.

    Raises:
        KeyError: where there is none
        ValueError: where its file is damaged
    """
    try:
        return _read(file, name, first, last)
    except OSError as error:
        fault = f"{file.filename}: {name} cannot be read ({error})"
        raise ValueError(f"{fault}; {COPY_AGAIN}") from error


def _read(file: h5py.File, name: str, first: int, last: int | None) -> Array:
    stored = h5d.open(file.id, name.encode())
    last = stored.shape[0] if last is None else last
    shape = (last - first, *stored.shape[1:])
    out = np.empty(shape, stored.dtype)
    if last - first == stored.shape[0]:
        stored.read(h5s.ALL, h5s.ALL, out)
    elif out.size:
        part = stored.get_space()
        part.select_hyperslab((first, *(0 for _ in shape[1:])), shape)
        stored.read(h5s.create_simple(shape), part, out)
    return out
