"""A scorer with what draws its frames, and the scoring of what has no score yet."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from vlsafe_agents.data.frames import Drawing, FrameSource, drawing_for, stored_image
from vlsafe_agents.labelling.engines import Engine, Makers
from vlsafe_agents.labelling.known_scores import KnownScores
from vlsafe_agents.labelling.stream import Batch, Scored
from wrappers.controls import Deal
from wrappers.frame_windows import context_frames
from wrappers.score_cache import ScoreCache
from wrappers.scorer import SafetyScorer, Scores, reads_history, reads_infos

Run = Callable[[Iterator[Batch]], Iterator[Scored]]


class Scoring:
    """A scorer, and what draws frames for it; both are built when they are needed.

    Args:
        make_scorer: builds the scorer
        make_drawing: builds what draws packed scenes; ``None`` where stored images are scored
        image: name of the observation that they are; ``None``: the only image
    """

    def __init__(
        self,
        make_scorer: Callable[[], SafetyScorer],
        make_drawing: Callable[[], Drawing] | None = None,
        image: str | None = None,
    ) -> None:
        self._make_scorer = make_scorer
        self._image = image
        self._make_drawing = make_drawing

    @cached_property
    def scorer(self) -> SafetyScorer:
        """The scorer."""
        return self._make_scorer()

    @cached_property
    def drawing(self) -> Drawing | None:
        """What draws scenes, in the size that the scorer looks at."""
        made = None if self._make_drawing is None else self._make_drawing()
        return drawing_for(self.scorer, made)

    @property
    def scope(self) -> dict[str, Any]:
        """All that scores depend on, besides what is stored of each frame, as read from JSON."""
        frames = {"name": "pixels"} if self.drawing is None else self.drawing.identity
        scope = {"scorer": self.scorer.identity, "frames": frames}
        found: dict[str, Any] = json.loads(json.dumps(scope))
        return found

    def source(self, data_path: Path, episodes: int) -> FrameSource:
        """The frames of a data set as the scorer looks at them."""
        scenes = self._make_drawing is not None
        source = FrameSource.of(data_path, episodes, scenes, context_frames(self.scorer))
        if scenes:
            return source
        image, jpeg = stored_image(data_path, self._image)
        return replace(source, image=image, jpeg=jpeg)

    def known(
        self, source: FrameSource, stored: Scores | None, cache: ScoreCache | None
    ) -> KnownScores:
        """What is known of some frames.

        Args:
            source: the frames
            stored: scores ``(R,)`` that hold already, NaN for frames without one
            cache: scores of other runs

        Raises:
            ValueError: where the data set has no frames
        """
        if stored is None:
            stored = np.full(len(source), np.nan, np.float32)
        if reads_history(self.scorer):
            cache = None
        return KnownScores(source, stored, cache, self.scope, reads_infos(self.scorer))

    def makers(self, engine: Engine, workers: int) -> Makers:
        """What workers build; this process uses what it has built already."""
        if engine != "processes" or workers > 1:
            identity = json.loads(json.dumps(self.scorer.identity))
            return Makers(self._make_scorer, self._make_drawing, identity)
        drawing = self.drawing
        return Makers(lambda: self.scorer, None if drawing is None else lambda: drawing)


def score_missing(
    known: KnownScores,
    run: Run,
    batch_size: int,
    tell: Callable[[Scored], None] = lambda scored: None,
) -> None:
    """Score what is not known.

    ``run`` scores batches, ``tell`` is called after each of them has been entered.
    """
    try:
        for scored in run(known.batches(known.unknown, batch_size)):
            known.add(scored)
            tell(scored)
    finally:
        known.close()


def shuffled(scope: Mapping[str, Any], deal: Deal | None) -> dict[str, Any]:
    """The scope of the same scores dealt to the wrong frames; without a deal, the scope itself."""
    if deal is None:
        return dict(scope)
    return {**scope, "scorer": deal.identity(scope["scorer"])}
