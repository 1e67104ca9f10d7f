"""Frames with their facts, in files that can be mapped instead of read."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from wrappers.clip_training.facts import Facts
from wrappers.files import reading, replacing

_REMEDY = "remove this folder, and the same command records it again"


@dataclass(frozen=True)
class TrainingSet:
    """``frames`` are at the model's input size; ``small_frames`` show the same scenes smaller.

    ``frames (N, S, S, 3)`` uint8, ``small_frames (N, s, s, 3)`` uint8 (they may be empty, N = 0),
    packed ``scenes (N, R, 7)`` as in :mod:`.facts`, ``facts`` with N rows.

    Raises:
        ValueError: when lengths or dtypes do not fit.
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
        (folder / "facts.npz").unlink(missing_ok=True)
        for name in ("frames", "small_frames", "scenes"):
            with replacing(folder / f"{name}.npy") as temporary, temporary.open("wb") as file:
                np.save(file, getattr(self, name))
        columns = {field.name: getattr(self.facts, field.name) for field in fields(Facts)}
        with replacing(folder / "facts.npz") as temporary, temporary.open("wb") as file:
            np.savez(file, **columns)

    @classmethod
    def load(cls, folder: Path) -> TrainingSet:
        """Map the arrays of :meth:`save`.

        Raises:
            FileNotFoundError: when one is missing.
            ValueError: when one is damaged.
        """

        def array(name: str, mode: Literal["r"] | None = "r") -> npt.NDArray[Any]:
            load = partial(np.load, mmap_mode=mode)
            return reading(folder / f"{name}.npy", "an array of train-clip", load, _REMEDY)

        facts = reading(folder / "facts.npz", "facts of train-clip", _load_facts, _REMEDY)
        try:
            return cls(array("frames"), array("small_frames"), array("scenes", None), facts)
        except (TypeError, AttributeError) as error:
            raise ValueError(f"{folder} holds no training set ({error}); {_REMEDY}") from error


def _load_facts(path: Path) -> Facts:
    with np.load(path) as columns:
        return Facts(**{name: columns[name] for name in columns.files})
