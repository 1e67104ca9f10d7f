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
    """Delete cache indices older than the newest source file in ``folder``; returns how many.

    ``function`` is any compiled function of that folder; it knows where the cache lies (beside
    the source files, or in the user's cache folder when those are read-only).
    """
    newest = max(source.stat().st_mtime for source in folder.glob("*.py"))
    dropped = 0
    for index in Path(function.stats.cache_path).glob("*.nbi"):
        with contextlib.suppress(OSError):  # read-only, or another process was faster
            if index.stat().st_mtime < newest:
                index.unlink()
                dropped += 1
    return dropped
