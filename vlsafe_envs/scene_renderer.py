"""Frames of scenes on a scenario's road: for the environment, and later from stored scenes."""

from __future__ import annotations

import copy
import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from vlsafe_envs.options import read_options
from vlsafe_envs.registration import make_simulator
from vlsafe_envs.registry import row_of
from vlsafe_envs.render import fingerprint
from vlsafe_envs.render.frames import FRAME_SIZE, FRAME_SIZES, Frame, frames_on
from vlsafe_envs.scene import Scene, drawing_of_packed


class SceneRenderer:
    """Draws packed scenes (``info["scene"]``) as the environment that made them would.

    Args:
        env_id: such as ``"VLSafe-Highway-v0"``, with or without ``"vlsafe_envs:"`` before it.
        env_kwargs: what the environment was made with; only what shapes the road matters.

    Raises:
        ValueError: for an id that is not ours, or whose road is not in the scene, and for arguments
            that the environment would refuse.
    """

    frame_sizes = FRAME_SIZES  # [px], as the environments' safety_frame_sizes
    _size = FRAME_SIZE

    def __init__(self, env_id: str, **env_kwargs: Any) -> None:
        row = row_of(env_id)
        chosen = read_options(row, env_kwargs)
        if not row.fixed_road:
            raise ValueError(
                f"env_id={env_id!r}: every map of MetaDrive has another road, which scenes do not "
                "hold; score while driving (scorer=...), or use the images that are stored"
            )
        self._frames = frames_on(make_simulator(chosen).road)

    def at_size(self, size: int) -> SceneRenderer:
        """The same drawing with :meth:`frames` of ``size`` px, as ``env.safety_frame(size)``.

        Raises:
            ValueError: for a size that is not in :attr:`frame_sizes`.
        """
        if size not in self.frame_sizes:
            raise ValueError(f"size={size!r}: the scorer's frame is {self.frame_sizes} px")
        twin = copy.copy(self)
        twin._size = size
        twin.__dict__.pop("identity", None)
        return twin

    @functools.cached_property
    def identity(self) -> dict[str, Any]:
        """JSON-able; two renderers with the same identity draw the same frames of a scene."""
        drawing = fingerprint(self._frames.rasteriser(self._size))
        return {"name": "scene", "size": [self._size, self._size, 3], "drawing": drawing}

    def frames(self, packed_scenes: npt.NDArray[np.float32]) -> Frame:
        """The scorer's frames ``(N, 224, 224, 3)`` of packed scenes ``(N, 48, 7)``, by all threads.

        Of another size after :meth:`at_size`.  Python's global lock is released while they are
        drawn.
        """
        draw = self._frames.frames if self._size == FRAME_SIZE else self._frames.images
        return draw(*drawing_of_packed(packed_scenes))

    def images(self, packed_scenes: npt.NDArray[np.float32]) -> Frame:
        """The agent's images ``(N, 64, 64, 3)`` of packed scenes ``(N, 48, 7)``, by all threads."""
        return self._frames.images(*drawing_of_packed(packed_scenes))

    def frame(self, packed_scene: npt.NDArray[np.float32]) -> Frame:
        """The scorer's frame, uint8 ``(224, 224, 3)``, of a packed scene ``(48, 7)``.

        Of another size after :meth:`at_size`.
        """
        draw = self._frames.frame if self._size == FRAME_SIZE else self._frames.image
        return draw(Scene.unpack(packed_scene))

    def image(self, packed_scene: npt.NDArray[np.float32]) -> Frame:
        """The agent's image, uint8 ``(64, 64, 3)``, of a packed scene ``(48, 7)``."""
        return self._frames.image(Scene.unpack(packed_scene))
