"""Which frames of a data set have a score, and which are to be scored."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Any

import numpy as np

from vlsafe_agents.data.frames import FrameReader, FrameSource, Rows
from vlsafe_agents.labelling.stream import Batch, Scored
from wrappers.score_cache import ScoreCache
from wrappers.scorer import Scores

_ROWS_AT_ONCE = 4096  # whose contents are read to make keys
_MOST_WRITES = 4  # batches on their way into the cache


class KnownScores:
    """Scores of all frames of a data set as far as they are known.

    A frame that occurs several times is scored once.  With a cache, what is known there is not
    scored, and new scores are put there batch by batch.  Batches are cut from the list of what is
    missing: as they are finished whole or not at all, a killed run that goes on cuts the same ones,
    and scores that depend on which frames are scored together stay the same.

    Args:
        source: the frames.
        stored: scores ``(R,)`` that hold already, NaN for frames without.
        cache: scores of other runs; without one nothing outlives this process.
        scope: what scores depend on besides the frames; see ``ScoreCache.keys``.
        infos: whether they also depend on a frame's infos.
    """

    def __init__(
        self,
        source: FrameSource,
        stored: Scores,
        cache: ScoreCache | None,
        scope: Mapping[str, Any],
        infos: bool = False,
    ) -> None:
        self._stored = stored
        self._cache = cache
        self._missing = np.flatnonzero(np.isnan(stored))  # (M,) rows
        if cache is None:
            self._keys: list[bytes] = []
            self._place = np.arange(len(self._missing))  # (M,), which distinct frame a row shows
            self._first = self._missing  # (D,) row where each distinct frame occurs first
        else:
            keys = _keys(source, self._missing, cache, scope, infos)
            places: dict[bytes, int] = {}
            self._place = np.array([places.setdefault(key, len(places)) for key in keys], np.int64)
            self._keys = list(places)
            self._first = self._missing[np.unique(self._place, return_index=True)[1]]
        self._occurs = np.bincount(self._place, minlength=len(self._first))  # (D,)
        known = np.full(len(self._first), np.nan) if cache is None else cache.get(self._keys)
        self._scores = known.astype(np.float32)  # (D,)
        self._asked = np.zeros(len(self._first), bool)  # (D,), by this run's scorer
        self._reasons: dict[int, str] = {}  # by place, why a frame got no label
        self._counting = threading.Lock()  # batches are drawn in another thread than scores come
        self._left = int(self._occurs[np.isnan(self._scores)].sum())
        self._scored = self._without_label = 0
        self._writer = ThreadPoolExecutor(1, "vlsafe-scores")  # so that scoring need not wait
        self._writes: deque[Future[None]] = deque()

    @property
    def unknown(self) -> Rows:
        """Places among the distinct frames of those that have to be scored."""
        return np.flatnonzero(np.isnan(self._scores) & ~self._asked)

    @property
    def scores(self) -> Scores:
        """Scores ``(R,)`` of all frames, NaN where none is known."""
        scores = self._stored.copy()
        scores[self._missing] = self._scores[self._place]
        return scores

    @property
    def kept(self) -> int:
        """Frames whose score was there already."""
        return len(self._stored) - len(self._missing)

    @property
    def scored(self) -> int:
        """Distinct frames that this run's scorer has given a label."""
        return self._scored

    @property
    def without_label(self) -> int:
        """Frames that this run's scorer had no label for, each occurrence counted."""
        return self._without_label

    @property
    def left(self) -> int:
        """Frames still to come, each occurrence counted."""
        return self._left

    @property
    def from_cache(self) -> int:
        """Frames that needed no scoring, as an equal one was scored before."""
        return len(self._missing) - self._left - self._scored - self._without_label

    @property
    def reasons(self) -> dict[int, str]:
        """Why frames got no label, by row, where the scorer said so."""
        rows = np.flatnonzero(np.isin(self._place, list(self._reasons)))
        places = self._place[rows].tolist()
        return {
            row: self._reasons[place]
            for row, place in zip(self._missing[rows].tolist(), places, strict=True)
        }

    def batches(self, places: Rows, size: int) -> Iterator[Batch]:
        """Batches of frames to be scored now; those that another process scored are left out."""
        for begin in range(0, len(places), size):
            part = places[begin : begin + size]
            if self._cache is not None:
                part = self._look_again(self._cache, part)
            if len(part):
                yield Batch(part, self._first[part])

    def add(self, scored: Scored) -> None:
        """Enter the scores of a batch."""
        places = scored.batch.places
        self._scores[places] = scored.scores
        self._asked[places] = True
        self._reasons.update({int(places[k]): reason for k, reason in scored.reasons.items()})
        missed = np.isnan(scored.scores)
        with self._counting:
            self._left -= int(self._occurs[places].sum())
            self._scored += int((~missed).sum())
            self._without_label += int(self._occurs[places[missed]].sum())
        if self._cache is not None:
            keys = [self._keys[place] for place in places]
            self._writes.append(self._writer.submit(self._cache.put, keys, scored.scores))
            self._await_writes(_MOST_WRITES)

    def close(self) -> None:
        """See to it that all scores are in the cache."""
        try:
            self._await_writes(0)
        finally:
            self._writer.shutdown()

    def _await_writes(self, most: int) -> None:
        """Wait until at most so many batches are being written; raises what went wrong."""
        while len(self._writes) > most or (self._writes and self._writes[0].done()):
            self._writes.popleft().result()

    def _look_again(self, cache: ScoreCache, places: Rows) -> Rows:
        """Those of ``places`` that no other process has scored since we last looked."""
        scores = cache.get([self._keys[place] for place in places])
        known = ~np.isnan(scores)
        self._scores[places[known]] = scores[known]
        with self._counting:
            self._left -= int(self._occurs[places[known]].sum())
        return places[~known]


def _keys(
    source: FrameSource, rows: Rows, cache: ScoreCache, scope: Mapping[str, Any], infos: bool
) -> list[bytes]:
    keys: list[bytes] = []
    with closing(FrameReader(source)) as reader:
        if infos:
            scope = {**scope, "infos": reader.info_names}
        for begin in range(0, len(rows), _ROWS_AT_ONCE):
            keys += cache.keys(scope, reader.contents(rows[begin : begin + _ROWS_AT_ONCE], infos))
    return keys
