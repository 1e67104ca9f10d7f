"""What labelling a data set would cost, before it is done."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from vlsafe_agents.data.frames import Drawing
from vlsafe_agents.data.labels import read_labels
from vlsafe_agents.data.storage import read_metadata, resolve_dataset
from vlsafe_agents.labelling.engines import run_batches
from vlsafe_agents.labelling.known_scores import KnownScores
from vlsafe_agents.labelling.scoring import Scoring
from vlsafe_agents.labelling.stream import Scored
from wrappers.score_cache import ScoreCache
from wrappers.scorer import SafetyScorer, price_estimate

_SAMPLE_SECONDS = 3.0
_SAMPLE_BATCHES = 20  # at most; the first is not timed, as much is set up in it


@dataclass(frozen=True)
class LabelEstimate:
    """Frames of a data set, and what is to be paid for those without a score."""

    frames: int
    kept: int  # have a label of this scorer already
    from_cache: int  # an equal frame was scored before
    to_score: int  # distinct frames
    frames_per_second: float | None  # of one worker on a sample; None where nothing was tried
    price: float | None  # [US dollars], for scorers that have one

    @property
    def seconds(self) -> float | None:
        """Time that one worker needs [s]."""
        if self.to_score == 0:
            return 0.0
        return None if self.frames_per_second is None else self.to_score / self.frames_per_second


def estimate(
    id_or_path: str | Path,
    make_scorer: Callable[[], SafetyScorer],
    make_drawing: Callable[[], Drawing] | None = None,
    cache: ScoreCache | None = None,
    batch_size: int = 64,
    image: str | None = None,
) -> LabelEstimate:
    """What ``label`` with the same arguments would have to do; the data set is left alone.

    A scorer with a ``price_estimate`` is asked for it, and not called if it has a price.  Another
    one scores for a few seconds; what it finds goes into the cache, so that this time is not lost.
    """
    path = resolve_dataset(id_or_path)
    episodes = read_metadata(path)["total_episodes"]
    scoring = Scoring(make_scorer, make_drawing, image)
    source = scoring.source(path, episodes)
    known = scoring.known(source, read_labels(path, episodes).of(scoring.scope), cache)
    to_score, from_cache = len(known.unknown), known.from_cache
    rate = None
    price = price_estimate(scoring.scorer, to_score) if to_score else None
    if to_score and price is None:
        makers = scoring.makers("processes", 1)
        batches = islice(known.batches(known.unknown, batch_size), _SAMPLE_BATCHES)
        try:
            rate = _rate(known, run_batches("processes", makers, source, batches, workers=1))
        finally:
            known.close()
    return LabelEstimate(len(source), known.kept, from_cache, to_score, rate, price)


def _rate(known: KnownScores, results: Iterator[Scored]) -> float:
    """Frames a second over a few batches."""
    began = time.monotonic()
    ends, frames = [began], [0]
    with closing(results):  # type: ignore[type-var]
        for scored in results:
            known.add(scored)
            ends.append(time.monotonic())
            frames.append(len(scored.scores))
            if ends[-1] - began > _SAMPLE_SECONDS:
                break
    first = 1 if len(ends) > 2 else 0
    return sum(frames[first + 1 :]) / max(ends[-1] - ends[first], 1e-9)
