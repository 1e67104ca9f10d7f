"""Frames of scenes on a scenario's road: for the environment, and later from stored scenes."""

from __future__ import annotations

import copy
import dataclasses
import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from vlsafe_envs.highway_env_traffic import build_network
from vlsafe_envs.observations import IMAGE_SIZE
from vlsafe_envs.render import Rasteriser, RoadShape, draw_many, fingerprint
from vlsafe_envs.scenarios import TrafficConfig
from vlsafe_envs.scene import Scene, drawing_of_packed

FRAME_SIZE = 224  # [px], 3.5 a metre
GROUND = 64.0  # [m], side of the square that a frame shows

Frame = npt.NDArray[np.uint8]


@functools.lru_cache(maxsize=16)
def _road_shape(scenario: str, lanes: int) -> RoadShape:
    return RoadShape.from_network(build_network(TrafficConfig(scenario, vehicles=0, lanes=lanes)))


class SceneFrames:
    """Draws scenes on ``road``, or on the road of a config; it is prepared on first use."""

    def __init__(self, road: TrafficConfig | RoadShape) -> None:
        self._given = road

    @functools.cached_property
    def _road(self) -> RoadShape:
        if isinstance(self._given, RoadShape):
            return self._given
        return _road_shape(self._given.scenario, self._given.lanes)

    @functools.cached_property
    def _large(self) -> Rasteriser:
        return Rasteriser(self._road, FRAME_SIZE, GROUND, trails=True)

    @functools.cached_property
    def _small(self) -> Rasteriser:
        return Rasteriser(self._road, IMAGE_SIZE, GROUND)

    def rasteriser(self, size: int = FRAME_SIZE) -> Rasteriser:
        """What draws the judge's frames of a size [px]."""
        return self._large if size == FRAME_SIZE else self._small

    def frame(self, scene: Scene) -> Frame:
        """The judge's frame, uint8 ``(224, 224, 3)``."""
        return self._large.draw(scene)

    def image(self, scene: Scene) -> Frame:
        """The agent's image, uint8 ``(64, 64, 3)``."""
        return self._small.draw(scene)

    def frames(self, *scenes: Any) -> Frame:
        """The judge's frames ``(N, 224, 224, 3)`` of N scenes, as ``draw_many`` takes them."""
        return draw_many(self._large, *scenes)

    def images(self, *scenes: Any) -> Frame:
        """The agent's images ``(N, 64, 64, 3)`` of N scenes, as ``draw_many`` takes them."""
        return draw_many(self._small, *scenes)


class SceneRenderer:
    """Draws packed scenes (``info["scene"]``) as the environment that made them would.

    Args:
        env_id: such as ``"VLSafe-Highway-v0"``, with or without ``"vlsafe_envs:"`` before it.
        env_kwargs: what the environment was made with; only what shapes the road matters.

    Raises ``ValueError`` for an id that is not ours, or whose road is not in the scene, and for
    arguments that the environment would refuse.
    """

    frame_sizes = (FRAME_SIZE, IMAGE_SIZE)  # [px], as the environments' safety_frame_sizes
    _size = FRAME_SIZE

    def __init__(self, env_id: str, **env_kwargs: Any) -> None:
        from vlsafe_envs.registration import (
            METADRIVE_IDS,
            TASK_IDS,
            bare_id,
            check_env_options,
            scenario_of,
        )

        name = bare_id(env_id)
        check_env_options(name, env_kwargs)
        if name in METADRIVE_IDS:
            raise ValueError(
                f"env_id={env_id!r}: every map of MetaDrive has another road, which scenes do not "
                "hold; judge while driving (scorer=...), or use the images that are stored"
            )
        if name in TASK_IDS:
            from vlsafe_envs.tasks.make import task_road

            self._frames = SceneFrames(task_road(TASK_IDS[name]))
            return
        config = scenario_of(name).traffic
        lanes = env_kwargs.get("lanes")
        if lanes is not None:
            config = dataclasses.replace(config, lanes=lanes)
        self._frames = SceneFrames(config)

    def at_size(self, size: int) -> SceneRenderer:
        """The same drawing with :meth:`frames` of ``size`` px, as ``env.safety_frame(size)``.

        Raises ``ValueError`` for a size that is not in :attr:`frame_sizes`.
        """
        if size not in self.frame_sizes:
            raise ValueError(f"size={size!r}: the judge's frame is {self.frame_sizes} px")
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
        """The judge's frames ``(N, 224, 224, 3)`` of packed scenes ``(N, 48, 7)``, by all threads.

        Of another size after :meth:`at_size`.  Python's global lock is released while they are
        drawn.
        """
        draw = self._frames.frames if self._size == FRAME_SIZE else self._frames.images
        return draw(*drawing_of_packed(packed_scenes))

    def images(self, packed_scenes: npt.NDArray[np.float32]) -> Frame:
        """The agent's images ``(N, 64, 64, 3)`` of packed scenes ``(N, 48, 7)``, by all threads."""
        return self._frames.images(*drawing_of_packed(packed_scenes))

    def frame(self, packed_scene: npt.NDArray[np.float32]) -> Frame:
        """The judge's frame, uint8 ``(224, 224, 3)``, of a packed scene ``(48, 7)``.

        Of another size after :meth:`at_size`.
        """
        draw = self._frames.frame if self._size == FRAME_SIZE else self._frames.image
        return draw(Scene.unpack(packed_scene))

    def image(self, packed_scene: npt.NDArray[np.float32]) -> Frame:
        """The agent's image, uint8 ``(64, 64, 3)``, of a packed scene ``(48, 7)``."""
        return self._frames.image(Scene.unpack(packed_scene))
