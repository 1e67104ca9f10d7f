"""Scoring every frame of a data set: in batches, from a cache where it can be."""

from __future__ import annotations

import os
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vlsafe_agents.common.progress import ProgressReport
from vlsafe_agents.data.frames import Drawing
from vlsafe_agents.data.labels import (
    StoredLabels,
    read_costs,
    read_labels,
    read_record,
    write_labels,
)
from vlsafe_agents.data.storage import read_metadata, resolve_dataset
from vlsafe_agents.labelling.engines import Engine, check_engine, run_batches
from vlsafe_agents.labelling.known_scores import KnownScores
from vlsafe_agents.labelling.scoring import Scoring, score_missing, shuffled
from vlsafe_agents.labelling.stream import Scored
from vlsafe_agents.labelling.summary import LabelCounts, LabelSummary, summarise
from wrappers.controls import Deal
from wrappers.files import one_writer
from wrappers.score_cache import ScoreCache
from wrappers.scorer import SafetyScorer, Scores

LEAST_SHARE = 0.1  # of the frames; a run that has labels for fewer has failed
LEAST_SHARE_TO_REPLACE = 0.5  # of the frames, before another scorer's labels give way
_ALIKE = 1e-6  # scores that differ by less


class LabellingError(RuntimeError):
    """A run that found (nearly) no labels; those that the data set holds were left as they are."""


def label(
    id_or_path: str | Path,
    make_scorer: Callable[[], SafetyScorer],
    make_drawing: Callable[[], Drawing] | None = None,
    cache: ScoreCache | None = None,
    batch_size: int = 64,
    workers: int = 1,
    engine: Engine = "processes",
    deal: Deal | None = None,
    progress: bool = True,
    image: str | None = None,
) -> LabelSummary:
    """Write ``infos/safety_score`` for every observation; another scorer's scores are replaced.

    ``make_drawing`` builds what draws packed scenes; without it the scorer sees the stored images,
    those called ``image`` where there are several.
    With a ``cache`` a killed run goes on where it stopped, and frames that were scored before, in
    whatever data set, are not scored again.  Both factories must be picklable when there are other
    workers than this process.  With a ``deal`` scores are given to the wrong frames:
    a control without information, or with less.

    Frames that the scorer has no label for get NaN and are listed in ``unlabelled.csv`` beside the
    data; the same call scores only those.  Data that are completely labelled so are left alone.
    Labels stay as they are until the new ones are there: for :data:`LEAST_SHARE` of the frames, or
    :data:`LEAST_SHARE_TO_REPLACE` where another scorer's are to be replaced.

    Raises:
        ValueError: data without scenes (or images); a scorer that returns another shape or values
            outside [0, 1].
        LabellingError: a run after which too few frames have a label.
        FolderInUseError: another process writes the data set.
        OSError: the data set cannot be written.
        KeyboardInterrupt: its message says what is kept.

    Warns when different frames all got the same score.
    """
    check_engine(engine, workers)
    data_path = resolve_dataset(id_or_path)
    with _writing(data_path):
        return _label(
            data_path,
            Scoring(make_scorer, make_drawing, image),
            cache,
            batch_size,
            workers,
            engine,
            deal,
            progress,
        )


def _label(
    data_path: Path,
    scoring: Scoring,
    cache: ScoreCache | None,
    batch_size: int,
    workers: int,
    engine: Engine,
    deal: Deal | None,
    progress: bool,
) -> LabelSummary:
    began = time.monotonic()
    episodes = read_metadata(data_path)["total_episodes"]
    scope = shuffled(scoring.scope, deal)
    stored = read_labels(data_path, episodes)
    done = _already_done(data_path, stored.of(scope), scope)
    if done is not None:
        return done
    source = scoring.source(data_path, episodes)
    known = scoring.known(source, stored.of(scoring.scope), cache)
    run = partial(run_batches, engine, scoring.makers(engine, workers), source, workers=workers)
    with _Report(known, progress) as report:
        try:
            score_missing(known, run, batch_size, report.tell)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(_about_interruption(known, cache, data_path)) from None
    counts = LabelCounts(
        frames=len(source),
        kept=known.kept,
        from_cache=known.from_cache,
        scored=known.scored,
        without_label=known.without_label,
        seconds=round(time.monotonic() - began, 3),
    )
    scores = known.scores
    _check_worth(known, stored, scope, data_path, cache)
    _warn_of_constant(scores, scoring.scorer)
    if deal is not None:
        scores = deal.scores(scores)
    steps = source.steps  # resets are none
    summary = summarise(scores[steps], read_costs(source)[steps], scope["scorer"], counts)
    write_labels(source, scores, scope, known.reasons, summary.to_record())
    return summary


