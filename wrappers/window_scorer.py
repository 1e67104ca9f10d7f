"""Lets a scorer of single frames look at several."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from wrappers.checks import whole_number
from wrappers.combinator import Wrapper
from wrappers.forms import log_odds, logistic
from wrappers.frame_windows import check_windows, context_frames
from wrappers.registry import make_scorer
from wrappers.scorer import Frames, Infos, SafetyScorer, Scores

COMBINATIONS = ("tile", "mean", "min", "trend")


class WindowScorer(Wrapper):
    """Scores a window of k frames by a scorer of single frames.

    - ``"tile"``: the frames side by side in one picture, oldest at the top left, in a grid as
      square as possible (empty places black).  For scorers that understand such a picture, as
      generative VLMs told so do; a small CLIP was never shown one.
    - ``"mean"``: each frame scored by itself, log-odds averaged: steadier, but blind to order.
    - ``"min"``: the worst of the frames: what was dangerous a moment ago still counts.
    - ``"trend"``: log-odds one step ahead, on the straight line through those of the window by
      least squares: falling scores count as worse than they are.  With the softmax form of a dual
      encoder log-odds are linear in the cosines, so this is their extrapolation.

    Except for ``"tile"`` a frame that occurs several times in a call is scored once; one that the
    scorer gives no label leaves the windows that hold it without one.  The scorer inside gets
    ``infos`` with ``"tile"`` only, since those of past frames are not at hand.

    Args:
        scorer: of single frames.
        length: frames of a window, at least 2.
        combine: ``"tile"``, ``"mean"``, ``"min"`` or ``"trend"``.

    Raises:
        ValueError: for impossible values and a scorer that takes windows itself.
    """

    def __init__(self, scorer: SafetyScorer, length: int, combine: str = "trend") -> None:
        if whole_number(length, "the length of a window", "scorer 'frames'", 1) < 2:
            raise ValueError(f"a window needs at least 2 frames, got {length}")
        if combine not in COMBINATIONS:
            raise ValueError(f"unknown combine {combine!r}; known: {', '.join(COMBINATIONS)}")
        if context_frames(scorer) > 1:
            raise ValueError(f"scorer {scorer.identity['name']!r} looks at several frames already")
        super().__init__(scorer)
        self.context_frames = int(length)
        self.combine = combine
        self.reads_infos &= combine == "tile"

    @property
    def identity(self) -> dict[str, Any]:
        return {
            "name": "frames",
            "context_frames": self.context_frames,
            "combine": self.combine,
            "of": self.scorer.identity,
        }

    def __call__(self, frames: Frames, infos: Infos | None = None) -> Scores:
        """Scores ``(N,)`` of windows ``(N, k, H, W, 3)`` uint8."""
        windows = check_windows(frames, self.context_frames)
        if self.combine == "tile":
            scores, self.last_reasons = self.ask(self.scorer, tile(windows), infos)
            return scores
        scores = self._score_each(windows)  # (N, k)
        if self.combine == "min":
            return scores.min(axis=1)
        return combine_log_odds(scores, _weights(self.context_frames, self.combine))

    def _score_each(self, windows: Frames) -> Scores:
        """Scores ``(N, k)``; equal frames are scored once (windows of one episode overlap)."""
        flat = windows.reshape(-1, *windows.shape[2:])
        places: dict[bytes, int] = {}
        digests = [hashlib.blake2b(frame.tobytes(), digest_size=16).digest() for frame in flat]
        row = np.array([places.setdefault(digest, len(places)) for digest in digests], np.int64)
        _, first = np.unique(row, return_index=True)
        scores, said = self.ask(self.scorer, flat[first])
        window_rows = row.reshape(windows.shape[:2])  # (N, k)
        self.last_reasons = [
            next(filter(None, map(said.__getitem__, w)), None) for w in window_rows
        ]
        return scores[window_rows]


def tile(windows: Frames) -> Frames:
    """One picture of each window ``(N, k, H, W, 3)``: ``(N, rows * H, columns * W, 3)``.

    Reading order, oldest first; ``columns = ceil(sqrt(k))``; places left over are black.
    """
    count, length, height, width, _ = windows.shape
    columns = math.isqrt(length - 1) + 1
    rows = -(-length // columns)
    grid = np.zeros((count, rows * columns, height, width, 3), np.uint8)
    grid[:, :length] = windows
    grid = grid.reshape(count, rows, columns, height, width, 3)
    return grid.swapaxes(2, 3).reshape(count, rows * height, columns * width, 3)


def combine_log_odds(scores: Scores, weights: npt.NDArray[np.float64]) -> Scores:
    """Scores ``(N,)`` whose log-odds are the weighted sum of those of ``scores (N, k)``."""
    return logistic(log_odds(scores) @ weights).astype(np.float32)


def _weights(length: int, combine: str) -> npt.NDArray[np.float64]:
    """What each frame, oldest first, counts in the mean, or in the line's value one step ahead."""
    if combine == "mean":
        return np.full(length, 1.0 / length)
    time = np.arange(length) - (length - 1) / 2  # [steps] from the middle of the window
    ahead = time[-1] + 1.0
    return 1.0 / length + ahead * time / (time @ time)


def make_window_scorer(argument: str | None, **options: Any) -> WindowScorer:
    """For ``"frames:<k>:<scorer>"``; options but ``combine`` go to the scorer inside."""
    length, _, spec = (argument or "").partition(":")
    if not length.isdigit() or not spec:
        raise ValueError(
            f"scorer 'frames:{argument or ''}' needs a number and a scorer, for example "
            "'frames:3:bundled'"
        )
    own = {"combine": options.pop("combine")} if "combine" in options else {}
    return WindowScorer(make_scorer(spec, **options), int(length), **own)
