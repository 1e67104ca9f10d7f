"""Locks on numbers, held by processes: the kernel drops them when their process ends, however."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

try:
    import fcntl
except ImportError:  # not on Windows; there nothing is locked
    fcntl = None  # type: ignore[assignment]


class ByteLocks:
    """Each number stands for a byte of a file that stays empty; POSIX locks bytes one by one.

    The locks of one process do not exclude each other, whichever thread or object took them.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pid = -1
        self._file = -1

    def take(self, numbers: Iterable[int]) -> list[bool]:
        """Lock what no other process has locked; which of ``numbers`` (below 2**62) are ours."""
        return [self._take(number) for number in numbers]

    def drop(self, numbers: Iterable[int]) -> None:
        """Unlock ours; the others are left alone."""
        if fcntl is not None:
            for number in numbers:
                fcntl.lockf(self._descriptor(), fcntl.LOCK_UN, 1, number)

    def _take(self, number: int) -> bool:
        if fcntl is None:
            return True
        try:
            fcntl.lockf(self._descriptor(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def _descriptor(self) -> int:
        if self._pid != os.getpid():  # a forked child holds none of its parent's locks
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
            self._pid = os.getpid()
        return self._file
