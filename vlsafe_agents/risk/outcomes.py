"""What came of actions in states: the table that a risk model learns from.

A row is one branch: from a state, an action was held for a moment, and then a macro-action, the
*tail*, drove on until the episode ended or the horizon was reached.  An *event* is an episode's
terminal step with a cost.  Where a judge was asked, the table also holds what it said of the frame
after every step, and a model learns from that instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from vlsafe_agents.common.border import Array
from vlsafe_agents.risk.judge import NO_FRAME, danger_ahead
from wrappers.checks import check_numbers
from wrappers.files import read_npz, write_npz

_COLUMNS = ("state", "action", "tail", "own", "event_time", "seconds", "reward")
_OBS = "obs."  # before the names of observations in a file
_REMEDY = "collect them again"
_NUMBERS = ("simulated", "drives", "drive_steps", "drive_events")
_OF_A_JUDGE = ("judge", "scores", "interval")


@dataclass(frozen=True)
class Outcomes:
    """N branches from S states.

    Raises:
        ValueError: for columns of different lengths, and for numbers that cannot be.
    """

    obs: dict[str, Array]  # each (S, ...): what was seen in the states
    state: npt.NDArray[np.int64]  # (N,) the state that each branch begins in
    action: Array  # (N,) int64 or (N, A) float32: held first
    tail: npt.NDArray[np.int64]  # (N,) which of ``tails`` drove on
    own: npt.NDArray[np.bool_]  # (N,) whether the action is the one with which the tail begins
    event_time: npt.NDArray[np.float32]  # (N,) [s] until the event; inf: there was none
    seconds: npt.NDArray[np.float32]  # (N,) [s] driven; inf: the episode was over, for good or bad
    reward: npt.NDArray[np.float32]  # (N,) sum of its rewards
    tails: tuple[str, ...]  # names of the macro-actions
    drive: npt.NDArray[np.int64]  # (S,) which of the drives each state is of, from 0 on
    simulated: int  # steps of all branches
    drives: int = 0  # episodes that were driven to come to the states
    drive_steps: int = 0  # their steps
    drive_events: int = 0  # of them that ended with a cost
    judge: str = ""  # who was asked (``Judge.name``); "": nobody
    scores: npt.NDArray[np.float32] | None = None  # (N, D) safety score after each step, NaN: none
    interval: float = 0.0  # [s] between two scores

    def __post_init__(self) -> None:
        states = {name: len(column) for name, column in self.obs.items()}
        states["drive"] = len(self.drive)
        if len(set(states.values())) != 1:
            raise ValueError(
                f"outcomes: observations and drives of {states} states; expected as many of each"
            )
        count = len(self.state)
        for name in _COLUMNS[1:]:
            if len(getattr(self, name)) != count:
                given = len(getattr(self, name))
                raise ValueError(f"outcomes: {name} has {given} rows for {count} branches")
        most = next(iter(states.values())) - 1
        check_numbers(self.state, "state", "outcomes", low=0, high=most)
        check_numbers(self.tail, "tail", "outcomes", low=0, high=len(self.tails) - 1)
        check_numbers(self.reward, "reward", "outcomes")
        for name in ("event_time", "seconds"):
            if not (getattr(self, name) > 0).all():
                raise ValueError(f"outcomes: {name} holds what is no time above 0 s; collect again")
        for name, column in self.obs.items():
            check_numbers(column, f"obs[{name!r}]", "outcomes")
        self._check_scores(count)

    def _check_scores(self, count: int) -> None:
        if (self.scores is None) != (not self.judge):
            what = "no scores" if self.scores is None else "scores"
            raise ValueError(f"outcomes: {what} by the judge {self.judge!r}; {_REMEDY}")
        if self.scores is None:
            return
        if self.scores.ndim != 2 or len(self.scores) != count or not self.interval > 0:
            raise ValueError(
                f"outcomes: scores {self.scores.shape}, {self.interval} s apart, for {count} "
                f"branches; {_REMEDY}"
            )
        given = self.scores[~np.isnan(self.scores) & (self.scores != NO_FRAME)]
        check_numbers(given, "scores", "outcomes", low=0, high=1)

    def __len__(self) -> int:
        """Branches."""
        return len(self.state)

    @property
    def num_states(self) -> int:
        """States S."""
        return len(next(iter(self.obs.values())))

    @property
    def events(self) -> int:
        """Branches with an event."""
        return int(np.isfinite(self.event_time).sum())

    @property
    def counts(self) -> dict[str, int]:
        """What they cost: all drives and branches, their steps and their events."""
        return {
            "states": self.num_states,
            "branches": len(self),
            "branch_events": self.events,
            "branch_steps": self.simulated,
            "drives": self.drives,
            "drive_steps": self.drive_steps,
            "drive_events": self.drive_events,
        }

    def known(self, horizon: float) -> npt.NDArray[np.bool_]:
        """Branches ``(N,)`` of which it is known whether there is an event within ``horizon`` [s].

        Those that were cut before, by a time limit, are left out.
        """
        return (self.event_time <= horizon) | (self.seconds >= horizon - 1e-6)

    def targets(self, horizon: float) -> npt.NDArray[np.float32]:
        """What a risk model learns of each branch ``(N,)``, NaN where it is not known.

        1 for an event within ``horizon`` [s], else 0; with a judge 1 - p of the worst frame.
        """
        if self.scores is None:
            found = (self.event_time <= horizon).astype(np.float32)
        else:
            found = danger_ahead(self.scores, max(1, round(horizon / self.interval)))
        return np.where(self.known(horizon), found, np.float32(np.nan))

    def check_judge(self, expected: str, where: object) -> None:
        """Raise ``ValueError`` for outcomes by another's word, naming ``where`` they are."""
        if self.judge != expected:
            own, other = (name or "the simulator" for name in (self.judge, expected))
            raise ValueError(
                f"{where}: these are outcomes by the word of {own}, not of {other}; keep them "
                f"apart, or {_REMEDY}"
            )

    def select(self, branches: Array) -> Self:
        """Some of the branches ``(N,)`` bool or numbers, with all states."""
        own = {f.name: getattr(self, f.name) for f in fields(self)}
        own |= {name: getattr(self, name)[branches] for name in _COLUMNS}
        if self.scores is not None:
            own["scores"] = self.scores[branches]
        return type(self)(**own)

    @classmethod
    def joined(cls, parts: Sequence[Outcomes]) -> Outcomes:
        """The branches of several tables with the same tails, observations and judge, in order.

        Raises:
            ValueError: where they differ, and for no table.
        """
        if not parts:
            raise ValueError("there are no outcomes to join; give some")
        first = parts[0]
        for part in parts:
            if part.tails != first.tails or part.obs.keys() != first.obs.keys():
                raise ValueError("outcomes of different tails or observations cannot be joined")
            part.check_judge(first.judge, "outcomes to be joined")
        before = np.cumsum([0, *(part.num_states for part in parts)])
        drives = np.cumsum([0, *(part.drives for part in parts)])
        own: dict[str, Any] = {
            name: np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS
        }
        own |= {name: sum(getattr(part, name) for part in parts) for name in _NUMBERS}
        own["state"] = np.concatenate([p.state + b for p, b in zip(parts, before, strict=False)])
        own["drive"] = np.concatenate([p.drive + d for p, d in zip(parts, drives, strict=False)])
        obs = {name: np.concatenate([part.obs[name] for part in parts]) for name in first.obs}
        if first.scores is not None:
            own |= {"judge": first.judge, "interval": first.interval}
            own["scores"] = np.concatenate(
                [part.scores for part in parts if part.scores is not None]
            )
        return cls(obs=obs, tails=first.tails, **own)

    def save(self, path: Path) -> None:
        """Write one ``.npz`` file."""
        arrays = {f"{_OBS}{name}": column for name, column in self.obs.items()}
        kept = [f.name for f in fields(self)[1:] if self.judge or f.name not in _OF_A_JUDGE]
        arrays |= {name: np.asarray(getattr(self, name)) for name in kept}
        write_npz(path, arrays)

    @classmethod
    def load(cls, path: Path) -> Outcomes:
        """Inverse of :meth:`save`; nothing in the file is run.

        Raises:
            ValueError: for a file that holds something else.
        """
        arrays = read_npz(path, "outcomes (.npz)", _REMEDY)
        judged = "judge" in arrays  # files without one do not mention it
        names = [f.name for f in fields(cls)[1:] if judged or f.name not in _OF_A_JUDGE]
        missing = [name for name in names if name not in arrays]
        if missing:
            raise ValueError(f"{path} has no {', '.join(missing)}: it holds no outcomes; {_REMEDY}")
        obs = {k.removeprefix(_OBS): x for k, x in arrays.items() if k.startswith(_OBS)}
        own: dict[str, Any] = {name: arrays[name] for name in names}
        own["tails"] = tuple(str(name) for name in own["tails"])
        own |= {name: int(own[name]) for name in _NUMBERS}
        if judged:
            own |= {"judge": str(own["judge"]), "interval": float(own["interval"])}
        return cls(obs=obs, **own)
