"""The hazard exam: a scorer on the frozen frames, and the row of figures that comes of it.

The audit's questions, intervals and verdict on few frames that stay the same, so that rows which
different people made can stand in one table.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from vlsafe_agents.audit.changes import CHANGES
from vlsafe_agents.audit.exam_row import (
    Blank,
    Calibration,
    ChangedFrames,
    ExamFrames,
    ExamRow,
    Price,
)
from vlsafe_agents.audit.examine import MAIN, UNMOVED, Examiner, control
from vlsafe_agents.audit.frozen import FrozenFrames
from vlsafe_agents.audit.results import AuditConfig, Control
from vlsafe_agents.audit.scoring import NamedScorer
from vlsafe_agents.audit.statistics import weighted_mean
from vlsafe_agents.common.progress import ProgressReport
from vlsafe_agents.common.version import versions
from vlsafe_agents.evaluation.resampling import Bools
from wrappers.cached_scorer import CachedScorer
from wrappers.combinator import Wrapper
from wrappers.frame_windows import context_frames
from wrappers.score_cache import ScoreCache
from wrappers.scorer import (
    Frames,
    Infos,
    SafetyScorer,
    Scores,
    frame_size,
    price_estimate,
    reads_history,
    reads_infos,
    stopped,
)

_ROUNDING = 0.005  # of an AUROC, by scores that are written with six decimals
ERASED, NEGATED = "other vehicles erased", "question negated"
_FEWEST = 30  # frames that a time is measured on


@dataclass(frozen=True)
class Candidate:
    """Who is examined.

    Args:
        named: a scorer, not the labels of data sets
        opposite: builds the same one, asked for danger; ``None`` where nobody knows how
    """

    named: NamedScorer
    opposite: Callable[[], SafetyScorer | None] | None = None


def take_exam(
    candidates: Iterable[Candidate],
    frames: FrozenFrames,
    config: AuditConfig,
    cache: ScoreCache | None = None,
    batch_size: int = 64,
    command: str = "",
) -> Iterator[ExamRow]:
    """A row for each candidate, as it is there.

    Args:
        candidates: who is examined
        frames: that all are shown
        config: questions, amounts and seeds; frames for changes are the first ``probe_frames``
        cache: what is known there is not scored again, and has no price
        batch_size: frames scored at once
        command: that was typed

    Raises:
        ValueError: for a scorer that looks at several frames at once: no two are of one drive
        RuntimeError: for a scorer that gives up before it was shown all frames
    """
    examiner = Examiner(frames, config)
    for candidate in candidates:
        yield _Sitting(examiner, candidate, cache, batch_size).row(command)


def check_figures(row: ExamRow, frames: FrozenFrames, config: AuditConfig) -> None:
    """Hold the AUROC of a row against its scores, where it is about these frames.

    Raises:
        ValueError: where one does not follow from the other.
    """
    if row.frames.sha256 != frames.sha256:
        return
    scores = np.array([np.nan if p is None else p for p in row.scores], np.float32)
    examiner = Examiner(frames, replace(config, resamples=1))
    for key, stated in row.auroc.items():
        found = examiner.answer(key, scores).evidence.auroc.value
        if not np.isclose(found, stated.value, atol=_ROUNDING, equal_nan=True):
            raise ValueError(
                f"the row of {row.name} says AUROC {stated.value:.3f} ({row.questions[key]}), its "
                f"scores give {found:.3f}: one of them was changed; examine the scorer again"
            )


class _Timed(Wrapper):
    """A scorer whose calls are timed, in seconds of the clock and of this process."""

    def __init__(self, scorer: SafetyScorer) -> None:
        super().__init__(scorer)
        self.frames, self.seconds, self.processor_seconds = 0, 0.0, 0.0

    @property
    def identity(self) -> dict[str, Any]:
        return self.scorer.identity

    def __call__(self, frames: Frames, infos: Infos | None = None) -> Scores:
        began, worked = time.perf_counter(), time.process_time()
        scores, self.last_reasons = self.ask(self.scorer, frames, infos)
        self.seconds += time.perf_counter() - began
        self.processor_seconds += time.process_time() - worked
        self.frames += len(frames)
        return scores


class _Sitting:
    """One candidate before the frames."""

    def __init__(
        self,
        examiner: Examiner[FrozenFrames],
        candidate: Candidate,
        cache: ScoreCache | None,
        batch_size: int,
    ) -> None:
        self.examiner, self.frames = examiner, examiner.drives
        self.named = candidate.named
        self.batch_size, self._cache = batch_size, cache
        assert self.named.scorer is not None
        self.scorer: SafetyScorer = self.named.scorer
        if context_frames(self.scorer) > 1:
            raise ValueError(
                f"{self.named.name} looks at {context_frames(self.scorer)} frames at once, and no "
                "two frozen frames are of one drive; audit it on drives: leave --exam out"
            )
        self.size, self.pictures, self.erased = self.frames.at(frame_size(self.scorer))
        self.probe = min(examiner.config.probe_frames, len(self.frames))
        looking = self.named.looks_at_frames
        self.opposite = candidate.opposite() if looking and candidate.opposite else None

    def row(self, command: str) -> ExamRow:
        """Show all frames, as they are and changed."""
        total = len(self.frames)
        if self.named.looks_at_frames:
            often = len(CHANGES) + (self.opposite is not None)
            total += 1 + self.probe * often + int(self._erased_rows.sum())
        identity = self.named.identity(None)  # a server is met before anything is timed
        with ProgressReport(f"examine {self.named.name}", total, "frames") as self._progress:
            self._done = 0
            black, score, price = self._as_they_are()
            changed, negated = self._changed(score)
        answers = self.examiner.answers(score)
        return ExamRow(
            name=self.named.name,
            date=datetime.now(UTC).date().isoformat(),
            command=command,
            scorer=identity,
            frames=ExamFrames(
                self.frames.sha256, len(self.frames), int(np.isnan(score).sum()), self.size
            ),
            questions={key: self.examiner.questions[key].name for key in MAIN},
            verdict=answers[MAIN[0]].verdict,
            auroc={key: answer.evidence.auroc for key, answer in answers.items()},
            roads={
                group.name: group.answers[MAIN[0]].evidence.auroc.value
                for group in self.examiner.groups(score)
                if group.kind == "scenario"
            },
            blank=self._blank(black, score),
            probe_frames=self.probe,
            changed=changed,
            negated=negated,
            calibration=self._calibration(score),
            price=price,
            machine=f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
            versions=dict(versions()),
            scores=tuple(None if np.isnan(p) else round(float(p), 6) for p in score),
        )

    def _as_they_are(self) -> tuple[float, Scores, Price]:
        """Score of a black frame, scores ``(N,)`` of all frames, and what they cost.

        The black frame comes first: it pays for what only the first frame needs.
        """
        black = float("nan")
        if self.named.looks_at_frames:
            (black,) = self._ask(self.scorer, np.zeros_like(self.pictures[:1])).tolist()
        timed = _Timed(self.scorer)
        before = getattr(self.scorer, "usage", None)
        score = self._ask(timed, self.pictures, self.frames.infos)
        if self.named.deal is not None:
            score = self.named.deal.scores(score)
        return black, score, _price(timed, before, getattr(self.scorer, "usage", None))

    def _changed(self, score: Scores) -> tuple[dict[str, ChangedFrames], ChangedFrames | None]:
        """What became of scores of changed frames, and of the question turned round."""
        if not self.named.looks_at_frames:
            return {}, None
        first = np.arange(len(self.frames)) < self.probe
        found = {}
        for name, change in CHANGES.items():
            found[name] = self._held(self.scorer, change(self.pictures[: self.probe]), first)
        rows = self._erased_rows
        if rows.any():
            found[ERASED] = self._held(self.scorer, self.erased[rows], rows)
        controls = {
            name: _plain(control(self.examiner, name, values, score))
            for name, values in found.items()
        }
        if self.opposite is None:
            return controls, None
        values = self._held(self.opposite, self.pictures[: self.probe], first)
        return controls, _plain(control(self.examiner, NEGATED, values, score))

    @property
    def _erased_rows(self) -> Bools:
        """Frames ``(N,)`` that are shown without other vehicles, too."""
        return self.frames.erasable & (np.arange(len(self.frames)) < self.probe)

    def _held(self, scorer: SafetyScorer, frames: Frames, rows: Bools) -> Scores:
        """Scores ``(N,)``, NaN for all but some rows, which are shown as ``frames``."""
        found = np.full(len(rows), np.nan, np.float32)
        found[rows] = self._ask(scorer, frames)
        return found

    def _ask(self, scorer: SafetyScorer, frames: Frames, infos: Any = None) -> Scores:
        """Scores ``(n,)`` in batches, from the cache where they are known."""
        if self._cache is not None and not reads_infos(scorer) and not reads_history(scorer):
            scorer = CachedScorer(scorer, self._cache)
        parts = []
        for begin in range(0, len(frames), self.batch_size):
            part = slice(begin, begin + self.batch_size)
            told = infos[part] if infos is not None and reads_infos(scorer) else None
            parts.append(Wrapper.ask(scorer, frames[part], told)[0])
            self._done += len(parts[-1])
            self._progress.update(self._done)
            if reason := stopped(scorer):
                raise RuntimeError(
                    f"{self.named.name} was not shown all frames: {reason}; no row is written, and "
                    "the same command goes on with what is not in the cache"
                )
        return np.concatenate(parts)

    def _blank(self, black: float, score: Scores) -> Blank:
        known = ~np.isnan(score)
        danger = self.examiner.questions[MAIN[0]].positive
        if np.isnan(black) or not (known & danger).any() or not (known & ~danger).any():
            return Blank(None if np.isnan(black) else black, None, None)
        gap = float(score[known & ~danger].mean() - score[known & danger].mean())
        return Blank(black, float((np.abs(score[known] - black) < UNMOVED).mean()), gap)

    def _calibration(self, score: Scores) -> Calibration:
        question, episode = self.examiner.questions[MAIN[0]], self.frames.truth.episode
        kept = question.known & ~np.isnan(score)
        safe = ~question.positive[kept]
        wrong = (score[kept].astype(np.float64) - safe) ** 2
        brier = weighted_mean(
            wrong, episode[kept], self.examiner.weights, self.examiner.config.confidence
        )
        mean = float(score[kept].mean()) if kept.any() else float("nan")
        error = self.examiner.reliability(score).error
        return Calibration(error, brier, mean, float(safe.mean()) if kept.any() else float("nan"))


def _plain(found: Control) -> ChangedFrames:
    return ChangedFrames(
        auroc={key: answer.evidence.auroc for key, answer in found.answers.items()},
        rank_correlation=found.rank_correlation,
        mean_score=found.mean_score,
        change_in_danger=found.change_in_danger,
    )


def _price(timed: _Timed, before: Any, after: Any) -> Price:
    """Of 1,000 frames; times are not known where (nearly) all came from the cache."""
    seconds = processor_seconds = tokens = None
    if timed.frames >= _FEWEST:
        seconds = 1000 * timed.seconds / timed.frames
        processor_seconds = 1000 * timed.processor_seconds / timed.frames
    if after is not None and after.reported > before.reported:
        tokens = 1000 * (after.tokens - before.tokens) / (after.reported - before.reported)
    money = price_estimate(timed, 1000)
    money = None if money is None or np.isnan(money) else money
    return Price(seconds, processor_seconds, tokens, money)
