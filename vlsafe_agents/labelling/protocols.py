"""What labelling needs from others: a judge, a pencil, and a memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from vlsafe_agents.data.episode import Array
from wrappers.frame_windows import context_frames
from wrappers.scorer import frame_size, reads_history, reads_infos

__all__ = [
    "Drawing",
    "ScoreStore",
    "Scorer",
    "context_frames",
    "drawing_for",
    "reads_history",
    "reads_infos",
]

Frames = npt.NDArray[np.uint8]
Scores = npt.NDArray[np.float32]
Infos = Sequence[Mapping[str, Any]]


class Scorer(Protocol):
    """Judges frames; see ``wrappers.SafetyScorer``, which names what else labelling asks of it.

    Without ``reads_infos = True`` it sees frames only.
    """

    @property
    def identity(self) -> dict[str, Any]:
        """JSON-able description that tells two scorers apart."""

    def __call__(self, frames: Frames, infos: Infos | None = None) -> Scores:
        """Scores ``(N,)`` in [0, 1] of frames ``(N, H, W, 3)``; 1 is safe, NaN is no label."""


class Drawing(Protocol):
    """Draws packed scenes; see ``vlsafe_envs.SceneRenderer``.

    One that can draw frames of several sizes says so in ``frame_sizes`` [px], and
    ``at_size(size)`` is the same drawing in another of them.
    """

    @property
    def identity(self) -> dict[str, Any]:
        """JSON-able; drawings with the same identity make the same frame of a scene."""

    def frames(self, scenes: npt.NDArray[np.float32], /) -> Frames:
        """Frames ``(N, H, W, 3)`` of packed scenes ``(N, ...)``."""


class ScoreStore(Protocol):
    """Remembers scores; see ``wrappers.score_cache.ScoreCache``."""

    def keys(self, scope: Mapping[str, Any], rows: Array, /) -> list[bytes]:
        """Keys of N rows of content ``(N, ...)``, different in every JSON-able scope."""

    def get(self, keys: Sequence[bytes], /) -> Scores:
        """Scores ``(N,)``, NaN where none is known."""

    def put(self, keys: Sequence[bytes], scores: Scores, /) -> None:
        """Remember scores that are not NaN."""


def drawing_for(scorer: Scorer, drawing: Drawing | None) -> Drawing | None:
    """The drawing in the size that a scorer looks at, as environments show it while driving."""
    size, sizes = frame_size(scorer), getattr(drawing, "frame_sizes", ())
    if drawing is None or size not in sizes:
        return drawing
    sized: Drawing = drawing.at_size(size)  # type: ignore[attr-defined]
    return sized
