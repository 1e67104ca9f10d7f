"""Sharing compiled work on many scenes among threads.

Compiled functions release Python's global lock, so ordinary threads run them side by side.
Numba's own ``prange`` is not used: between calls its OpenMP threads spin, which takes cores from
whoever computes next (PyTorch, say), and its other layers abort when two threads or a forked
process call them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise

import numba

from vlsafe_envs.checks import check_integer

SHARES = 4  # for each thread: uneven scenes even out
Work = Callable[[int, int], None]


_most = 0  # threads, set by limit_threads; 0: no limit


def thread_count() -> int:
    """Threads that share the work: ``NUMBA_NUM_THREADS``, by default one a core."""
    threads = int(numba.config.NUMBA_NUM_THREADS)
    return min(threads, _most) if _most else threads


def limit_threads(most: int) -> None:
    """Share the work among ``most`` threads at most, in this process.

    For processes that share the machine's cores.

    Raises:
        ValueError: for fewer than 1.
    """
    global _most
    check_integer("most", most, 1, 1_000_000)
    _most = most


def share_out(work: Work, count: int) -> None:
    """Call ``work(first, last)`` for shares of ``range(count)``; returns when all are done.

    ``work`` should spend its time in compiled code that releases the global lock.  An exception in
    one share is raised here, after the others have ended.
    """
    threads = min(thread_count(), count)
    if threads <= 1:
        work(0, count)
        return
    shares = min(threads * SHARES, count)
    borders = [count * k // shares for k in range(shares + 1)]
    left = iter(list(pairwise(borders)))

    def help_out() -> None:
        for first, last in left:  # next() of a list iterator is atomic
            work(first, last)

    others = [_pool(os.getpid()).submit(help_out) for _ in range(threads - 1)]
    try:
        help_out()
    finally:
        for other in others:
            other.result()


@lru_cache(maxsize=1)
def _pool(process: int) -> ThreadPoolExecutor:
    # By process: threads do not survive a fork.
    return ThreadPoolExecutor(max(thread_count() - 1, 1), thread_name_prefix="vlsafe")
