"""A judge of toy frames whose right answers are known."""

import time
from typing import Any

import numpy as np


class SceneScorer:
    """p = 1 / (1 + t), read from the drawn scene; keeps count of frames in a file."""

    def __init__(self, log: str | None = None, pause: float = 0.0, name: str = "scene") -> None:
        self.log, self.pause, self.name = log, pause, name

    @property
    def identity(self) -> dict[str, Any]:
        return {"name": self.name, "prompts": ("safe", "unsafe")}

    def __call__(self, frames: Any, infos: Any = None) -> Any:
        time.sleep(self.pause)
        assert frames.shape[1:] == (8, 8, 3)
        assert [info["speed"] for info in infos] == [2.0 * frame[0, 0, 0] for frame in frames]
        if self.log is not None:
            with open(self.log, "a") as file:
                file.write(f"{len(frames)}\n")
        return 1.0 / (1.0 + frames[:, 0, 0, 0])


def draw(packed: Any) -> Any:
    return np.full((8, 8, 3), packed[0, 0], np.uint8)


def make_draw() -> Any:
    return draw
