"""Columns of a Minari data file: what the file claims is checked before memory is taken for it.

Images are laid out once in a flat file beside it.
"""

from __future__ import annotations

import hashlib
import math
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from vlsafe_agents.common.border import Array
from wrappers.files import one_writer, replacing

# How much a filter can shrink at best: deflate's is 1032 to 1, of a column of zeros.
_SHRINKING = {h5py.h5z.FILTER_DEFLATE: 1032, h5py.h5z.FILTER_LZF: 256, h5py.h5z.FILTER_SZIP: 128}
_SMALL = 2**20  # [bytes] that do no harm: most columns are that small, and a check takes its time
_SIZE_KEEPING = {h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}


def column_of(group: h5py.Group, name: str, episode: int) -> h5py.Dataset:
    """One column of an episode, unread.

    Raises:
        ValueError: where there is none, where it holds no numbers, and where the file cannot hold
            as many as it claims.
    """
    found, where = group.get(name), f"episode {episode}"
    if found is None:
        raise ValueError(f"{where} has no {name}; record it again, or leave this episode out")
    if not isinstance(found, h5py.Dataset) or not found.shape:
        raise ValueError(f"{where}: {name} is no array; it is no data set of this layout")
    if found.dtype.kind not in "biuf":
        raise ValueError(f"{where}: {name} holds {found.dtype} values; expected numbers")
    _check_size(found, name, where)
    return found


class Column:
    """One array of each episode, to be laid end to end: ``(R, ...)``.

    Args:
        starts: first row of each episode, then their number ``(E + 1,)``
        single: each entry is one number

    Raises:
        ValueError: for an episode without it or with another length, shape or type
    """

    def __init__(
        self,
        groups: Sequence[h5py.Group],
        name: str,
        starts: npt.NDArray[np.int64],
        single: bool = False,
    ) -> None:
        self.name, self.starts = name, starts
        # opened once: looking a data set up costs more than reading a small one
        self._parts = [column_of(group, name, number) for number, group in enumerate(groups)]
        shape, self.dtype = self._parts[0].shape[1:], self._parts[0].dtype
        if single and shape:
            raise ValueError(f"{name} holds arrays of {shape}; expected one number a step")
        for number, part in enumerate(self._parts):
            rows = int(starts[number + 1] - starts[number])
            if len(part) != rows:
                raise ValueError(
                    f"episode {number}: {name} has {len(part)} entries, expected {rows} (one more "
                    "than its actions)"
                )
            if (part.shape[1:], part.dtype) != (shape, self.dtype):
                raise ValueError(
                    f"episode {number}: {name} is {part.dtype}{part.shape[1:]}, but "
                    f"{self.dtype}{shape} in episode 0"
                )
        self.shape = (int(starts[-1]), *shape)

    @property
    def nbytes(self) -> int:
        """Size of all episodes together."""
        return math.prod(self.shape) * self.dtype.itemsize

    def arrays(self) -> Iterator[Array]:
        """The arrays of all episodes, read one after another."""
        for number, part in enumerate(self._parts):
            try:
                yield part[()]
            except (OSError, RuntimeError) as error:  # a damaged chunk
                raise ValueError(
                    f"episode {number}: {self.name} cannot be read ({error}); copy or download "
                    "the data set again"
                ) from error

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


def _check_size(column: h5py.Dataset, name: str, where: str) -> None:
    """A header may claim any number of rows; what is stored for them cannot be invented."""
    claimed = math.prod(column.shape) * column.dtype.itemsize
    stored = column.id.get_storage_size()
    if claimed <= min(stored, _SMALL):
        return
    most = _largest(column, min(stored, os.path.getsize(column.file.filename)))
    if claimed > most:
        raise ValueError(
            f"{where}: {name} claims {claimed:,} bytes {column.shape}, but the file holds only "
            f"{stored:,} for it; it is cut off or damaged: copy or download the data set again"
        )


def _largest(column: h5py.Dataset, stored: int) -> float:
    """How many bytes can come out of the stored ones."""
    if column.is_virtual:  # its parts lie elsewhere
        return math.inf
    filters = column.id.get_create_plist()
    most: float = stored
    for number in range(filters.get_nfilters()):
        code = filters.get_filter(number)[0]
        if code not in _SIZE_KEEPING:
            most *= _SHRINKING.get(code, math.inf)
    return most


# --- images in a flat file, whose pages several processes share -----------------------------------


def mapped(column: Column, folder: Path, name: str, content: str) -> Array:
    """The column ``(R, ...)`` memory-mapped from a file in ``folder``, written first if need be.

    Another ``content`` makes another file.  One of a wrong size is written again.  Where the folder
    cannot be written, for example because the disk is full, memory is used, with a warning.

    Args:
        name: what the file's name begins with
        content: a text that changes with the images
    """
    stamp = hashlib.sha256(content.encode()).hexdigest()[:16]
    path = folder / f"{name}-{stamp}.npy"
    found = _whole(path, column)
    if found is not None:
        return found
    try:
        with one_writer(folder, "reading a data set", wait=True):
            if _whole(path, column) is None:  # nobody has written it meanwhile
                _write_flat(path, column)
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
    """The file's array, if it is one of the column's shape and type, to its last byte."""
    try:
        found = np.lib.format.open_memmap(path, mode="r")
        size = path.stat().st_size
    except (OSError, ValueError):
        return None
    fits = (found.shape, found.dtype) == (column.shape, column.dtype)
    return found if fits and size == found.offset + found.nbytes else None


def _write_flat(path: Path, column: Column) -> None:
    """Write the file with plain writes, which tell of a full disk; a mapped page would kill us."""
    header = {
        "descr": np.lib.format.dtype_to_descr(column.dtype),
        "fortran_order": False,
        "shape": column.shape,
    }
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for array in column.arrays():
            file.write(np.ascontiguousarray(array).data)
