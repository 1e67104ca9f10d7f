"""Having a judge score every frame of a data set: in batches, from a cache where it can be."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..common.progress import ProgressReport
from .engines import Engine, check_engine, run_batches
from .job import score_missing
from .judge import DataSet, Judge, shuffled
from .ledger import Ledger
from .protocols import Drawing, Scorer, Scores, ScoreStore
from .stored import read_costs, read_labels, read_record, write_labels
from .stream import Scored
from .summary import LabelCounts, LabelSummary, summarise


def label(
    id_or_path: str | Path,
    make_scorer: Callable[[], Scorer],
    make_drawing: Callable[[], Drawing] | None = None,
    cache: ScoreStore | None = None,
    batch_size: int = 64,
    workers: int = 1,
    engine: Engine = "processes",
    permutation_seed: int | None = None,
    progress: bool = True,
) -> LabelSummary:
    """Write ``infos/safety_score`` for every observation; another judge's scores are replaced.

    ``make_drawing`` builds what draws packed scenes; without it the judge sees the stored images.
    With a ``cache`` a killed run goes on where it stopped, and frames that were scored before, in
    whatever data set, are not scored again.  Both factories must be picklable when there are other
    workers than this process.  With a ``permutation_seed`` the scores are dealt to the wrong
    frames: a control without information.

    Frames that the scorer has no label for get NaN and are listed in ``unlabelled.csv`` beside the
    data; the same call scores only those.  Data that are completely labelled so are left alone.

    Raises ``ValueError`` for data without scenes (or images) and for a scorer that returns
    another shape or values outside [0, 1].
    """
    check_engine(engine, workers)
    began = time.monotonic()
    data = DataSet.find(id_or_path)
    judge = Judge(make_scorer, make_drawing)
    scope = shuffled(judge.scope, permutation_seed)
    stored = read_labels(data.path, data.episodes)
    done = _already_done(data.path, stored.of(scope), scope)
    if done is not None:
        return done
    job = judge.job(data)
    ledger = job.ledger(stored.of(judge.scope), cache)
    run = partial(run_batches, engine, judge.makers(engine, workers), job.source, workers=workers)
    with _Report(ledger, progress) as report:
        # Ray wants all batches at once, too many to be claimed
        score_missing(ledger, run, batch_size, report.tell, claim=engine != "ray")
    counts = LabelCounts(
        frames=len(job.source),
        kept=ledger.kept,
        from_cache=ledger.from_cache,
        scored=ledger.scored,
        without_label=ledger.without_label,
        seconds=round(time.monotonic() - began, 3),
    )
    scores = ledger.scores
    if permutation_seed is not None:
        scores = np.random.default_rng(permutation_seed).permutation(scores)
    steps = job.source.steps  # resets are none
    summary = summarise(scores[steps], read_costs(job.source)[steps], scope["scorer"], counts)
    write_labels(job.source, scores, scope, ledger.reasons, summary.to_record())
    return summary


def _already_done(
    data_path: Path, scores: Scores | None, scope: dict[str, Any]
) -> LabelSummary | None:
    """Summary of labels that are there and complete."""
    if scores is None or np.isnan(scores).any():
        return None
    record = read_record(data_path, scores)
    return None if record is None else LabelSummary.from_record(record, scope["scorer"])


class _Report:
    """Shows how many frames have a score, how fast it goes, and how long it will take."""

    def __init__(self, ledger: Ledger, enabled: bool) -> None:
        self._ledger = ledger
        self._total = ledger.left + ledger.kept + ledger.from_cache
        self._bar = ProgressReport("label", self._total, "frames", enabled)
        self._scored = 0  # after the first batch
        self._began: float | None = None

    def __enter__(self) -> _Report:
        self._bar.__enter__()
        self._bar.update(self._total - self._ledger.left)
        return self

    def __exit__(self, *error: Any) -> None:
        self._bar.__exit__(*error)

    def tell(self, scored: Scored) -> None:
        """Another batch is done."""
        if self._began is None:  # workers have started only now
            self._began = time.monotonic()
        else:
            self._scored += len(scored.scores)
        rate = self._scored / max(time.monotonic() - self._began, 1e-9)
        note = f"{rate:,.0f} frames/s, {self._ledger.from_cache:,} from the cache"
        if self._ledger.without_label:
            note += f", {self._ledger.without_label:,} without a label"
        self._bar.update(self._total - self._ledger.left, note)
