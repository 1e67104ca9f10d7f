"""Columns of a Minari data file: what the file claims is checked before memory is taken for it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence

import h5py
import numpy as np
import numpy.typing as npt

from vlsafe_agents.common.border import Array

# How much a filter can shrink at best: deflate's is 1032 to 1, of a column of zeros.
_SHRINKING = {h5py.h5z.FILTER_DEFLATE: 1032, h5py.h5z.FILTER_LZF: 256, h5py.h5z.FILTER_SZIP: 128}
_SMALL = 2**20  # [bytes] that do no harm: most columns are that small, and a check takes its time
_SIZE_KEEPING = {h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}


def column_of(group: h5py.Group, name: str, episode: int) -> h5py.Dataset:
    """One column of an episode, unread.

    Raises ``ValueError`` where there is none, where it holds no numbers, and where the file cannot
    hold as many as it claims.
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
        """All of it in memory; raises ``ValueError`` where that has not so much."""
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
