"""What became of each frame that a model was asked about: a label, or why there is none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from wrappers.frame_windows import check_windows
from wrappers.scorer import Frames, Infos, Scores, check_frames


class Status(StrEnum):
    """What became of a frame."""

    LABELLED = "labelled"
    # The model answered, but not with a label; asking again would bring the same.
    REFUSED = "refused"
    TRUNCATED = "truncated"
    MALFORMED = "malformed"
    OUT_OF_RANGE = "out of range"
    # The server gave no answer of this model; a later run may fare better.
    NO_COMPLETION = "no completion"
    OTHER_MODEL = "other model"
    TIMED_OUT = "timed out"
    RATE_LIMITED = "rate limited"
    SERVER_ERROR = "server error"
    UNREACHABLE = "unreachable"
    REJECTED = "rejected"
    # Nothing was sent: the budget is spent, or the server was given up.
    NOT_ASKED = "not asked"


_ANSWERED = (
    Status.LABELLED,
    Status.REFUSED,
    Status.TRUNCATED,
    Status.MALFORMED,
    Status.OUT_OF_RANGE,
)


class NoLabel(Exception):
    """An answer that gives no label, and why."""

    def __init__(self, status: Status, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


@dataclass(frozen=True)
class Outcome:
    """What became of one frame."""

    status: Status
    detail: str = ""  # why there is no label, in words
    attempts: int = 0  # requests sent
    source: str = ""  # what a label was read from: "logprobs", "json" or "text"

    @property
    def answered(self) -> bool:
        """Whether the model answered, so that asking again would hardly change anything."""
        return self.status in _ANSWERED

    @property
    def reason(self) -> str | None:
        """Why there is no label; ``None`` where there is one."""
        if self.status == Status.LABELLED:
            return None
        return self.detail if self.status == Status.NOT_ASKED else f"{self.status}: {self.detail}"


@dataclass(frozen=True)
class Answers:
    """Scores ``(N,)`` float32, NaN where there is no label, and the N outcomes behind them."""

    scores: Scores
    outcomes: tuple[Outcome, ...]

    @property
    def unlabelled(self) -> dict[int, Outcome]:
        """The frames without a label, by their place in the call, and why."""
        return {
            place: outcome
            for place, outcome in enumerate(self.outcomes)
            if outcome.status != Status.LABELLED
        }

    @property
    def reasons(self) -> list[str | None]:
        """Why each frame has no label, ``None`` for one that has."""
        return [outcome.reason for outcome in self.outcomes]

    @property
    def counts(self) -> Counter[str]:
        """How many frames came to which end."""
        return Counter(outcome.status.value for outcome in self.outcomes)


class AnswersInWords:
    """Scorers that answer in words: how they are called, and what they tell of their answers."""

    context_frames: int

    def __init__(self) -> None:
        self.answers: Answers | None = None  # of the last call
        self.counts: Counter[str] = Counter()  # ends of all frames so far

    def __call__(self, frames: Frames, infos: Infos | None = None) -> Scores:
        """Scores ``(N,)`` of ``frames (N, H, W, 3)`` uint8, NaN without a label.

        With ``context_frames`` k above 1 windows ``(N, k, H, W, 3)`` take their place; ``infos``
        are not read.
        """
        return self.ask(frames).scores

    def ask(self, frames: Frames) -> Answers:
        """Scores, and what became of each frame; see :meth:`__call__`."""
        if self.context_frames == 1:
            return self.ask_clips(check_frames(frames)[:, None])
        return self.ask_clips(check_windows(frames, self.context_frames))

    def ask_clips(self, clips: Frames) -> Answers:
        """As :meth:`ask`, for ``clips (N, K, H, W, 3)`` of any number of frames K."""
        raise NotImplementedError

    @property
    def unlabelled(self) -> dict[int, Outcome]:
        """Frames of the last call that have no label, by their place in it, and why."""
        return self.answers.unlabelled if self.answers else {}

    @property
    def last_reasons(self) -> list[str | None]:
        """Why each frame of the last call has no label, ``None`` for one that has."""
        return self.answers.reasons if self.answers else []

    def remember(self, answers: Answers) -> None:
        """Enter the outcomes of a call."""
        self.answers = answers
        self.counts.update(answers.counts)


def check_clips(clips: Frames) -> int:
    """How many frames each of ``clips (N, K, H, W, 3)`` has: K."""
    length = np.shape(clips)[1] if np.ndim(clips) > 1 else 1
    check_windows(clips, length)
    return length


def to_answers(found: Iterable[tuple[float, Outcome]]) -> Answers:
    """Scores and outcomes of frames in their order."""
    pairs = list(found)
    scores = np.array([score for score, _ in pairs], np.float32)
    return Answers(scores, tuple(outcome for _, outcome in pairs))
