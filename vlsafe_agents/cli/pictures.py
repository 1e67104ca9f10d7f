"""Frames of recorded drives as a distilled scorer takes them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from vlsafe_agents.audit.drives import Drives
from vlsafe_agents.data.frames import FrameReader, Rows
from vlsafe_envs import SceneRenderer
from wrappers.distillation.network import fit_frames
from wrappers.scorer import Frames

Draw = Callable[[SceneRenderer, npt.NDArray[np.float32]], Frames]


class Pictures:
    """Draws the scenes of several data sets when they are wanted.

    A packed scene takes a tenth of its image's memory.

    Args:
        drives: the data sets; their drawings are :class:`~vlsafe_envs.SceneRenderer`.
        shrunk: share of the frames of :meth:`mixed` that are shrunk from larger ones.
    """

    def __init__(self, drives: Drives, shrunk: float = 0.0) -> None:
        self._share = shrunk
        self._drawings: list[SceneRenderer] = [s.drawing for s in drives.sources]  # type: ignore[misc]
        self._source = drives.source_of_episode[drives.truth.episode]  # (N,)
        parts = []
        for frames in drives.frames:
            reader = FrameReader(frames)
            parts.append(reader.pictures(np.arange(len(frames))))
            reader.close()
        self._scenes = np.concatenate(parts)  # (N, 48, 7)

    def images(self, rows: Rows) -> Frames:
        """Frames ``(B, 64, 64, 3)`` of ``rows (B,)`` as an agent sees them."""
        return self._drawn(rows, SceneRenderer.images)

    def shrunk(self, rows: Rows) -> Frames:
        """Frames ``(B, 64, 64, 3)`` of ``rows (B,)``, shrunk from those that other scorers see."""
        return self._drawn(rows, _shrink)

    def mixed(self, rows: Rows) -> Frames:
        """Frames of ``rows (B,)``, which come in random order: the first of them are shrunk."""
        count = round(self._share * len(rows))
        parts = [self.shrunk(rows[:count])] if count else []
        parts += [self.images(rows[count:])] if count < len(rows) else []
        return np.concatenate(parts)

    def _drawn(self, rows: Rows, draw: Draw) -> Frames:
        found: Frames | None = None
        for number, drawing in enumerate(self._drawings):
            mine = np.flatnonzero(self._source[rows] == number)
            if len(mine):
                frames = draw(drawing, self._scenes[rows[mine]])
                if found is None:
                    found = np.empty((len(rows), *frames.shape[1:]), np.uint8)
                found[mine] = frames
        assert found is not None, "no rows"
        return found


def _shrink(drawing: SceneRenderer, scenes: npt.NDArray[np.float32]) -> Frames:
    size = drawing.image(scenes[0]).shape[0]
    return fit_frames(drawing.frames(scenes), size)