@contextmanager
def _writing(data_path: Path) -> Iterator[None]:
    """Be the one who writes a data set: neither `vlsafe collect` nor another command does."""
    whole = data_path.parent if data_path.name == "data" else data_path  # in Minari's layout
    with ExitStack() as stack:
        try:
            if os.access(whole.parent, os.W_OK):  # where the lock of the whole lies
                stack.enter_context(one_writer(whole, "vlsafe label"))
            stack.enter_context(one_writer(data_path, "vlsafe label"))
        except OSError as error:
            raise OSError(
                f"labels are written into the data set, and {data_path} cannot be written "
                f"({error}); label a copy of it"
            ) from error
        yield


def _check_worth(
    known: KnownScores,
    stored: StoredLabels,
    scope: dict[str, Any],
    data_path: Path,
    cache: ScoreCache | None,
) -> None:
    """Raise :class:`LabellingError` when too few frames have a label to write any."""
    scores = known.scores
    labelled, frames = int((~np.isnan(scores)).sum()), len(scores)
    replaces = (
        stored.of(scope) is None
        and stored.scores is not None
        and bool((~np.isnan(stored.scores)).any())
    )
    least = LEAST_SHARE_TO_REPLACE if replaces else LEAST_SHARE
    if labelled and labelled >= least * frames:
        return
    reasons = Counter(known.reasons.values()).most_common(2)
    why = "; ".join(f"{count:,} {reason!r}" for reason, count in reasons)
    stand = "the labels of another scorer stand" if replaces else "nothing was written"
    kept = "what was scored is in the cache, and " if labelled and cache is not None else ""
    raise LabellingError(
        f"only {labelled:,} of {frames:,} frames have a label"
        + (f" ({why})" if why else "")
        + f": {stand} in {data_path}; {kept}the same command asks for the others again"
    )


def _warn_of_constant(scores: Scores, scorer: SafetyScorer) -> None:
    given = scores[~np.isnan(scores)]
    if len(given) > 1 and np.ptp(given) < _ALIKE and scorer.identity.get("name") != "constant":
        warnings.warn(
            f"all {len(given):,} frames got the same score, {given[0]:.6g}: such labels tell "
            "nothing; look at the scorer, its prompts or its question",
            stacklevel=4,
        )


def _about_interruption(known: KnownScores, cache: ScoreCache | None, data_path: Path) -> str:
    kept = "no scores are kept, as there is no cache"
    if cache is not None:
        kept = f"{known.scored:,} new scores are kept in {cache.folder}"
    return (
        f"interrupted: {kept}; the labels in {data_path} are as they were; the same command scores "
        f"the other {known.left:,} frames"
    )


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

    def __init__(self, known: KnownScores, enabled: bool) -> None:
        self._known = known
        self._total = known.left + known.kept + known.from_cache
        self._bar = ProgressReport("label", self._total, "frames", enabled)
        self._scored = 0  # after the first batch
        self._began: float | None = None

    def __enter__(self) -> _Report:
        self._bar.__enter__()
        self._bar.update(self._total - self._known.left)
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
        note = f"{rate:,.0f} frames/s, {self._known.from_cache:,} from the cache"
        if self._known.without_label:
            note += f", {self._known.without_label:,} without a label"
        self._bar.update(self._total - self._known.left, note)
