"""What truly happened around each recorded frame, and the questions that a score should answer.

Everything here follows from the simulator's record.  Where the record ends before an answer is
known (the time limit cut an episode off), the frame is left out of that question.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]

CALM_HEADWAY = 0.8  # [s], a calm frame keeps at least this


@dataclass(frozen=True)
class Truth:
    """One value a frame, all ``(N,)``; frames of an episode stand together, in order of time."""

    episode: Integers  # rising from 0
    time: Floats  # [s] since the episode's first frame
    time_to_collision: Floats  # [s] if all keep speed and heading; infinite where nothing is hit
    headway: Floats  # [s], infinite without a leader
    collision: Bools
    off_road: Bools
    until_collision: Floats  # [s] until the episode's next collision, 0 at it; or infinite
    until_off_road: Floats  # [s], likewise
    until_cut: Floats  # [s] until the time limit ended the record; infinite if nothing did so

    def __len__(self) -> int:
        return len(self.episode)

    @property
    def until_event(self) -> Floats:
        """Seconds ``(N,)`` until the episode's next collision or departure from the road."""
        return np.minimum(self.until_collision, self.until_off_road)


def seconds_until(event: Bools, episode: Integers, time: Floats) -> Floats:
    """Seconds ``(N,)`` to the next frame of the same episode with an event; infinite: none follows.

    ``event``, ``episode`` and ``time`` [s] are ``(N,)``, frames in order.
    """
    rows = np.arange(len(event))
    following = np.where(event, rows, len(event))
    following = np.minimum.accumulate(following[::-1])[::-1]  # row of the next event, any episode
    found = following < len(event)
    where = np.where(found, following, 0)
    found &= episode[where] == episode
    return np.where(found, time[where] - time, np.inf)


def truth_of(
    episode: Integers, time: Floats, truncated: Bools, columns: dict[str, npt.NDArray[Any]]
) -> Truth:
    """Truth from the recorded columns; ``truncated (N,)`` marks last frames cut by the time limit.

    ``columns`` holds ``time_to_collision``, ``headway``, ``collision`` and ``off_road``.
    """
    collision, off_road = columns["collision"] > 0, columns["off_road"] > 0
    return Truth(
        episode=episode,
        time=time,
        time_to_collision=np.asarray(columns["time_to_collision"], np.float64),
        headway=np.asarray(columns["headway"], np.float64),
        collision=collision,
        off_road=off_road,
        until_collision=seconds_until(collision, episode, time),
        until_off_road=seconds_until(off_road, episode, time),
        until_cut=seconds_until(truncated, episode, time),
    )


@dataclass(frozen=True)
class Question:
    """A yes-or-no question with its true answers ``(N,)``."""

    name: str
    positive: Bools  # yes: dangerous
    known: Bools  # whether the record tells


def questions(truth: Truth, horizon: float, time_to_collision: float) -> dict[str, Question]:
    """What a score should tell, by key; ``horizon`` is k and ``time_to_collision`` is t [s].

    Keys: ``"collision"``, ``"off_road"``, ``"event"`` (either of the two), ``"ahead"`` (either, but
    frames that show it already are left out) and ``"time_to_collision"``.
    """

    def within(name: str, until: Floats) -> Question:
        positive = until <= horizon
        return Question(name, positive, positive | (truth.until_cut >= horizon))

    k, t = f"within {horizon:g} s", f"under {time_to_collision:g} s"
    event = within(f"collision or off-road {k}", truth.until_event)
    shown = truth.until_event <= 0
    near = truth.time_to_collision < time_to_collision
    return {
        "event": event,
        "time_to_collision": Question(f"time to collision {t}", near, np.ones(len(near), bool)),
        "collision": within(f"collision {k}", truth.until_collision),
        "off_road": within(f"off-road {k}", truth.until_off_road),
        "ahead": Question(
            f"collision or off-road ahead, {k}", event.positive & ~shown, event.known & ~shown
        ),
    }


def calm(truth: Truth, horizon: float, time_to_collision: float) -> Bools:
    """Frames ``(N,)`` in which there is nothing to warn of.

    Nothing is hit within ``2 t``, the headway is over 0.8 s, and no collision or departure from
    the road follows within ``k + 1 s`` (which must be on record).
    """
    ahead = horizon + 1.0
    return (
        (truth.time_to_collision > 2 * time_to_collision)
        & (truth.headway > CALM_HEADWAY)
        & (truth.until_event > ahead)
        & (truth.until_cut >= ahead)
    )
