"""Charts as inline SVG that takes its text colour and font from the page, light or dark."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

INK = "#010203"  # stands for the page's text colour until the SVG is written
PALETTE = (
    "#3b82d6", "#d9822b", "#1f9d8a", "#a371c9", "#c75d5d", "#a88b4c",
    "#6a8f3c", "#b85c9e", "#5fa8d3", "#7d8590", "#c9a227", "#3c8d93",
)  # fmt: skip


def canvas(
    width: float,
    height: float,
    rows: int = 1,
    columns: int = 1,
    sharex: bool = False,
    top: float = 0.08,
    below: float = 0.0,
) -> tuple[Any, Any]:
    """A transparent figure without pyplot's global state, and its axes; sizes in inches.

    Margins are fixed: automatic layout takes longer than drawing.  ``below`` is room for a legend
    under the labels of the axes.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    axes = figure.subplots(rows, columns, sharex=sharex)
    figure.subplots_adjust(
        left=0.6 / width,
        right=1 - 0.1 / width,
        bottom=(0.45 + below) / height,
        top=1 - top / height,
        hspace=0.18,
        wspace=0.24,
    )
    figure.patch.set_alpha(0.0)
    for one in np.ravel(np.atleast_1d(axes)):
        one.patch.set_alpha(0.0)
        one.spines[["top", "right"]].set_visible(False)
        one.spines[["left", "bottom"]].set_color(INK)
        one.spines[["left", "bottom"]].set_alpha(0.35)
        one.tick_params(colors=INK, labelsize=8, width=0.6)
        one.xaxis.label.set(color=INK, size=8.5)
        one.yaxis.label.set(color=INK, size=8.5)
        one.grid(True, color=INK, alpha=0.10, lw=0.6)
        one.set_axisbelow(True)
    return figure, axes


def legend(figure: Any, handles: Sequence[Any]) -> None:
    """What colours, marks and dashes mean, in lines along the bottom."""
    figure.legend(
        handles=handles, loc="lower center", frameon=False, fontsize=8, labelcolor=INK,
        ncols=_side_by_side([handle.get_label() for handle in handles], figure.get_figwidth()),
        borderaxespad=0.1, columnspacing=1.2, handletextpad=0.4,
    )  # fmt: skip


def legend_of(figure: Any, axes: Any, place: tuple[float, float], **more: Any) -> None:
    """What the lines of some axes mean; ``place`` in parts of the figure, ``loc`` may be given."""
    figure.legend(
        *axes.get_legend_handles_labels(),
        **{"loc": "lower left", "fontsize": 8, **more},
        frameon=False,
        labelcolor=INK,
        bbox_to_anchor=place,
        borderaxespad=0.0,
    )


def legend_height(names: Sequence[str], width: float) -> float:
    """Room that a legend takes on a figure of some width [inch]; none for a single entry."""
    rows = -(-len(names) // _side_by_side(names, width))
    return 0.0 if len(names) < 2 else 0.12 + 0.18 * rows


def _side_by_side(names: Sequence[str], width: float) -> int:
    """How many entries of a legend fit into a line."""
    longest = max(len(short(name)) for name in names)
    return max(1, min(len(names), int(width / (0.45 + 0.07 * longest))))


def short(name: str) -> str:
    """As much of a name as a row or a legend has room for."""
    return shortened(name, 50)


def shortened(text: str, most: int = 80) -> str:
    """What a chart has room for of a name."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def readable_on(colour: Sequence[float]) -> str:
    """Black or white, which stands out more (WCAG 2) on ``colour``: red, green, blue in [0, 1]."""
    parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    luminance = 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]
    return "#000000" if (luminance + 0.05) ** 2 > 1.05 * 0.05 else "#ffffff"


def literal(text: str) -> str:
    """Text that a chart shows as it is: no formula, and no label that a legend leaves out."""
    escaped = text.replace("$", r"\$")
    return f"\u200b{escaped}" if escaped.startswith("_") else escaped


def svg(figure: Any, name: str) -> str:
    """SVG text to put into a page: no prolog, ids unique to ``name``, ink as ``currentColor``."""
    text = _saved(figure, name)
    # two names may differ in other signs only
    prefix = re.sub(r"[^a-zA-Z0-9]+", "-", name) + f"-{zlib.crc32(name.encode()):08x}"
    return re.sub(r"<[^>]*>", lambda tag: _in_page(tag[0], prefix), text)


def svg_file(figure: Any, name: str) -> str:
    """SVG text of a file by itself: dark ink on white, whatever the page around it."""
    figure.patch.set(alpha=1.0, facecolor="#ffffff")
    return _saved(figure, name).replace(INK, "#1f2328")


def _saved(figure: Any, name: str) -> str:
    from matplotlib import rc_context

    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    return re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)


def _in_page(tag: str, prefix: str) -> str:
    """A tag of a chart as the page needs it; what stands between tags is left alone."""
    if tag.startswith("<svg"):
        tag = re.sub(r' (width|height)="[^"]*"', "", tag)
        tag = tag.replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1)
    tag = re.sub(r'\bid="', f'id="{prefix}-', tag)
    tag = re.sub(r'(xlink:href=")#', rf"\1#{prefix}-", tag)
    tag = tag.replace("url(#", f"url(#{prefix}-")
    tag = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", tag)
    return tag.replace(INK, "currentColor")
