"""Events by a judge's word: a scorer looks at what the simulator shows, and at nothing else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from vlsafe_agents.risk.outcomes import SIMULATOR
from wrappers.checks import one_number
from wrappers.frame_windows import context_frames
from wrappers.safety_frames import SafetyFrames
from wrappers.scorer import Frames, SafetyScorer, Scores, check_scores, reads_infos


@dataclass(frozen=True)
class Judge:
    """Calls what a frame shows an event where its ``safety_score`` is below a level.

    Neither costs nor the reasons for which an episode ended are asked.  That it ended shows in one
    thing: there are no frames after it.

    Args:
        scorer: of single frames, which it must know by their pixels alone.
        below: safety score under which a frame is an event, in (0, 1].

    Raises:
        ValueError: for a scorer of several frames or of simulator truth, and a level out of range.
    """

    scorer: SafetyScorer
    below: float

    def __post_init__(self) -> None:
        if one_number(self.below, "below", "the judge", 0.0, 1.0) == 0.0:
            raise ValueError("the judge: below is 0, so that nothing would be an event; give more")
        if context_frames(self.scorer) > 1:
            raise ValueError(
                "the judge looks at single frames, where a branch begins there are none before; "
                f"give another scorer than {self._name}"
            )
        if reads_infos(self.scorer):
            raise ValueError(
                f"the scorer {self._name} reads the simulator's truth; for that leave the judge out"
            )

    @cached_property
    def source(self) -> str:
        """Whose word an event is, as files of outcomes say it."""
        return json.dumps({"scorer": self.scorer.identity, "below": self.below}, sort_keys=True)

    def frames_of(self, env: Any) -> SafetyFrames:
        """Shows the frames of ``env`` that are judged."""
        return SafetyFrames(env, self.scorer)

    def scores(self, frames: Sequence[Frames]) -> Scores:
        """Safety scores ``(N,)`` of frames, each ``(H, W, 3)`` uint8; NaN: no label."""
        return check_scores(self.scorer(np.stack(frames)), len(frames))

    def danger(self, frame: Frames) -> float:
        """1 - p of one frame, 0 without a label."""
        return float(np.nan_to_num(1.0 - self.scores([frame])[0]))

    @property
    def _name(self) -> str:
        return repr(self.scorer.identity.get("name"))


def source_of(judge: Judge | None) -> str:
    """Whose word an event is: the judge's, or the simulator's."""
    return SIMULATOR if judge is None else judge.source


def first_event(scores: Scores, below: float) -> tuple[int, int]:
    """Of the scores ``(K,)`` of a branch's steps: when there is an event, and how far they tell.

    Returns:
        The step of the event, from 1 on, 0 for none; and how many steps come before the first
        frame without a label (NaN).
    """
    unknown = np.flatnonzero(np.isnan(scores))
    known = int(unknown[0]) if len(unknown) else len(scores)
    found = np.flatnonzero(scores[:known] < below)
    return (int(found[0]) + 1 if len(found) else 0), known
