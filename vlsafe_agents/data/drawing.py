"""Which sequences of a stream of rows are drawn: all alike, or some kinds more often."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from vlsafe_agents.common.border import Array

Starts = npt.NDArray[np.int64]


def check_rng(rng: Any) -> None:
    """Raise ``TypeError`` for what is no generator of NumPy's."""
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng is {rng!r}; give a np.random.default_rng(seed)")


def starts_with(marked: npt.NDArray[np.bool_], length: int) -> Starts:
    """First rows of all sequences of ``length`` rows that hold a marked one of the ``(R,)``."""
    before = np.concatenate(([0], np.cumsum(marked)))  # marked rows before each row
    return np.flatnonzero(before[length:] > before[:-length])


def prefer(
    starts: Starts, preferred: Starts, total: int, share: float, rng: np.random.Generator
) -> tuple[Starts, npt.NDArray[np.float32]]:
    """Put sequences of a kind in the place of a share of those that were drawn evenly.

    Args:
        starts: ``(B,)``, drawn evenly from ``total`` numbers.
        preferred: the numbers of the kind, ascending; where there are none, nothing changes.

    Returns:
        starts ``(B,)``, and how many times as often each would have been drawn evenly ``(B,)``: an
        average with these weights is that of evenly drawn ones (importance sampling).
    """
    if not len(preferred):
        return starts, np.ones(len(starts), np.float32)
    chosen = rng.random(len(starts)) < share
    starts = np.where(chosen, rng.choice(preferred, len(starts)), starts)
    evenly = 1 / total
    density = (1 - share) * evenly + np.isin(starts, preferred) * share / len(preferred)
    return starts, (evenly / density).astype(np.float32)


def over_rows(weight: Array, rows: int) -> npt.NDArray[np.float32]:
    """Weights ``(B,)`` of sequences as those of their rows ``(B, rows)``."""
    return np.repeat(weight[:, None], rows, 1)
