"""Scores of all frames by all judges, by the same code that labels data sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from vlsafe_agents.audit.candidates import Candidate
from vlsafe_agents.audit.drives import Drives, Source
from vlsafe_agents.audit.truth import Integers
from vlsafe_agents.labelling.engines import Makers, run_batches
from vlsafe_agents.labelling.frames import FrameReader
from vlsafe_agents.labelling.job import LabelJob, score_missing
from vlsafe_agents.labelling.protocols import (
    Drawing,
    Scorer,
    Scores,
    ScoreStore,
    context_frames,
    drawing_for,
)


@dataclass(frozen=True)
class Bench:
    """Where frames are scored, and how."""

    drives: Drives
    cache: ScoreStore | None = None  # what is known there is not scored again
    batch_size: int = 64
    advance: Callable[[int], None] = field(default=lambda frames: None)  # told of frames done

    def scores(
        self,
        scorer: Scorer,
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
        self, number: int, scorer: Scorer, drawing: Drawing, wanted: npt.NDArray[np.bool_]
    ) -> Scores:
        frames = replace(self.drives.frames[number], context=context_frames(scorer))
        drawing = drawing_for(scorer, drawing) or drawing
        # a frame that holds a score already is left alone: here, one that nobody asks for
        held = np.where(wanted, np.float32("nan"), np.float32(0))
        ledger = LabelJob(frames, scorer, drawing).ledger(held, self.cache)
        makers = Makers(lambda: scorer, lambda: drawing)
        run = partial(run_batches, "processes", makers, frames, workers=1)
        left = int(wanted.sum())

        def tell(_: object = None) -> None:
            nonlocal left
            self.advance(left - ledger.left)
            left = ledger.left

        tell()  # what the cache knew
        score_missing(ledger, run, self.batch_size, tell)
        return np.where(wanted, ledger.scores, np.float32("nan"))

    def with_prompts(
        self, judge: Candidate, pairs: Sequence[tuple[str, str]], rows: Integers
    ) -> list[Scores]:
        """Scores ``(len(rows),)`` with each pair of a safe and an unsafe sentence.

        The frames are looked at once: only the sentences differ.
        """
        assert judge.scorer is not None
        assert judge.with_prompts is not None
        features = []
        for number, source in enumerate(self.drives.sources):
            span = self.drives.rows_of_source(number)
            mine = rows[(rows >= span.start) & (rows < span.stop)] - span.start
            reader = FrameReader(self.drives.frames[number])
            drawing = drawing_for(judge.scorer, source.drawing) or source.drawing
            for begin in range(0, len(mine), self.batch_size):
                part = mine[begin : begin + self.batch_size]
                frames = drawing.frames(reader.pictures(part))
                features.append(judge.scorer.image_features(frames))  # type: ignore[attr-defined]
                self.advance(len(part))
            reader.close()
        found = []
        for pair in pairs:
            other = judge.with_prompts(pair)
            found.append(np.concatenate([other.judge(part) for part in features]))
        return found


@dataclass(frozen=True)
class Looks:
    """Everything that a judge said; NaN where it has no label."""

    scores: Scores  # (N,)
    changed: Mapping[str, Scores]  # (P,), of the probe's frames, changed in each way
    worded: Sequence[Scores]  # (P,), of the probe's frames, with each pair of sentences


def judge_scores(bench: Bench, judges: Sequence[Candidate]) -> list[Scores]:
    """Scores ``(N,)`` of each judge; a scorer that stands behind several is asked once."""
    own: dict[int, Scores] = {}
    found = []
    for judge in judges:
        key = id(judge.scorer)
        if key not in own:
            stored = bench.drives.stored_scores
            own[key] = stored if judge.scorer is None else bench.scores(judge.scorer)
        scores = own[key]
        if judge.shuffle_seed is not None:
            scores = np.random.default_rng(judge.shuffle_seed).permutation(scores)
        found.append(scores)
    return found
