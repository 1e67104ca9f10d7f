"""Images laid out once in a flat file, whose pages several processes share."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path

import numpy as np

from vlsafe_agents.common.border import Array
from vlsafe_agents.data.columns import Column
from wrappers.files import one_writer, replacing


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
                _write(path, column)
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


def _write(path: Path, column: Column) -> None:
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
