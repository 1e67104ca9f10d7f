"""Scorers made of other scorers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wrappers.frame_windows import context_frames
from wrappers.scorer import (
    Frames,
    Infos,
    Reasons,
    SafetyScorer,
    Scores,
    check_scores,
    frame_size,
    last_reasons,
    price_estimate,
    reads_history,
    reads_infos,
    stopped,
)


class Combinator:
    """Base of scorers that wrap others: it answers what callers ask by what those answer.

    A subclass changes only what it changes itself.  ``tests/wrappers/test_combinators.py`` goes
    through all subclasses and all of :data:`~.scorer.ASKED`.

    Args:
        scorers: what is wrapped.

    Raises:
        ValueError: for scorers that look at frames of different sizes: all get the same ones.
    """

    def __init__(self, *scorers: SafetyScorer) -> None:
        self.scorers: Sequence[SafetyScorer] = scorers
        self.context_frames = max(map(context_frames, scorers), default=1)
        sizes = {size for size in map(frame_size, scorers) if size is not None}
        if len(sizes) > 1:
            raise ValueError(
                f"scorers that look at frames of {' and '.join(map(str, sorted(sizes)))} px cannot "
                "be combined: all are handed the same frames"
            )
        self.frame_size = next(iter(sizes), None)
        self.reads_infos = any(map(reads_infos, scorers))
        self.reads_history = any(map(reads_history, scorers))
        self.last_reasons: Reasons = []

    @staticmethod
    def ask(
        scorer: SafetyScorer, frames: Frames, infos: Infos | None = None
    ) -> tuple[Scores, Reasons]:
        """What one of those inside answers, checked: scores ``(N,)``, and why frames have none."""
        scores = check_scores(scorer(frames, infos), len(frames))
        return scores, last_reasons(scorer, len(frames))

    @property
    def stopped(self) -> str:
        """Why those inside give no more labels; empty while one of them does."""
        reasons = list(map(stopped, self.scorers))
        return "; ".join(dict.fromkeys(reasons)) if all(reasons) else ""

    def price_estimate(self, frames: int) -> float | None:
        """The sum of theirs [US dollars]; ``None`` where none of them asks for anything."""
        known = [price_estimate(scorer, frames) for scorer in self.scorers]
        asked = [price for price in known if price is not None]
        return sum(asked) if asked else None


class Wrapper(Combinator):
    """A combinator of one scorer.

    Args:
        scorer: what is wrapped.
    """

    def __init__(self, scorer: SafetyScorer) -> None:
        super().__init__(scorer)
        self.scorer: Any = scorer
