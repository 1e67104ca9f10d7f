"""Frames with their facts, in files that can be mapped instead of read."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .facts import Facts


@dataclass(frozen=True)
class TrainingSet:
    """``frames`` are at the model's input size; ``small_frames`` show the same scenes smaller.

    ``frames (N, S, S, 3)`` uint8, ``small_frames (N, s, s, 3)`` uint8 (they may be empty, N = 0),
    packed ``scenes (N, R, 7)`` as in :mod:`.facts`, ``facts`` with N rows.  Raises ``ValueError``
    when lengths or dtypes do not fit.
    """

    frames: npt.NDArray[np.uint8]
    small_frames: npt.NDArray[np.uint8]
    scenes: npt.NDArray[np.float32]
    facts: Facts

    def __post_init__(self) -> None:
        for name in ("frames", "small_frames"):
            array = getattr(self, name)
            if array.dtype != np.uint8 or array.ndim != 4 or array.shape[-1] != 3:
                raise ValueError(f"{name} is {array.dtype} {array.shape}, not uint8 (N, S, S, 3)")
        if self.scenes.ndim != 3 or self.scenes.shape[-1] != 7:
            raise ValueError(f"scenes is {self.scenes.shape}, not (N, R, 7)")
        if len(self.facts) != len(self.frames) or len(self.scenes) != len(self.frames):
            raise ValueError(
                f"{len(self.frames)} frames but {len(self.scenes)} scenes and facts of "
                f"{len(self.facts)}"
            )
        if len(self.small_frames) not in (0, len(self.frames)):
            raise ValueError(f"{len(self.small_frames)} small frames for {len(self.frames)} frames")

    def __len__(self) -> int:
        return len(self.frames)

    def save(self, folder: Path) -> None:
        """Write each array to a file of its name, ``facts.npz`` last: it marks the end."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("frames", "small_frames", "scenes"):
            np.save(folder / f"{name}.npy", getattr(self, name))
        columns = {field.name: getattr(self.facts, field.name) for field in fields(Facts)}
        np.savez(folder / "facts.npz", **columns)

    @classmethod
    def load(cls, folder: Path) -> TrainingSet:
        """Map the arrays of :meth:`save`; raises ``FileNotFoundError`` when one is missing."""
        with np.load(folder / "facts.npz") as columns:
            facts = Facts(**{name: columns[name] for name in columns.files})
        return cls(
            frames=np.load(folder / "frames.npy", mmap_mode="r"),
            small_frames=np.load(folder / "small_frames.npy", mmap_mode="r"),
            scenes=np.load(folder / "scenes.npy"),
            facts=facts,
        )
