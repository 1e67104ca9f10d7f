"""What a report consists of, whether it is written as HTML or as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from vlsafe_agents.labelling.protocols import Frames


@dataclass(frozen=True)
class Chart:
    """A matplotlib figure with words for those who cannot see it."""

    name: str  # of its file
    figure: Any
    alt: str
    caption: str = ""

    @property
    def width(self) -> float:
        """[rem] on a page, so that letters have one size in all charts."""
        return round(5.8 * float(self.figure.get_figwidth()), 1)


@dataclass(frozen=True)
class Table:
    """Rows of text; a folded one is shown on demand."""

    caption: str
    first: str  # title of the first column
    titles: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str]]]
    folded: bool = False
    title: str = ""  # of a folded one


@dataclass(frozen=True)
class Picture:
    """Frames ``(H, W, 3)`` side by side, with what is to be said of them."""

    frames: Sequence[Frames]
    titles: Sequence[str]  # one a frame
    text: str = ""


@dataclass(frozen=True)
class Gallery:
    """Pictures in rows; a folded one is shown on demand."""

    name: str  # of its file
    title: str
    text: str
    pictures: Sequence[Picture]
    folded: bool = False


@dataclass(frozen=True)
class Section:
    """A heading, a few sentences, and what they are about."""

    key: str
    title: str
    about: str
    charts: Sequence[Chart] = field(default_factory=list)
    tables: Sequence[Table] = field(default_factory=list)
    galleries: Sequence[Gallery] = field(default_factory=list)
