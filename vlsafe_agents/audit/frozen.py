"""Frames that stay as they are, with what the simulator knew of each: the hazard exam's questions.

One file comes with vlsafe; ``benchmarks/frozen_frames.py`` made it.  It is a ZIP of pictures (WebP
without loss) and a table, ``frames.csv``, so that anybody can look into it.  No two frames are of
one drive: every frame is an episode of its own, and an interval over episodes is one over frames.
"""

from __future__ import annotations

import csv
import hashlib
import io
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from vlsafe_agents.audit.drives import Truth
from vlsafe_agents.evaluation.resampling import Bools, Integers
from wrappers.checks import check_numbers
from wrappers.files import reading, replacing
from wrappers.scorer import Frames

BUNDLED_FRAMES = Path(__file__).parent / "frozen_frames.zip"
HORIZON = 2.0  # [s], of both questions: half of the frames have an event within it
TABLE = "frames.csv"
WORDS = ("road", "driver")
TRUTH = (
    "time",
    "time_to_collision",
    "headway",
    "collision",
    "off_road",
    "until_collision",
    "until_off_road",
    "until_cut",
)
COLUMNS = (*WORDS, "density", "seed", *TRUTH, "erasable")
_REMEDY = "install vlsafe anew"


@dataclass(frozen=True)
class FrozenFrames:
    """N frames and what is true of them; :class:`~.examine.Examiner` takes them as drives.

    Args:
        rows: of the table, each with :data:`COLUMNS` as text
        pictures: frames ``(N, S, S, 3)`` by their size S [px]
        erased: the same without other vehicles, black where a frame is not ``erasable``
    """

    rows: Sequence[Mapping[str, str]]
    pictures: Mapping[int, Frames]
    erased: Mapping[int, Frames]

    def __len__(self) -> int:
        return len(self.rows)

    def at(self, size: int | None) -> tuple[int, Frames, Frames]:
        """Size, frames and erased frames for a scorer of that ``frame_size``, else the largest."""
        found = size if size in self.pictures else max(self.pictures)
        assert found is not None
        return found, self.pictures[found], self.erased[found]

    @cached_property
    def truth(self) -> Truth:
        """One value a frame."""
        found: dict[str, Any] = {name: self._numbers(name) for name in TRUTH}
        found |= {name: found[name] > 0 for name in ("collision", "off_road")}
        return Truth(episode=np.arange(len(self)), **found)

    @cached_property
    def erasable(self) -> Bools:
        """Frames ``(N,)`` that there are without other vehicles: not on MetaDrive's maps."""
        return np.asarray(self._numbers("erasable") > 0, bool)

    @cached_property
    def source_of_episode(self) -> Integers:
        """Group of each frame ``(N,)``: of a road, those with an event ahead, and the others.

        How many there are of each was decided, so that they are resampled apart.
        """
        danger = np.minimum(self._numbers("until_collision"), self._numbers("until_off_road"))
        names = [
            f"{row['road']} {near}" for row, near in zip(self.rows, danger <= HORIZON, strict=True)
        ]
        return np.asarray(np.unique(names, return_inverse=True)[1], np.int64)

    def parts(self) -> Iterator[tuple[str, list[str]]]:
        """Kinds of parts, with the name of each frame's."""
        yield "scenario", [row["road"] for row in self.rows]
        yield "density", [row["density"] for row in self.rows]

    @property
    def infos(self) -> list[dict[str, float]]:
        """What a scorer of simulator truth reads, a mapping for each frame."""
        names = ("time_to_collision", "headway", "collision", "off_road")
        return [{name: float(row[name]) for name in names} for row in self.rows]

    @cached_property
    def sha256(self) -> str:
        """Of the table and all pixels, in hexadecimal digits."""
        found = hashlib.sha256(_table(self.rows).encode())
        for size in sorted(self.pictures):
            found.update(self.pictures[size].tobytes())
            found.update(self.erased[size][self.erasable].tobytes())
        return found.hexdigest()

    def _numbers(self, name: str) -> Any:
        return np.array([float(row[name]) for row in self.rows])


def read_frozen(path: Path = BUNDLED_FRAMES) -> FrozenFrames:
    """The frames of a file that :func:`write_frozen` wrote.

    Raises:
        FileNotFoundError: where there is none.
        ValueError: for a damaged one, or one that was not written here.
    """
    return reading(path, "frozen frames (ZIP)", _read, _REMEDY)


def _read(path: Path) -> FrozenFrames:
    with zipfile.ZipFile(path) as archive:
        text = archive.read(TABLE).decode()
        rows = list(csv.DictReader(io.StringIO(text)))
        if not rows or tuple(rows[0]) != COLUMNS:
            raise ValueError(f"{TABLE} does not have the columns {', '.join(COLUMNS)}")
        for name in TRUTH:  # times may be infinite
            values = np.array([float(row[name]) for row in rows])
            check_numbers(np.where(values == np.inf, 0.0, values), name, TABLE)
        sizes = {int(name.partition("/")[0]) for name in archive.namelist() if "/" in name}
        erasable = [row["erasable"] == "1" for row in rows]
        everyone = [True] * len(rows)
        return FrozenFrames(
            rows,
            {size: _pictures(archive, size, "", everyone) for size in sizes},
            {size: _pictures(archive, size, "erased-", erasable) for size in sizes},
        )


def _pictures(archive: zipfile.ZipFile, size: int, kind: str, there: Sequence[bool]) -> Frames:
    from PIL import Image

    found = np.zeros((len(there), size, size, 3), np.uint8)
    for place in np.flatnonzero(there).tolist():
        with Image.open(io.BytesIO(archive.read(_name(size, kind, place)))) as picture:
            found[place] = np.asarray(picture.convert("RGB"))
    return found


def write_frozen(path: Path, frames: FrozenFrames) -> None:
    """Write a file for :func:`read_frozen`; equal frames make equal files."""
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        archive.writestr(zipfile.ZipInfo(TABLE), _table(frames.rows), zipfile.ZIP_DEFLATED)
        for size in sorted(frames.pictures, reverse=True):
            for place in range(len(frames)):
                _add(archive, _name(size, "", place), frames.pictures[size][place])
                if frames.erasable[place]:
                    _add(archive, _name(size, "erased-", place), frames.erased[size][place])


def _add(archive: zipfile.ZipFile, name: str, frame: Frames) -> None:
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(frame).save(content, "WEBP", lossless=True, quality=100, method=6)
    archive.writestr(zipfile.ZipInfo(name), content.getvalue())


def _table(rows: Sequence[Mapping[str, str]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _name(size: int, kind: str, place: int) -> str:
    return f"{size}/{kind}{place:03d}.webp"
