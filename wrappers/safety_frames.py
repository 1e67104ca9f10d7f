"""The frame that an environment shows to a scorer."""

from __future__ import annotations

from typing import Any

import numpy as np

from wrappers.scorer import Frames


class SafetyFrames:
    """Shows an environment's present frame, as a scorer wants to see it.

    The frame is ``env.safety_frame()`` where some layer of ``env`` has that method, otherwise
    ``env.render()``.  An environment whose ``safety_frame_sizes`` hold ``size`` is asked for
    ``env.safety_frame(size)``.

    Args:
        env: any Gymnasium environment, which may be wrapped.
        size: that the scorer wants (``scorer.frame_size``) [px]; None: any.
    """

    def __init__(self, env: Any, size: int | None) -> None:
        self._env = env
        self.drawn_for_scorers = bool(env.has_wrapper_attr("safety_frame"))
        sizes = ()
        if env.has_wrapper_attr("safety_frame_sizes"):
            sizes = env.get_wrapper_attr("safety_frame_sizes")
        self._size = (size,) if size in sizes else ()

    def __call__(self) -> Frames:
        """The frame, uint8 ``(H, W, 3)``.

        Raises:
            ValueError: where the environment shows something else.
        """
        if self.drawn_for_scorers:
            name, frame = "safety_frame", self._env.get_wrapper_attr("safety_frame")(*self._size)
        else:
            name, frame = "render", self._env.render()
        if not isinstance(frame, np.ndarray):
            raise ValueError(
                f"env.{name}() returned {type(frame).__name__}, not a frame; make the environment "
                'with render_mode="rgb_array" or give it a safety_frame() method'
            )
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise ValueError(
                f"env.{name}() returned {frame.dtype} {frame.shape}; expected a frame, uint8 "
                "(height, width, 3): wrap the environment, or give it a safety_frame() method"
            )
        return frame
