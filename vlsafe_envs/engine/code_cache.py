"""Keeps numba's machine-code cache honest.

Numba checks a cached function against its own source file only; a function compiled into it from
a neighbouring file may have changed unnoticed.  So cached code older than any file of the engine
is thrown away, and compiled afresh at first use.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any


def drop_stale_code(function: Any) -> int:
    """Delete cache indices older than the engine's newest source file; returns how many.

    ``function`` is any compiled function of this package; it knows where the cache lies (beside
    the source files, or in the user's cache folder when those are read-only).
    """
    sources = Path(__file__).parent.glob("*.py")
    newest = max(source.stat().st_mtime for source in sources)
    dropped = 0
    for index in Path(function.stats.cache_path).glob("*.nbi"):
        with contextlib.suppress(OSError):  # read-only, or another process was faster
            if index.stat().st_mtime < newest:
                index.unlink()
                dropped += 1
    return dropped
