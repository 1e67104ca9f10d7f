"""Who judges the frames of which data set."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from vlsafe_agents.data.storage import read_metadata, resolve_dataset
from vlsafe_agents.labelling.engines import Engine, Makers
from vlsafe_agents.labelling.frames import FrameSource
from vlsafe_agents.labelling.job import LabelJob, scope_of
from vlsafe_agents.labelling.protocols import Drawing, Scorer, context_frames, drawing_for


@dataclass(frozen=True)
class DataSet:
    """Where a data set lies, and how many episodes it has."""

    path: Path
    episodes: int

    @classmethod
    def find(cls, id_or_path: str | Path) -> DataSet:
        """Raises ``FileNotFoundError`` where there is none."""
        path = resolve_dataset(id_or_path)
        return cls(path, read_metadata(path)["total_episodes"])


class Judge:
    """How to get a scorer, and what draws frames for it (``None``: it judges stored images).

    Both are built when they are needed.
    """

    def __init__(
        self, make_scorer: Callable[[], Scorer], make_drawing: Callable[[], Drawing] | None
    ) -> None:
        self._make_scorer = make_scorer
        self._make_drawing = make_drawing

    @cached_property
    def scorer(self) -> Scorer:
        """The scorer."""
        return self._make_scorer()

    @cached_property
    def drawing(self) -> Drawing | None:
        """What draws scenes, in the size that the scorer looks at."""
        made = None if self._make_drawing is None else self._make_drawing()
        return drawing_for(self.scorer, made)

    @property
    def scope(self) -> dict[str, Any]:
        """See :func:`scope_of`."""
        return scope_of(self.scorer.identity, self.drawing)

    def job(self, data: DataSet) -> LabelJob:
        """To judge a data set; raises ``ValueError`` where that has no frames."""
        scenes, context = self._make_drawing is not None, context_frames(self.scorer)
        source = FrameSource.of(data.path, data.episodes, scenes, context)
        return LabelJob(source, self.scorer, self.drawing)

    def makers(self, engine: Engine, workers: int) -> Makers:
        """What workers build; this process uses what it has built already."""
        if engine != "processes" or workers > 1:
            identity = json.loads(json.dumps(self.scorer.identity))
            return Makers(self._make_scorer, self._make_drawing, identity)
        drawing = self.drawing
        return Makers(lambda: self.scorer, None if drawing is None else lambda: drawing)


def shuffled(scope: Mapping[str, Any], permutation_seed: int | None) -> dict[str, Any]:
    """The scope of the same scores dealt to the wrong frames; without a seed, the scope itself."""
    if permutation_seed is None:
        return dict(scope)
    scorer = {"name": "shuffled", "seed": permutation_seed, "of": scope["scorer"]}
    return {**scope, "scorer": scorer}
