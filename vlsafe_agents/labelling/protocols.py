"""What labelling needs from others: a judge, a pencil, and a memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..data.episode import Array

Frames = npt.NDArray[np.uint8]
Scores = npt.NDArray[np.float32]
Infos = Sequence[Mapping[str, Any]]


class Scorer(Protocol):
    """Judges frames; see ``wrappers.SafetyScorer``.

    Optional attributes that labelling knows:

    - ``context_frames = k``: it looks at windows ``(N, k, H, W, 3)`` of an episode's last frames.
    - ``reads_infos = True``: it gets ``infos``, and its scores count as depending on them.  Without
      it the scorer sees frames only.
    - ``reads_history = True``: its scores depend on earlier calls, and are not remembered.
    - ``prepare(frames)``, ``encode(prepared)`` and ``judge(encoded)``, in turn the same as a call:
      the first then runs while the batch before is encoded.
    - ``last_reasons``: why each frame of the last call has no label, ``None`` for one that has.
    - ``stopped``: why it gives no more labels, empty while it does; it is then not called again.
    - ``price_estimate(frames)``: what scoring as many costs [US dollars], ``None`` for nothing.
    """

    @property
    def identity(self) -> dict[str, Any]:
        """JSON-able description that tells two scorers apart."""

    def __call__(self, frames: Frames, infos: Infos | None = None) -> Scores:
        """Scores ``(N,)`` in [0, 1] of frames ``(N, H, W, 3)``; 1 is safe, NaN is no label."""


class Drawing(Protocol):
    """Draws packed scenes; see ``vlsafe_envs.SceneRenderer``."""

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

    def claim(self, keys: Sequence[bytes], /) -> npt.NDArray[np.bool_]:
        """Which of the keys no other process is scoring now; these are ours until released."""

    def release(self, keys: Sequence[bytes], /) -> None:
        """Give claimed keys back."""


def context_frames(scorer: Scorer) -> int:
    """How many frames the scorer looks at to judge one."""
    return int(getattr(scorer, "context_frames", 1))


def reads_infos(scorer: Scorer) -> bool:
    """Whether the scorer's answers depend on more than frames."""
    return bool(getattr(scorer, "reads_infos", False))


def reads_history(scorer: Scorer) -> bool:
    """Whether the scorer's answers depend on earlier calls."""
    return bool(getattr(scorer, "reads_history", False))
