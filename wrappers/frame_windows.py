"""Several frames at once, because closing speed cannot be seen in one.

A scorer that wants k > 1 frames says so by an attribute ``context_frames = k``; whoever calls it
then hands over windows ``(N, k, H, W, 3)`` in place of frames ``(N, H, W, 3)``.  A window is the
frame to be scored and the k - 1 before it in the same episode, oldest first; where the episode is
younger, its first frame is repeated.  Scorers thus stay without memory: their answer depends on
what they are shown, not on the order of calls.

Windows of stored frames are found with :func:`window_indices`; live environments
keep their last frames in a :class:`FrameHistory`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from wrappers.scorer import Frames, check_frames


def context_frames(scorer: Any) -> int:
    """How many frames a scorer looks at to score one; 1 where it does not say."""
    return int(getattr(scorer, "context_frames", 1))


def window_indices(starts: npt.ArrayLike, length: int) -> npt.NDArray[np.int64]:
    """Which frames make the window of each frame: ``(N, length)``, oldest first.

    ``starts (N,)`` marks frames that begin an episode; the frames of an episode follow each other.
    ``frames[window_indices(starts, k)]`` are the windows ``(N, k, H, W, 3)``.

    Raises:
        ValueError: when the first frame begins no episode: frames before it would be missing.
    """
    begins = np.asarray(starts, bool)
    if begins.size and not begins[0]:
        raise ValueError("the first frame is not marked as the start of an episode")
    row = np.arange(len(begins))
    first = np.maximum.accumulate(np.where(begins, row, 0))  # of the row's episode
    return window_rows(row, first, length)


def window_rows(
    rows: npt.NDArray[np.int64], first: npt.NDArray[np.int64], length: int
) -> npt.NDArray[np.int64]:
    """The windows ``(N, length)`` of ``rows (N,)``, whose episodes begin at ``first (N,)``."""
    return np.maximum(rows[:, None] + np.arange(1 - length, 1), first[:, None])


def check_windows(windows: object, length: int) -> Frames:
    """Return ``windows`` if they are uint8 ``(N, length, H, W, 3)``.

    Raises:
        TypeError: for another type or dtype.
        ValueError: for another shape.
    """
    if isinstance(windows, np.ndarray) and windows.ndim == 5 and windows.shape[1] == length:
        return check_frames(windows.reshape(-1, *windows.shape[2:])).reshape(windows.shape)
    shape = getattr(windows, "shape", type(windows).__name__)
    raise ValueError(
        f"this scorer looks at {length} frames at once: it needs windows (N, {length}, H, W, 3), "
        f"got {shape}; see wrappers.frame_windows"
    )


def latest(windows: Frames, length: int) -> Frames:
    """The last ``length`` frames of windows ``(N, k, H, W, 3)``; frames ``(N, H, W, 3)`` for 1.

    Frames ``(N, H, W, 3)`` with ``length`` 1 pass through.

    Raises:
        ValueError: when there are fewer.
    """
    if length == 1:
        return windows if windows.ndim == 4 else windows[:, -1]
    if windows.ndim != 5 or windows.shape[1] < length:
        raise ValueError(f"shape {windows.shape} holds no windows of {length} frames")
    return windows[:, -length:]


class FrameHistory:
    """The last frames of each of several environments.

    Args:
        length: frames of a window.
        num_envs: how many environments.
    """

    def __init__(self, length: int, num_envs: int = 1) -> None:
        if length < 1 or num_envs < 1:
            raise ValueError(f"length={length} and num_envs={num_envs} must be at least 1")
        self.length = length
        self.num_envs = num_envs
        self._frames: Frames | None = None  # (num_envs, length, H, W, 3), oldest first
        self._begun = np.zeros(num_envs, bool)

    def save(self, row: int = 0) -> Frames | None:
        """The frames ``(length, H, W, 3)`` of one environment; None before its first."""
        known = self._frames is not None and self._begun[row]
        return self._frames[row].copy() if known else None  # type: ignore[index]

    def restore(self, frames: Frames | None, rows: npt.ArrayLike = (0,)) -> None:
        """Inverse of :meth:`save`, for each of the environments ``rows (K,)``."""
        where = np.asarray(rows, np.int64)
        self._begun[where] = frames is not None
        if frames is None:
            return
        if self._frames is None:
            self._frames = np.zeros((self.num_envs, *frames.shape), np.uint8)
        self._frames[where] = frames

    def push(
        self, frames: Frames, starts: npt.ArrayLike, rows: npt.ArrayLike | None = None
    ) -> Frames:
        """Add the present frames ``(K, H, W, 3)`` of environments ``rows (K,)``; their windows.

        ``starts (K,)`` marks frames that begin an episode: what went before is forgotten.  Without
        ``rows`` the frames are those of all environments.  Returns ``(K, length, H, W, 3)``.

        Raises:
            ValueError: for an environment named twice, one whose first frame begins no episode, or
                frames of another size than before.
        """
        check_frames(frames)
        where = np.arange(self.num_envs) if rows is None else np.asarray(rows, np.int64)
        begins = np.asarray(starts, bool)
        if not len(where) == len(begins) == len(frames):
            raise ValueError(f"{len(frames)} frames, {len(begins)} starts, {len(where)} rows")
        if len(np.unique(where)) != len(where):
            raise ValueError("one environment twice in one call; push its frames one by one")
        if not (begins | self._begun[where]).all():
            raise ValueError("the first frame of an environment must begin an episode")
        if self._frames is None:
            shape = (self.num_envs, self.length, *frames.shape[1:])
            self._frames = np.zeros(shape, np.uint8)
        if self._frames.shape[2:] != frames.shape[1:]:
            raise ValueError(f"frames {frames.shape[1:]}, expected {self._frames.shape[2:]}")
        windows = np.roll(self._frames[where], -1, axis=1)
        windows[:, -1] = frames
        windows[begins] = frames[begins, None]
        self._frames[where] = windows
        self._begun[where] = True
        return windows
