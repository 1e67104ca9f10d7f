"""A window that shows frames, for ``render_mode="human"``."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

SCALE = 3  # window pixels for one frame pixel


class Window:
    """Opens on the first frame.  Paced to ``fps`` frames a second."""

    def __init__(self, title: str, fps: float) -> None:
        self._title = title
        self._fps = fps
        self._screen: Any = None
        self._clock: Any = None

    def show(self, frame: npt.NDArray[np.uint8]) -> None:
        """Show a frame ``(H, W, 3)``, then wait until its time is over."""
        import pygame

        size = (frame.shape[1] * SCALE, frame.shape[0] * SCALE)
        if self._screen is None:
            pygame.display.init()
            pygame.display.set_caption(self._title)
            self._screen = pygame.display.set_mode(size)
            self._clock = pygame.time.Clock()
        surface = pygame.surfarray.make_surface(frame.swapaxes(0, 1))
        self._screen.blit(pygame.transform.scale(surface, size), (0, 0))
        pygame.event.pump()
        pygame.display.flip()
        self._clock.tick(self._fps)

    def close(self) -> None:
        """Close the window, if it is open."""
        if self._screen is not None:
            import pygame

            pygame.display.quit()
            self._screen = None
