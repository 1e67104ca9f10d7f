"""Scoring batches one after another, each made ready while the one before is scored."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from vlsafe_agents.data.frames import Drawing, FrameReader, FrameSource, Rows
from wrappers.scorer import (
    Frames,
    SafetyScorer,
    Scores,
    check_scores,
    last_reasons,
    reads_infos,
    stopped,
)

Item = TypeVar("Item")

_READY = 2  # batches made ready ahead of the one that is scored
_POLL = 0.1  # [s]


@dataclass(frozen=True)
class Batch:
    """Frames to be scored in one call."""

    places: Rows  # (N,), which of the distinct frames they are
    rows: Rows  # (N,), ascending, where in the data set each of them occurs first


@dataclass(frozen=True)
class Scored:
    """A batch with its scores."""

    batch: Batch
    scores: Scores  # (N,), NaN where there is no label
    reasons: dict[int, str]  # by place in the batch, why there is none where the scorer says so


class ScoringStream:
    """Reads, draws, prepares and scores batches; all but the last in a thread of its own."""

    def __init__(self, source: FrameSource, scorer: SafetyScorer, drawing: Drawing | None) -> None:
        self._source = source
        self._scorer: Any = scorer
        self._drawing = drawing
        self._with_infos = reads_infos(scorer)

    @cached_property
    def _in_steps(self) -> bool:
        """Whether frames are prepared ahead; not asked before a batch: it may load the scorer."""
        in_steps = all(hasattr(self._scorer, name) for name in ("prepare", "encode", "score"))
        return in_steps and not self._with_infos

    def __call__(self, batches: Iterator[Batch]) -> Iterator[Scored]:
        """Scores of batches, in their order.

        Raises:
            ValueError: for a scorer that returns another shape or numbers outside [0, 1]
        """
        for batch, prepared, infos in prefetch(self._made_ready(batches), _READY):
            if prepared is None or self._stopped:
                yield _without_labels(batch, self._stopped)
                continue
            scores = self._score(prepared, infos)
            scores = check_scores(scores, len(batch.rows))
            yield Scored(batch, scores, self._reasons(scores))

    @property
    def _stopped(self) -> str:
        return stopped(self._scorer)

    def _made_ready(self, batches: Iterator[Batch]) -> Iterator[tuple[Batch, Any, Any]]:
        with closing(FrameReader(self._source)) as reader:  # in the thread that uses it
            for batch in batches:
                if self._stopped:  # then frames need not be drawn
                    yield batch, None, None
                    continue
                frames = self._frames(reader, batch.rows)
                infos = reader.infos(batch.rows) if self._with_infos else None
                yield batch, self._scorer.prepare(frames) if self._in_steps else frames, infos

    def _frames(self, reader: FrameReader, rows: Rows) -> Frames:
        wanted = self._source.windows(rows)  # (N, k)
        needed, place = np.unique(wanted, return_inverse=True)
        pictures = reader.pictures(needed)
        frames: Frames = pictures if self._drawing is None else self._drawing.frames(pictures)
        if self._source.context == 1:
            return frames
        return frames[place.reshape(wanted.shape)]

    def _score(self, prepared: Any, infos: Any) -> Any:
        if self._in_steps:
            return self._scorer.score(self._scorer.encode(prepared))
        return self._scorer(prepared, infos) if self._with_infos else self._scorer(prepared)

    def _reasons(self, scores: Any) -> dict[int, str]:
        said = last_reasons(self._scorer, len(scores))
        return {
            place: str(reason)
            for place, (score, reason) in enumerate(zip(scores, said, strict=True))
            if np.isnan(score) and reason
        }


def prefetch(items: Iterable[Item], ahead: int) -> Iterator[Item]:
    """The same items, drawn in a thread of its own, up to ``ahead`` before they are asked for."""
    channel: queue.Queue[tuple[Item | None, BaseException | None]] = queue.Queue(ahead)
    stopped = threading.Event()
    end = StopIteration()

    def offer(item: Item | None, error: BaseException | None = None) -> None:
        while not stopped.is_set():
            try:
                return channel.put((item, error), timeout=_POLL)
            except queue.Full:
                continue

    def draw() -> None:
        try:
            for item in items:
                offer(item)
                if stopped.is_set():
                    return
            offer(None, end)
        except BaseException as error:  # raised again where the items are used
            offer(None, error)

    thread = threading.Thread(target=draw, name="vlsafe-prefetch", daemon=True)
    thread.start()
    try:
        while True:
            item, error = channel.get()
            if error is end:
                return
            if error is not None:
                raise error
            yield item  # type: ignore[misc]
    finally:
        stopped.set()
        thread.join(1.0)  # longer only where drawing waits for something else


def _without_labels(batch: Batch, reason: str) -> Scored:
    count = len(batch.rows)
    return Scored(batch, np.full(count, np.nan, np.float32), dict.fromkeys(range(count), reason))
