"""Noticing at once that a judge gives every frame the same score."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

_ALIKE = 1e-6  # scores that differ by less
_ENOUGH = 8  # other frames, where they come one by one


class FirstBatch:
    """Looks at the first scores of a judge, and warns when different frames all get one.

    Args:
        name: of the judge, for the warning.
        what: what is the same.
    """

    def __init__(self, name: str, what: str = "score") -> None:
        self._name, self._what = name, what
        self._first: tuple[Any, float] | None = None
        self._others = 0  # frames that differ from the first
        self.done = False  # nothing is looked at any more

    def look(self, seen: npt.NDArray[Any], scores: npt.NDArray[Any]) -> None:
        """Look at ``seen (N, ...)``, frames or what stands for them, and their ``scores (N,)``.

        Frames without a label (NaN) do not count.
        """
        if self.done:
            return
        known = ~np.isnan(scores)
        seen, scores = seen[known], scores[known]
        if not len(scores):
            return
        if self._first is None:
            self._first = seen[0].copy(), float(scores[0])
        frame, score = self._first
        if frame.shape != seen.shape[1:] or (np.abs(scores - score) > _ALIKE).any():
            self.done = True
            return
        self._others += int((seen != frame).reshape(len(seen), -1).any(1).sum())
        if self._others and (len(scores) > 1 or self._others >= _ENOUGH):
            self.done = True
            warnings.warn(
                f"{self._name} gives all frames of its first batch the same {self._what} "
                f"({score:.6g}), although they differ: it may not look at them, or not understand "
                "its question",
                stacklevel=4,
            )
