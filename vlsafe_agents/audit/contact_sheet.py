"""A gallery as one picture, for documents that cannot hold many."""

from __future__ import annotations

import textwrap
from typing import Any

from vlsafe_agents.audit.sections import Gallery
from vlsafe_agents.report.figures import literal

_FRAME, _TEXT = 1.75, 0.75  # [inch], side of a frame and height of the words below it
_WIDEST = 6  # frames side by side


def contact_sheet(gallery: Gallery) -> Any:
    """A matplotlib figure with all frames of a gallery and what is said of them."""
    from matplotlib.figure import Figure

    each = max(len(picture.frames) for picture in gallery.pictures)
    columns = min(max(1, _WIDEST // each), len(gallery.pictures))
    rows = -(-len(gallery.pictures) // columns)
    height = (_FRAME + _TEXT) * rows
    figure = Figure(figsize=(_FRAME * each * columns, height), facecolor="white")
    grid = figure.subplots(rows, each * columns, squeeze=False)
    figure.subplots_adjust(
        left=0.01, right=0.99, top=1 - 0.22 / height, bottom=(_TEXT - 0.22) / height,
        wspace=0.06, hspace=_TEXT / _FRAME,
    )  # fmt: skip
    for axes in grid.ravel():
        axes.set_axis_off()
    for number, picture in enumerate(gallery.pictures):
        row, first = number // columns, number % columns * each
        for place, (frame, title) in enumerate(zip(picture.frames, picture.titles, strict=True)):
            axes = grid[row, first + place]
            axes.imshow(frame)
            axes.set_title(literal(title), size=8, loc="left", pad=3)
        words = literal(textwrap.fill(picture.text, 26 * each))
        grid[row, first].text(
            0, 1.03 * len(picture.frames[0]), words, size=6.5, va="top", color="#5b626c"
        )
    return figure
