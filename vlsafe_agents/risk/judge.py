"""A judge's word on what comes of actions: a scorer looks at frames, and at nothing else.

Of a branch it says 1 - p of the worst frame within the horizon: p of what is coming, not of now.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from wrappers.frame_windows import context_frames
from wrappers.safety_frames import SafetyFrames
from wrappers.scorer import Frames, SafetyScorer, Scores, check_scores, frame_size, reads_infos

NO_FRAME = np.inf  # in place of the score after a branch's end


@dataclass(frozen=True)
class Judge:
    """Looks at the frames of drives and branches.

    Neither costs nor the reasons for which an episode ended are asked.  That it ended shows in one
    thing: there are no frames after it.

    Args:
        scorer: of single frames, which it must know by their pixels alone.

    Raises:
        ValueError: for a scorer of several frames or of simulator truth.
    """

    scorer: SafetyScorer

    def __post_init__(self) -> None:
        name = self.scorer.identity.get("name")
        if context_frames(self.scorer) > 1:
            raise ValueError(
                f"the judge looks at single frames, the scorer {name!r} at several: where a branch "
                "begins there are none before; give another scorer"
            )
        if reads_infos(self.scorer):
            raise ValueError(
                f"the scorer {name!r} reads the simulator's truth; to learn from that do without a "
                "judge"
            )

    @cached_property
    def name(self) -> str:
        """Which scorer it is, as files of outcomes say it."""
        return json.dumps(self.scorer.identity, sort_keys=True)

    def frames_of(self, env: Any) -> SafetyFrames:
        """Shows the frames of ``env`` that are judged."""
        return SafetyFrames(env, frame_size(self.scorer))

    def scores(self, frames: Sequence[Frames]) -> Scores:
        """Safety scores ``(N,)`` of frames, each ``(H, W, 3)`` uint8; NaN: no label."""
        return check_scores(self.scorer(np.stack(frames)), len(frames))

    def danger(self, frame: Frames) -> float:
        """1 - p of one frame, 0 without a label."""
        return float(np.nan_to_num(1.0 - self.scores([frame])[0]))


def name_of(judge: Judge | None) -> str:
    """Whose word outcomes are, as their files say it; "" for the simulator's."""
    return "" if judge is None else judge.name


def danger_ahead(scores: npt.NDArray[np.float32], steps: int) -> npt.NDArray[np.float32]:
    """1 - p of the worst of a branch's first frames ``(N,)``; NaN where a label is missing.

    Args:
        scores: ``(N, D)`` after each step, :data:`NO_FRAME` after the end.
        steps: how many of them count, at least 1.
    """
    least = scores[:, :steps].min(1)
    return np.where(least == NO_FRAME, np.float32(np.nan), 1.0 - least)
