"""Arrays of data sets with thousands of short episodes, read and written quickly.

h5py's everyday interface spends more time on looking a small array up than on reading it; this is
its low-level one, two to four times as fast.
"""

from __future__ import annotations

from functools import lru_cache

import h5py
import numpy as np
from h5py import h5d, h5p, h5s, h5t

from vlsafe_agents.data.episode import Array
from vlsafe_agents.data.storage import COPY_AGAIN
from vlsafe_agents.labelling.protocols import Scores


def array_length(file: h5py.File, name: str) -> int:
    """Entries of an array along its first axis.  Raises ``KeyError`` where there is none."""
    return int(h5d.open(file.id, name.encode()).shape[0])


def read_array(file: h5py.File, name: str, first: int = 0, last: int | None = None) -> Array:
    """Entries ``first`` to ``last`` (not included) of an array.

    Raises ``KeyError`` where there is none, ``ValueError`` where its file is damaged.
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


def write_scores(file: h5py.File, name: str, scores: Scores) -> None:
    """Write an array ``(N,)`` of float32; one that is there must have as many entries."""
    place = name.encode()
    if file.id.links.exists(place.rpartition(b"/")[0]) and file.id.links.exists(place):
        stored = h5d.open(file.id, place)
    else:
        space = h5s.create_simple(scores.shape)
        stored = h5d.create(file.id, place, h5t.IEEE_F32LE, space, _plain(), _with_groups())
    stored.write(h5s.ALL, h5s.ALL, np.ascontiguousarray(scores, np.float32))


@lru_cache(maxsize=1)
def _plain() -> h5p.PropDCID:
    settings = h5p.create(h5p.DATASET_CREATE)
    settings.set_obj_track_times(False)  # the same labels make the same file
    return settings


@lru_cache(maxsize=1)
def _with_groups() -> h5p.PropLCID:
    settings = h5p.create(h5p.LINK_CREATE)
    settings.set_create_intermediate_group(True)
    return settings
