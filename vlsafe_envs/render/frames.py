"""Frames of scenes on one road, in the two sizes that are drawn."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from vlsafe_envs.observations import IMAGE_SIZE
from vlsafe_envs.render.many import draw_many
from vlsafe_envs.render.rasteriser import Rasteriser, ego_centre
from vlsafe_envs.render.road_shape import RoadShape
from vlsafe_envs.scene import Scene

FRAME_SIZE = 224  # [px], 3.5 a metre
FRAME_SIZES = (FRAME_SIZE, IMAGE_SIZE)  # [px], of the frames that scorers may ask for
GROUND = 64.0  # [m], side of the square that a frame shows

Frame = npt.NDArray[np.uint8]


def image_view() -> tuple[float, float, float]:
    """Of the agent's image: metres a pixel, and row and column of the ego vehicle's centre [px]."""
    return (GROUND / IMAGE_SIZE, *ego_centre(IMAGE_SIZE))


class SceneFrames:
    """Draws scenes on ``road``, which is prepared on first use."""

    def __init__(self, road: RoadShape) -> None:
        self._road = road

    @functools.cached_property
    def _large(self) -> Rasteriser:
        return Rasteriser(self._road, FRAME_SIZE, GROUND, trails=True)

    @functools.cached_property
    def _small(self) -> Rasteriser:
        return Rasteriser(self._road, IMAGE_SIZE, GROUND)

    def rasteriser(self, size: int = FRAME_SIZE) -> Rasteriser:
        """What draws the scorer's frames of a size [px].

        Raises:
            ValueError: for a size that is not in :data:`FRAME_SIZES`.
        """
        if size not in FRAME_SIZES:
            raise ValueError(f"size={size!r}: the frames are {FRAME_SIZES} px")
        return self._large if size == FRAME_SIZE else self._small

    def frame(self, scene: Scene, size: int = FRAME_SIZE) -> Frame:
        """The scorer's frame, uint8 ``(size, size, 3)``; raises like :meth:`rasteriser`."""
        return self.rasteriser(size).draw(scene)

    def image(self, scene: Scene) -> Frame:
        """The agent's image, uint8 ``(64, 64, 3)``."""
        return self._small.draw(scene)

    def frames(self, *scenes: Any, size: int = FRAME_SIZE) -> Frame:
        """The scorer's frames ``(N, size, size, 3)`` of N scenes, as ``draw_many`` takes them."""
        return draw_many(self.rasteriser(size), *scenes)

    def images(self, *scenes: Any) -> Frame:
        """The agent's images ``(N, 64, 64, 3)`` of N scenes, as ``draw_many`` takes them."""
        return draw_many(self._small, *scenes)


@functools.lru_cache(maxsize=16)
def frames_on(road: RoadShape) -> SceneFrames:
    """What draws scenes on ``road``; the same for all environments on that road."""
    return SceneFrames(road)
