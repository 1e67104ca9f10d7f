"""Frames with their judge, and the scoring of those that have no score."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlsafe_agents.labelling.frames import FrameSource
from vlsafe_agents.labelling.ledger import Ledger
from vlsafe_agents.labelling.protocols import (
    Drawing,
    Scorer,
    Scores,
    ScoreStore,
    reads_history,
    reads_infos,
)
from vlsafe_agents.labelling.stream import Batch, Scored

Run = Callable[[Iterator[Batch]], Iterator[Scored]]


@dataclass(frozen=True)
class LabelJob:
    """Frames to be judged; ``drawing`` is ``None`` where the stored images are."""

    source: FrameSource
    scorer: Scorer
    drawing: Drawing | None

    @property
    def scope(self) -> dict[str, Any]:
        """See :func:`scope_of`."""
        return scope_of(self.scorer.identity, self.drawing)

    def ledger(self, stored: Scores | None, cache: ScoreStore | None) -> Ledger:
        """What is known: scores ``(R,)`` that hold already (NaN: none), and the cache."""
        if stored is None:
            stored = np.full(len(self.source), np.nan, np.float32)
        if reads_history(self.scorer):
            cache = None
        return Ledger(self.source, stored, cache, self.scope, reads_infos(self.scorer))


def scope_of(scorer: dict[str, Any], drawing: Drawing | None) -> dict[str, Any]:
    """All that scores depend on, besides what is stored of each frame, as read from JSON.

    ``scorer`` is the scorer's identity.
    """
    frames = {"name": "pixels"} if drawing is None else drawing.identity
    scope: dict[str, Any] = json.loads(json.dumps({"scorer": scorer, "frames": frames}))
    return scope


def score_missing(
    ledger: Ledger,
    run: Run,
    batch_size: int,
    tell: Callable[[Scored], None] = lambda scored: None,
) -> None:
    """Score what is not known.

    ``run`` scores batches, ``tell`` is called after each of them has been entered.
    """
    try:
        for scored in run(ledger.batches(ledger.unknown, batch_size)):
            ledger.add(scored)
            tell(scored)
    finally:
        ledger.close()
