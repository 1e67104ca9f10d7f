"""Frames changed on purpose: what a judge should mind, and what it should not.

Each control is another way to draw the same scenes, so that it is scored and cached like any.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from vlsafe_agents.audit.drives import Packed, Source
from vlsafe_agents.labelling.protocols import Drawing, Frames

BLANK_LEVEL = 127  # of all three colours


@dataclass(frozen=True)
class Changed:
    """Base: another drawing, in all its sizes, with something changed."""

    drawing: Drawing

    @property
    def frame_sizes(self) -> Sequence[int]:
        """Sizes [px] in which it can be drawn."""
        return getattr(self.drawing, "frame_sizes", ())

    def at_size(self, size: int) -> Self:
        """The same in another size."""
        return replace(self, drawing=self.drawing.at_size(size))  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Mirrored(Changed):
    """Left and right exchanged: as dangerous as before, so p should hardly change."""

    @property
    def identity(self) -> dict[str, Any]:
        return {"name": "mirrored", "of": self.drawing.identity}

    def frames(self, scenes: Packed, /) -> Frames:
        return np.ascontiguousarray(self.drawing.frames(scenes)[:, :, ::-1])


@dataclass(frozen=True)
class Blank(Changed):
    """Nothing but grey: whoever still tells frames apart does not look at them."""

    @property
    def identity(self) -> dict[str, Any]:
        return {"name": "blank", "level": BLANK_LEVEL, "of": self.drawing.identity}

    def frames(self, scenes: Packed, /) -> Frames:
        shape = self.drawing.frames(scenes[:1]).shape[1:]
        return np.full((len(scenes), *shape), BLANK_LEVEL, np.uint8)


@dataclass(frozen=True)
class Erased(Changed):
    """All other vehicles gone: p should rise wherever one of them was the danger."""

    without_others: Callable[[Packed], Packed]

    @property
    def identity(self) -> dict[str, Any]:
        return {"name": "erased", "of": self.drawing.identity}

    def frames(self, scenes: Packed, /) -> Frames:
        return self.drawing.frames(self.without_others(scenes))


CONTROLS: dict[str, Callable[[Source], Drawing]] = {
    "mirrored": lambda source: Mirrored(source.drawing),
    "other vehicles erased": lambda source: Erased(source.drawing, source.without_others),
    "blank": lambda source: Blank(source.drawing),
}
