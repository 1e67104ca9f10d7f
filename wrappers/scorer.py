"""What a scorer of frames is, what callers may ask it, and what its answers are checked for."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

Frames = npt.NDArray[np.uint8]
Scores = npt.NDArray[np.float32]
Reasons = list[str | None]  # why a frame has no label, None for one that has
Infos = Sequence[Mapping[str, Any]]

BUNDLED = "bundled"
# What callers may ask a scorer besides its scores, by the functions below.
ASKED = (
    "context_frames",
    "frame_size",
    "reads_infos",
    "reads_history",
    "last_reasons",
    "stopped",
    "price_estimate",
)
_ALIKE = 1e-6  # scores of a first batch that differ by less
_ENOUGH = 8  # other frames, where they come one by one


@runtime_checkable
class SafetyScorer(Protocol):
    """Scores frames: 1 is safe, 0 is unsafe.

    Scorers are callable on ``frames (N, H, W, 3)`` uint8 and, where they need simulator truth, on
    ``infos`` (one mapping a frame); they return ``(N,)`` float32 in [0, 1], NaN for a frame that
    they have no label for.  Optional attributes tell callers more:

    - ``context_frames = k``: it looks at k frames to score one and gets windows in place of frames,
      see :mod:`~.frame_windows`.
    - ``frame_size = S``: it looks at frames of S by S pixels; environments that can draw such
      frames hand them over.
    - ``reads_infos = True``: its scores depend on ``infos``; without it they may be left out.
    - ``reads_history = True``: its scores depend on earlier calls, so that they must not be cached.
    - ``prepare(frames)``, ``encode(prepared)``, ``score(encoded)``: in turn the same as a call, so
      that a loader can run ahead.
    - ``last_reasons``: why each frame of the last call has no label, ``None`` for one that has.
    - ``stopped``: why it gives no more labels, empty while it does; it need not be called again.
    - ``price_estimate(frames)``: what scoring as many costs [US dollars], ``None`` for nothing.
    """

    @property
    def identity(self) -> dict[str, Any]:
        """JSON-able description that tells two scorers apart: name, weights, prompts, form, ..."""

    def __call__(self, frames: Frames, infos: Infos | None = None) -> Scores:
        """Safety scores ``(N,)`` of ``frames (N, H, W, 3)``."""


def frame_size(scorer: SafetyScorer) -> int | None:
    """Height and width [px] of the frames that a scorer looks at; ``None`` where it takes any."""
    size = getattr(scorer, "frame_size", None)
    return None if size is None else int(size)


def price_estimate(scorer: SafetyScorer, frames: int) -> float | None:
    """What scoring so many frames costs [US dollars]; ``None`` where a scorer asks for nothing."""
    ask = getattr(scorer, "price_estimate", None)
    return None if ask is None else ask(frames)


def last_reasons(scorer: SafetyScorer, count: int) -> Reasons:
    """Why each of the ``count`` frames of the last call has no label, as far as a scorer says."""
    said = list(getattr(scorer, "last_reasons", None) or ())
    return said if len(said) == count else [None] * count


def stopped(scorer: SafetyScorer) -> str:
    """Why a scorer gives no more labels; empty while it does."""
    return str(getattr(scorer, "stopped", "") or "")


def reads_infos(scorer: SafetyScorer) -> bool:
    """Whether a scorer's answers depend on ``infos``."""
    return bool(getattr(scorer, "reads_infos", False))


def reads_history(scorer: SafetyScorer) -> bool:
    """Whether a scorer's answers depend on earlier calls."""
    return bool(getattr(scorer, "reads_history", False))


def check_frames(frames: object) -> Frames:
    """Return ``frames`` if they are uint8 ``(N, H, W, 3)``.

    Raises:
        TypeError: for another type or dtype.
        ValueError: for another shape.
    """
    if not isinstance(frames, np.ndarray):
        raise TypeError(f"frames must be a NumPy array (N, H, W, 3), got {type(frames).__name__}")
    if frames.ndim == 3 and frames.shape[-1] == 3:
        raise ValueError(
            f"frames has shape {frames.shape}: a single frame; pass a batch, frame[None]"
        )
    if frames.ndim != 4 or frames.shape[-1] != 3:
        raise ValueError(f"frames has shape {frames.shape}, expected (N, H, W, 3), channels last")
    if frames.dtype != np.uint8:
        raise TypeError(f"frames has dtype {frames.dtype}, expected uint8 in 0..255")
    return frames


def check_scores(scores: object, count: int) -> Scores:
    """A scorer's answer as float32 ``(count,)``; NaN stands for "no label".

    Raises:
        ValueError: for another shape or values outside [0, 1].
    """
    try:
        found = np.asarray(scores, np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the scorer returned no numbers ({error})") from None
    if found.shape != (count,):
        raise ValueError(f"the scorer returned shape {found.shape} for {count} frames")
    outside = (found < 0) | (found > 1)
    if outside.any():
        raise ValueError(f"a safety score lies in [0, 1], the scorer returned {found[outside][0]}")
    return found


class FirstBatch:
    """Looks at a scorer's first scores, and warns when different frames all get one.

    Args:
        name: of the scorer, for the warning.
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
