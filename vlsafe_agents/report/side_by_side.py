"""Several drivers on the same seed, side by side, with the judge's p under each: a GIF."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from wrappers.files import replacing

Recorded = Mapping[str, npt.NDArray[Any]]  # see ``evaluation.load_recording``

GIF_FILE = "side_by_side.gif"  # in a run folder
MOST_BYTES = 16 * 2**20  # that a page takes in

WIDTH, GAP, TITLE, FOOT, STRIP = 168, 6, 18, 16, 34  # [pixels]
HEAD = 20  # of the line above all panels
COLOURS = 128  # of the palette; frames hardly have more
HOLD = 6  # frames that the end is shown
INK, PALE, GROUND = (40, 40, 40), (150, 150, 150), (255, 255, 255)
SAFE, DANGER = (46, 125, 80), (190, 40, 40)


@dataclass(frozen=True)
class Scene:
    """What is shown at a time: drivers on one seed.

    Args:
        title: the line above.
        drives: recordings by the drivers' names, in the order of the panels.
    """

    title: str
    drives: Mapping[str, Recorded]

    @property
    def steps(self) -> int:
        """Of the longest drive, the reset included."""
        return max(len(drive["frames"]) for drive in self.drives.values())


def frames_of(scene: Scene) -> Iterator[Image.Image]:
    """A picture for each step; drives that are over stay as they ended."""
    width = len(scene.drives) * (WIDTH + GAP) + GAP
    height = HEAD + TITLE + WIDTH + STRIP + FOOT
    for step in range(scene.steps):
        canvas = Image.new("RGB", (width, height), GROUND)
        draw = ImageDraw.Draw(canvas)
        draw.text((GAP, 3), scene.title, INK, _font(13))
        for place, (name, drive) in enumerate(scene.drives.items()):
            left = GAP + place * (WIDTH + GAP)
            _panel(canvas, draw, left, name, drive, step, scene.steps)
        yield canvas


def _panel(
    canvas: Image.Image,
    draw: ImageDraw.ImageDraw,
    left: int,
    name: str,
    drive: Recorded,
    step: int,
    steps: int,
) -> None:
    """One driver: name, frame, p so far, and how fast it is or how it ended."""
    last = len(drive["frames"]) - 1
    now = min(step, last)
    draw.text((left, HEAD), name, INK, _font(12))
    top = HEAD + TITLE
    frame = Image.fromarray(drive["frames"][now]).resize((WIDTH, WIDTH), Image.Resampling.LANCZOS)
    canvas.paste(frame, (left, top))
    crashed = now == last and bool(drive["collision"][last] > 0)
    if crashed:
        draw.rectangle((left, top, left + WIDTH - 1, top + WIDTH - 1), outline=DANGER, width=4)
    _curve(draw, left, top + WIDTH, drive["safety_score"][: now + 1], steps)
    draw.text((left, top + WIDTH + STRIP), _state(drive, now, crashed), INK, _font(11))


def _state(drive: Recorded, now: int, crashed: bool) -> str:
    p, speed = float(drive["safety_score"][now]), float(drive["speed"][now])
    parts = ["crashed" if crashed else f"{speed:.0f} m/s" if np.isfinite(speed) else ""]
    parts += [f"p {p:.2f}"] if np.isfinite(p) else []
    parts.append(f"return {float(np.sum(drive['reward'][: now + 1])):.1f}")
    return "   ".join(filter(None, parts))


def _curve(draw: ImageDraw.ImageDraw, left: int, top: int, p: npt.NDArray[Any], steps: int) -> None:
    """The safety score so far: 1 at the top, 0 at the bottom, red below a half."""
    low, high = top + STRIP - 4, top + 4
    middle = (low + high) // 2
    draw.line((left, middle, left + WIDTH - 1, middle), PALE)  # p = 0.5
    spread = (WIDTH - 1) / max(steps - 1, 1)
    points = [(left + k * spread, low + (high - low) * float(value)) for k, value in enumerate(p)]
    for k in range(1, len(points)):
        if np.isfinite(p[k - 1 : k + 1]).all():
            colour = DANGER if p[k] < 0.5 else SAFE
            draw.line((*points[k - 1], *points[k]), colour, width=2)


def _font(size: int) -> Any:
    return ImageFont.load_default(size)  # comes with Pillow


def gif_uri(folder: Path) -> str | None:
    """The animation of a run folder as a ``data:image/gif`` URI; None where there is none.

    Raises:
        ValueError: for a file that is no GIF, or too large for a page.
    """
    path = folder / GIF_FILE
    if not path.is_file():
        return None
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"{GIF_FILE} has more than {MOST_BYTES:,} bytes")
    content = path.read_bytes()
    if content[:4] != b"GIF8":
        raise ValueError(f"{GIF_FILE} is no GIF")
    return "data:image/gif;base64," + base64.b64encode(content).decode("ascii")


def write_gif(scenes: Sequence[Scene], path: Path, frames_per_second: float = 6.0) -> Path:
    """Write an animation that repeats, whole or not at all.

    Raises:
        ValueError: where there is nothing to show.
    """
    shown: list[Image.Image] = []
    milliseconds: list[int] = []
    for scene in scenes:
        pictures = list(frames_of(scene))
        shown += pictures
        milliseconds += [round(1000 / frames_per_second)] * len(pictures)
        milliseconds[-1] *= HOLD
    if not shown:
        raise ValueError("there is no drive to show")
    width = max(picture.width for picture in shown)
    # one palette for all, so that pictures differ only where something moves
    sample = Image.new("RGB", (width, sum(picture.height for picture in shown[::8])))
    for place, picture in enumerate(shown[::8]):
        sample.paste(picture, (0, place * picture.height))
    palette = sample.quantize(COLOURS)
    flat = [p.quantize(palette=palette, dither=Image.Dither.NONE) for p in shown]
    with replacing(path) as temporary:
        flat[0].save(
            temporary,
            "GIF",
            save_all=True,
            append_images=flat[1:],
            duration=milliseconds,
            loop=0,
            optimize=True,
        )
    return path
