"""Scores of all frames by all scorers that are audited, by the same code that labels data sets.

Besides the frames as they are, scorers are shown some that were changed on purpose: other ways to
draw the same scenes, so that they are scored and cached like any.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Self

import numpy as np

from vlsafe_agents.audit.changes import mirrored
from vlsafe_agents.audit.drives import Drives, Packed, Source
from vlsafe_agents.data.frames import Drawing, FrameReader, drawing_for
from vlsafe_agents.evaluation.resampling import Bools, Integers
from vlsafe_agents.labelling.engines import run_batches
from vlsafe_agents.labelling.scoring import Scoring, score_missing
from wrappers.controls import Deal
from wrappers.frame_windows import context_frames
from wrappers.score_cache import ScoreCache
from wrappers.scorer import Frames, SafetyScorer, Scores, reads_infos

BLANK_LEVEL = 127  # of all three colours


@dataclass(frozen=True)
class NamedScorer:
    """A scorer under the name that it was asked for by.

    Args:
        name: for example ``"shuffled:bundled"``
        scorer: ``None`` for the labels that the data sets hold
        deal: with one its scores are given to the wrong frames
        with_prompts: builds the same scorer with another safe and unsafe sentence, for scorers
            that compare a frame with sentences
    """

    name: str
    scorer: SafetyScorer | None
    deal: Deal | None = None
    with_prompts: Callable[[tuple[str, str]], Any] | None = None

    @property
    def looks_at_frames(self) -> bool:
        """Whether its scores depend on frames alone, so that changed frames test it."""
        return self.scorer is not None and self.deal is None and not reads_infos(self.scorer)

    @property
    def takes_prompts(self) -> bool:
        """Whether other sentences can be tried on the same look at the frames."""
        in_steps = all(hasattr(self.scorer, name) for name in ("image_features", "score"))
        return self.looks_at_frames and in_steps and self.with_prompts is not None

    def identity(self, stored: dict[str, Any] | None) -> dict[str, Any]:
        """JSON-able; ``stored`` is that of the labels in a data set."""
        own = stored or {"name": "unknown"} if self.scorer is None else self.scorer.identity
        own = dict(json.loads(json.dumps(own)))
        return own if self.deal is None else self.deal.identity(own)


@dataclass(frozen=True)
class ChangedDrawing:
    """Another drawing, in all its sizes, with something changed on purpose."""

    name: str
    drawing: Drawing
    change: Callable[[Drawing, Packed], Frames]
    facts: Mapping[str, Any] = field(default_factory=dict)  # more of its identity

    @property
    def identity(self) -> dict[str, Any]:
        return {"name": self.name, **self.facts, "of": self.drawing.identity}

    @property
    def frame_sizes(self) -> Sequence[int]:
        """Sizes [px] in which it can be drawn."""
        return getattr(self.drawing, "frame_sizes", ())

    def at_size(self, size: int) -> Self:
        """The same in another size."""
        return replace(self, drawing=self.drawing.at_size(size))  # type: ignore[attr-defined]

    def frames(self, scenes: Packed, /) -> Frames:
        return self.change(self.drawing, scenes)


def _mirrored(source: Source) -> Drawing:
    """Left and right exchanged: as dangerous as before, so p should hardly change."""

    def draw(drawing: Drawing, scenes: Packed) -> Frames:
        return mirrored(drawing.frames(scenes))

    return ChangedDrawing("mirrored", source.drawing, draw)


def _erased(source: Source) -> Drawing:
    """All other vehicles gone: p should rise wherever one of them was the danger."""

    def draw(drawing: Drawing, scenes: Packed) -> Frames:
        return drawing.frames(source.without_others(scenes))

    return ChangedDrawing("erased", source.drawing, draw)


def _blank(source: Source) -> Drawing:
    """Nothing but grey: a scorer that still tells frames apart does not look at them."""

    def draw(drawing: Drawing, scenes: Packed) -> Frames:
        shape = drawing.frames(scenes[:1]).shape[1:]
        return np.full((len(scenes), *shape), BLANK_LEVEL, np.uint8)

    return ChangedDrawing("blank", source.drawing, draw, {"level": BLANK_LEVEL})


CONTROLS: dict[str, Callable[[Source], Drawing]] = {
    "mirrored": _mirrored,
    "other vehicles erased": _erased,
    "blank": _blank,
}


class FrameScoring:
    """Has scorers look at the frames of drives, and counts them.

    Args:
        drives: the frames
        cache: what is known there is not scored again
        batch_size: frames scored at once
        tell: called with the number of frames done so far
    """

    def __init__(
        self,
        drives: Drives,
        cache: ScoreCache | None,
        batch_size: int,
        tell: Callable[[int], None],
    ) -> None:
        self.drives, self.cache, self.batch_size = drives, cache, batch_size
        self._tell, self._done = tell, 0

    def _count(self, done: int) -> None:
        self._done = done
        self._tell(done)

    def scores(
        self,
        scorer: SafetyScorer,
        redraw: Callable[[Source], Drawing] | None = None,
        rows: Integers | None = None,
    ) -> Scores:
        """Scores ``(N,)`` of all rows, or ``(len(rows),)`` of some, NaN where there is no label.

        ``redraw`` says how a data set's scenes are drawn, where it is not as usual.
        """
        found = np.full(len(self.drives), np.nan, np.float32)
        wanted = np.ones(len(found), bool)
        if rows is not None:
            wanted[:] = False
            wanted[rows] = True
        for number, source in enumerate(self.drives.sources):
            span = self.drives.rows_of_source(number)
            if wanted[span].any():
                drawing = source.drawing if redraw is None else redraw(source)
                found[span] = self._of_source(number, scorer, drawing, wanted[span])
        return found if rows is None else found[rows]

    def _of_source(
        self, number: int, scorer: SafetyScorer, drawing: Drawing, wanted: Bools
    ) -> Scores:
        source = replace(self.drives.frames[number], context=context_frames(scorer))
        # a frame that holds a score already is left alone: here, one that nobody asks for
        held = np.where(wanted, np.float32("nan"), np.float32(0))
        scoring = Scoring(lambda: scorer, lambda: drawing)
        known = scoring.known(source, held, self.cache)
        makers = scoring.makers("processes", workers=1)
        run = partial(run_batches, "processes", makers, source, workers=1)
        total = self._done + int(wanted.sum())

        def tell(_: object = None) -> None:
            self._count(total - known.left)

        tell()  # what the cache knew
        score_missing(known, run, self.batch_size, tell)
        return np.where(wanted, known.scores, np.float32("nan"))

    def with_prompts(
        self, named: NamedScorer, pairs: Sequence[tuple[str, str]], rows: Integers
    ) -> list[Scores]:
        """Scores ``(len(rows),)`` with each pair of a safe and an unsafe sentence.

        The scorer looks at the frames once: only the sentences differ.
        """
        assert named.scorer is not None
        assert named.with_prompts is not None
        features = []
        for number, source in enumerate(self.drives.sources):
            span = self.drives.rows_of_source(number)
            mine = rows[(rows >= span.start) & (rows < span.stop)] - span.start
            reader = FrameReader(self.drives.frames[number])
            drawing = drawing_for(named.scorer, source.drawing) or source.drawing
            for begin in range(0, len(mine), self.batch_size):
                part = mine[begin : begin + self.batch_size]
                frames = drawing.frames(reader.pictures(part))
                features.append(named.scorer.image_features(frames))  # type: ignore[attr-defined]
                self._count(self._done + len(part))
            reader.close()
        found = []
        for pair in pairs:
            other = named.with_prompts(pair)
            found.append(np.concatenate([other.score(part) for part in features]))
        return found


@dataclass(frozen=True)
class ScorerOutput:
    """All scores that a scorer gave; NaN where it has no label."""

    scores: Scores  # (N,)
    changed: Mapping[str, Scores]  # (P,), of the probe's frames, changed in each way
    worded: Sequence[Scores]  # (P,), of the probe's frames, with each pair of sentences


def frames_to_score(scorers: Sequence[NamedScorer], frames: int, probe: int, prompts: bool) -> int:
    """How many frames all scorers together have to look at, cached ones included."""
    asked = {id(named.scorer) for named in scorers if named.scorer is not None}
    looking = sum(named.looks_at_frames for named in scorers)
    reading = sum(named.takes_prompts for named in scorers) if prompts else 0
    return frames * len(asked) + probe * (len(CONTROLS) * looking + reading)


def all_scores(
    scoring: FrameScoring,
    scorers: Sequence[NamedScorer],
    pairs: Sequence[tuple[str, str]],
    probe: Integers,
) -> list[ScorerOutput]:
    """Everything that each scorer has to say; one that stands behind several is asked once.

    Args:
        scoring: the frames
        scorers: who is asked
        pairs: safe and unsafe sentences, for those that compare frames with sentences
        probe: ``(P,)``, rows of the frames that are changed and put into other words
    """
    own: dict[int, Scores] = {}
    found = []
    for named in scorers:
        key = id(named.scorer)
        if key not in own:
            stored = scoring.drives.stored_scores
            own[key] = stored if named.scorer is None else scoring.scores(named.scorer)
        scores = own[key]
        if named.deal is not None:
            scores = named.deal.scores(scores)
        found.append(scores)
    return [
        ScorerOutput(scores, _changed(scoring, named, probe), _worded(scoring, named, pairs, probe))
        for named, scores in zip(scorers, found, strict=True)
    ]


def _changed(scoring: FrameScoring, named: NamedScorer, probe: Integers) -> dict[str, Scores]:
    """Scores ``(P,)`` of the probe's frames, changed in each way."""
    if named.scorer is None or not named.looks_at_frames:
        return {}
    return {name: scoring.scores(named.scorer, draw, probe) for name, draw in CONTROLS.items()}


def _worded(
    scoring: FrameScoring,
    named: NamedScorer,
    pairs: Sequence[tuple[str, str]],
    probe: Integers,
) -> list[Scores]:
    """Scores ``(P,)`` of the probe's frames, by each pair of sentences."""
    if not named.takes_prompts or not pairs:
        return []
    return scoring.with_prompts(named, pairs, probe)
