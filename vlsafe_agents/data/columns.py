"""Columns of a Minari data file: the arrays of all episodes laid end to end.

Images, and all observations of large data sets, are laid out once in a flat file beside it.
"""

from __future__ import annotations

import hashlib
import math
import os
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vlsafe_agents.common.border import Array
from vlsafe_agents.common.progress import shown
from vlsafe_agents.data.stored_array import StoredArray, StoredEpisodes
from wrappers.files import one_writer, replacing

_LOOKS = 4  # episodes that are compared, beside the first and the last


class Column:
    """One array of each episode, to be laid end to end: ``(R, ...)``.

    Nothing stays open between two readings.  Of the shape and type, the first episode's count.

    Args:
        starts: first row of each episode, then their number ``(E + 1,)``
        single: each entry is one number

    Raises:
        ValueError: here and in `array`, for an episode without it or with another
            length, shape or type
    """

    def __init__(
        self,
        episodes: StoredEpisodes,
        name: str,
        starts: npt.NDArray[np.int64],
        single: bool = False,
    ) -> None:
        self.name, self.starts, self._episodes = name, starts, episodes
        first = episodes.array(0, name)
        self.shape, self.dtype = (int(starts[-1]), *first.shape[1:]), first.dtype
        if single and self.shape[1:]:
            raise ValueError(f"{name} holds arrays of {self.shape[1:]}; expected one number a step")

    def _check(self, number: int, part: StoredArray) -> None:
        rows = int(self.starts[number + 1] - self.starts[number])
        if len(part) != rows:
            raise ValueError(
                f"episode {number}: {self.name} has {len(part)} entries, expected {rows} (one more "
                "than its actions)"
            )
        if (part.shape[1:], part.dtype) != (self.shape[1:], self.dtype):
            raise ValueError(
                f"episode {number}: {self.name} is {part.dtype}{part.shape[1:]}, but "
                f"{self.dtype}{self.shape[1:]} in episode 0"
            )

    @property
    def nbytes(self) -> int:
        """Size of all episodes together."""
        return math.prod(self.shape) * self.dtype.itemsize

    def array(self, number: int) -> Array:
        """The array of one episode.

        Raises:
            ValueError: where it is damaged.
        """
        part = self._episodes.array(number, self.name)
        self._check(number, part)
        try:
            return part.read()
        except (OSError, RuntimeError) as error:  # a damaged chunk
            raise ValueError(
                f"episode {number}: {self.name} cannot be read ({error}); copy or download "
                "the data set again"
            ) from error

    def arrays(self, progress: str = "") -> Iterator[Array]:
        """The arrays of all episodes, read one after another.

        Args:
            progress: title of a report of it; empty: none.
        """
        count = len(self._episodes)
        parts = (self.array(number) for number in range(count))
        return shown(parts, progress, count, "episodes", bool(progress))

    def load(self) -> Array:
        """All of it in memory.

        Raises:
            ValueError: where that has not so much.
        """
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if self.nbytes > memory:
            raise ValueError(
                f"{self.name} takes {self.nbytes / 2**30:.1f} GiB, more than the memory of "
                f"{memory / 2**30:.1f} GiB"
            )
        out = np.empty(self.shape, self.dtype)
        for number, array in enumerate(self.arrays()):
            out[self.starts[number] : self.starts[number + 1]] = array
        return out

    def agrees(self, laid_out: Array) -> bool:
        """Whether some episodes, others at every call, are in ``laid_out (R, ...)`` as here.

        Raises:
            ValueError: as `array`.
        """
        count = len(self._episodes)
        looked_at = {0, count - 1, *np.random.default_rng().integers(count, size=_LOOKS).tolist()}
        return all(
            np.array_equal(laid_out[slice(*self.starts[n : n + 2])], self.array(n), equal_nan=nan)
            for nan in [self.dtype.kind == "f"]
            for n in looked_at
        )


# --- flat files, whose pages several processes share ----------------------------------------------


def mapped(column: Column, folder: Path, name: str, content: str, progress: str = "") -> Array:
    """The column ``(R, ...)`` memory-mapped from a file in ``folder``, written first if need be.

    Another ``content`` makes another file.  One of a wrong size is written again, and so is one in
    which an episode that is looked at differs.  Where the folder cannot be written, for example
    because the disk is full, memory is used, with a warning.

    Args:
        name: what the file's name begins with
        content: a text that changes with the observations
        progress: title of a report of writing it; empty: none.
    """
    stamp = hashlib.sha256(content.encode()).hexdigest()[:16]
    path = folder / f"{name}-{stamp}.npy"
    found = _whole(path, column)
    if found is not None:
        return found
    try:
        with one_writer(folder, "reading a data set", wait=True):
            if _whole(path, column) is None:  # nobody has written it meanwhile
                _write_flat(path, column, progress)
            for old in set(folder.glob(f"{name}-*.npy")) - {path}:
                old.unlink(missing_ok=True)
        found = _whole(path, column)
        if found is None:
            raise OSError("what was written is not there")
    except (OSError, NotImplementedError) as error:  # the latter: file systems without locks
        warnings.warn(
            f"no image cache in {folder} ({error}); the images are kept in memory, "
            f"{column.nbytes / 2**20:,.1f} MiB in each process",
            stacklevel=4,
        )
        return column.load()
    return found


def _whole(path: Path, column: Column) -> Array | None:
    """The file's array, if it has the column's shape and type to its last byte, and agrees."""
    found = open_flat(path)
    if found is None or (found.shape, found.dtype) != (column.shape, column.dtype):
        return None
    return found if column.agrees(found) else None


def open_flat(path: Path) -> Any:
    """A flat file, memory-mapped; None where there is none, or one of another size than it says."""
    try:
        found = np.lib.format.open_memmap(path, mode="r")
        size = path.stat().st_size
    except (OSError, ValueError):
        return None
    return found if size == found.offset + found.nbytes else None


def _write_flat(path: Path, column: Column, progress: str = "") -> None:
    with replacing(path) as temporary:
        write_flat(temporary, column.shape, column.dtype, column.arrays(progress))


def write_flat(
    path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], arrays: Iterable[Array]
) -> None:
    """Write arrays that make up ``shape`` end to end, as `open_flat` reads them.

    With plain writes, which tell of a full disk; a mapped page would kill us.
    """
    header = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": shape,
    }
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for array in arrays:
            file.write(np.ascontiguousarray(array).data)
