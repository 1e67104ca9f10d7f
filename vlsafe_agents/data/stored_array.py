"""Arrays of episodes in a data file: what the file claims is checked before memory is taken for it.

A data set may have hundreds of thousands of short episodes.  Arrays are opened one at a time, by
h5py's low-level interface: its everyday one spends more time on looking a small array up than on
reading it, and a file with all arrays open takes gigabytes.
"""

from __future__ import annotations

import math
import os
import re

import h5py
import numpy as np
from h5py import h5d, h5s

from vlsafe_agents.common.border import Array
from vlsafe_agents.data.layout import METADATA_FILE, episode_name

COPY_AGAIN = "copy or download the data set again, or record it anew with `vlsafe collect`"
# How much a filter can shrink at best: deflate's is 1032 to 1, of a column of zeros.
_SHRINKING = {h5py.h5z.FILTER_DEFLATE: 1032, h5py.h5z.FILTER_LZF: 256, h5py.h5z.FILTER_SZIP: 128}
_SMALL = 2**20  # [bytes] that do no harm: most columns are that small, and a check takes its time
_SIZE_KEEPING = {h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}


class StoredArray:
    """One array of one episode, open and unread."""

    def __init__(self, found: h5d.DatasetID) -> None:
        self.id, self.shape, self.dtype = found, found.shape, found.dtype

    def __len__(self) -> int:
        return int(self.shape[0])

    def read(self) -> Array:
        """All of it.

        Raises:
            OSError: where its file is damaged.
        """
        out = np.empty(self.shape, self.dtype)
        if out.size:
            self.id.read(h5s.ALL, h5s.ALL, out)
        return out


class StoredEpisodes:
    """The episodes of an open data file, as many as there are said to be."""

    def __init__(self, file: h5py.File, count: int) -> None:
        self._file, self._count = file, count
        self._bytes = os.path.getsize(file.filename)

    @classmethod
    def of(cls, file: h5py.File, stated: object) -> StoredEpisodes:
        """All episodes of the file.

        Args:
            stated: how many there are by the metadata.

        Raises:
            ValueError: where there are none, or not as many.
        """
        present = sum(1 for name in file if re.fullmatch(r"episode_\d+", str(name)))
        if stated != present or isinstance(stated, bool):
            raise ValueError(
                f"the file holds {present} episodes, but {METADATA_FILE} says {stated!r}; "
                f"{COPY_AGAIN}"
            )
        if not present:
            raise ValueError(f"the data set holds no episode; {COPY_AGAIN}")
        return cls(file, present)

    def __len__(self) -> int:
        return self._count

    def group(self, number: int) -> h5py.Group:
        """The group of an episode.

        Raises:
            KeyError: where there is none.
            ValueError: where it is an array.
        """
        group = self._file[episode_name(number)]
        if not isinstance(group, h5py.Group):
            raise ValueError(f"episode {number} is a single array, not a group; {COPY_AGAIN}")
        return group

    def has(self, number: int, name: str) -> bool:
        """Whether an episode has an array, or a group, of this name."""
        path, links = "", self._file.id.links
        for part in f"{episode_name(number)}/{name}".split("/"):
            path += part
            try:
                if not links.exists(path.encode()):
                    return False
            except (KeyError, ValueError, RuntimeError):  # within something that is no group
                return False
            path += "/"
        return True

    def any_has(self, name: str) -> bool:
        """Whether any episode has it; then all must."""
        return any(self.has(number, name) for number in range(len(self)))

    def array(self, number: int, name: str) -> StoredArray:
        """One array of an episode.

        Raises:
            ValueError: where there is none, where it holds no numbers, and where the file cannot
                hold as many as it claims.
        """
        where = f"episode {number}"
        try:
            found = StoredArray(h5d.open(self._file.id, f"{episode_name(number)}/{name}".encode()))
        except Exception:  # h5py's zoo: a group, a missing link, a damaged header
            found = self._described(number, name, where)
        if not found.shape:
            raise ValueError(f"{where}: {name} is no array; it is no data set of this layout")
        if found.dtype.kind not in "biuf":
            raise ValueError(f"{where}: {name} holds {found.dtype} values; expected numbers")
        _check_size(found, self._bytes, name, where)
        return found

    def _described(self, number: int, name: str, where: str) -> StoredArray:
        """The array, or why it cannot be opened."""
        found = self.group(number).get(name)
        if found is None:
            raise ValueError(f"{where} has no {name}; record it again, or leave this episode out")
        if not isinstance(found, h5py.Dataset):
            raise ValueError(f"{where}: {name} is no array; it is no data set of this layout")
        return StoredArray(found.id)


def _check_size(array: StoredArray, file_size: int, name: str, where: str) -> None:
    """A header may claim any number of rows; what is stored for them cannot be invented."""
    claimed = math.prod(array.shape) * array.dtype.itemsize
    stored = array.id.get_storage_size()
    if claimed <= min(stored, _SMALL):
        return
    most = _largest(array, min(stored, file_size))
    if claimed > most:
        raise ValueError(
            f"{where}: {name} claims {claimed:,} bytes {array.shape}, but the file holds only "
            f"{stored:,} for it; it is cut off or damaged: copy or download the data set again"
        )


def _largest(array: StoredArray, stored: int) -> float:
    """How many bytes can come out of the stored ones."""
    filters = array.id.get_create_plist()
    if filters.get_layout() == h5d.VIRTUAL:  # its parts lie elsewhere
        return math.inf
    most: float = stored
    for number in range(filters.get_nfilters()):
        code = filters.get_filter(number)[0]
        if code not in _SIZE_KEEPING:
            most *= _SHRINKING.get(code, math.inf)
    return most
