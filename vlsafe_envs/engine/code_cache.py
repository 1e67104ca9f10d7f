"""Keeps numba's machine-code cache honest.

Numba checks a cached function against its own source file only; a function compiled into it from
a neighbouring file may have changed unnoticed.  So cached code older than any file of its
folder is thrown away, and compiled afresh at first use.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any


def drop_stale_code(function: Any, folder: Path = Path(__file__).parent) -> int:
    """Delete cache indices older than any source file in ``folder`` or here; returns how many.

    ``function`` is any compiled function of that folder; it knows where the cache lies (beside
    the source files, or in the user's cache folder when those are read-only).
    """
    # what is compiled elsewhere has functions of the engine inside
    folders = {folder, Path(__file__).parent}
    newest = max(source.stat().st_mtime for place in folders for source in place.glob("*.py"))
    dropped = 0
    for index in Path(function.stats.cache_path).glob("*.nbi"):
        with contextlib.suppress(OSError):  # read-only, or another process was faster
            if index.stat().st_mtime < newest:
                index.unlink()
                dropped += 1
    return dropped
