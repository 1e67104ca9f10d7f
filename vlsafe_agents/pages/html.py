"""Filling templates: one HTML file that needs no other, and text that is shown as it is."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from vlsafe_agents.pages.charts import svg

_HERE = Path(__file__).parent


def render(folder: Path, template: str, **values: Any) -> str:
    """A template of some folder, filled; an undefined name in it is an error.

    Templates extend ``page.html.j2`` and import from ``parts.html.j2``, which lie here. Names that
    end in ``html.j2`` escape what is put into them. ``style`` holds the common style and all that
    lies in the folder.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=FileSystemLoader([folder, _HERE]),
        autoescape=select_autoescape(enabled_extensions=("html.j2",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["svg"] = lambda chart: svg(chart.figure, chart.name)
    environment.filters["uri"] = png_uri
    environment.filters["two_lines"] = _two_lines
    environment.filters["plain"] = _plain
    sheets = [_HERE / "page.css", *sorted(folder.glob("*.css"))]
    style = "".join(sheet.read_text(encoding="utf-8") for sheet in sheets)
    return environment.get_template(template).render(style=style, **values)


def png_uri(frame: npt.NDArray[np.uint8]) -> str:
    """A frame ``(H, W, 3)`` uint8 as a ``data:image/png`` URI."""
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _plain(text: Any) -> str:
    """Text that Markdown shows as it is, in one line."""
    escaped = re.sub(r"([\\`*\[\]|])", r"\\\1", str(text)).replace("<", "&lt;")
    return " ".join(escaped.split())


def _two_lines(text: str) -> Any:
    """``"0.91 (0.90 to 0.93)"`` with the interval in small print below."""
    from markupsafe import Markup, escape

    value, bracket, rest = text.partition(" (")
    inside, closed, more = rest.partition(")")
    if not (bracket and closed and " to " in inside):
        return escape(text)
    below = f"{inside}{more}"
    return Markup(f"{escape(value)}<small>{escape(below)}</small>")
