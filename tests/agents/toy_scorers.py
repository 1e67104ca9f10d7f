"""Scorers of toy frames whose right answers are known."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np


class SceneScorer:
    """p = 1 / (1 + t), read from the drawn scene; keeps a log of what it was shown.

    Args:
        log: file that gets a line for every call, the t of each frame
        pause: [s] of each call
        speechless: t of frames that get no label
    """

    def __init__(
        self,
        log: str | None = None,
        pause: float = 0.0,
        name: str = "scene",
        speechless: Sequence[int] = (),
    ) -> None:
        self.log, self.pause, self.name, self.speechless = log, pause, name, speechless
        self.last_reasons: list[str | None] = []

    @property
    def identity(self) -> dict[str, Any]:
        return {"name": self.name, "prompts": ("safe", "unsafe")}

    def __call__(self, frames: Any, infos: Any = None) -> Any:
        time.sleep(self.pause)
        assert frames.shape[1:] == (8, 8, 3)
        assert infos is None
        t = frames[:, 0, 0, 0]
        if self.log is not None:
            with open(self.log, "a") as file:
                file.write(" ".join(map(str, t)) + "\n")
        silent = np.isin(t, self.speechless)
        self.last_reasons = [f"t is {k}" if out else None for k, out in zip(t, silent, strict=True)]
        return np.where(silent, np.nan, 1.0 / (1.0 + t))


class InfoScorer(SceneScorer):
    """The same from the infos, which must belong to the frames."""

    reads_infos = True

    def __call__(self, frames: Any, infos: Any = None) -> Any:
        assert [info["speed"] for info in infos] == [2.0 * frame[0, 0, 0] for frame in frames]
        assert all("safety_score" not in info for info in infos)
        return super().__call__(frames)


class BatchScorer(SceneScorer):
    """Its scores depend on which frames are scored together, as rounding errors may."""

    def __call__(self, frames: Any, infos: Any = None) -> Any:
        super().__call__(frames)
        place = np.arange(len(frames)) / 1000
        return (frames.astype(np.float64).mean() % 7 / 20 + place).astype(np.float32)


class WindowScorer(SceneScorer):
    """p from the times of the last three frames, read as digits."""

    context_frames = 3

    def __call__(self, frames: Any, infos: Any = None) -> Any:
        assert frames.shape[1:] == (3, 8, 8, 3)
        return frames[:, :, 0, 0, 0] @ np.array([0.01, 0.001, 0.0001])


class SizeScorer(SceneScorer):
    """p tells how large the frames are that it is shown."""

    frame_size = 4

    def __call__(self, frames: Any, infos: Any = None) -> Any:
        return np.full(len(frames), frames.shape[1] / 100, np.float32)


class ToyDrawing:
    """Draws the time in a packed scene as a grey."""

    frame_sizes = (8, 4)  # [px]

    def __init__(self, version: int = 1, size: int = 8) -> None:
        self.version, self.size = version, size
        self.identity = {"name": "toy", "version": version}
        if size != 8:
            self.identity["size"] = size

    def at_size(self, size: int) -> "ToyDrawing":
        return ToyDrawing(self.version, size)

    def frames(self, scenes: Any) -> Any:
        grey = scenes[:, 0, 0].astype(np.uint8)
        return np.tile(grey[:, None, None, None], (1, self.size, self.size, 3))
