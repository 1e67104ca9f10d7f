"""What a data set gives to learners: sequences of rows, or single steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from vlsafe_agents.common.border import Array


@dataclass(frozen=True)
class SequenceBatch:
    """B sequences of T rows; index t means "on arriving at observation t"."""

    obs: dict[str, Array]  # each (B, T, ...)
    # (B, T) int64 or (B, T, A) float32: led to o_t; at is_first zeros, or Discrete's first action
    action: Array
    next_action: Array  # same shape: taken at o_t; valid where has_action
    reward: npt.NDArray[np.float32]  # (B, T), 0 at is_first
    cost: npt.NDArray[np.float32]  # (B, T), 0 at is_first; NaN in data without costs
    safety_score: npt.NDArray[np.float32]  # (B, T), of the frame o_t; NaN in unlabelled data
    is_first: npt.NDArray[np.bool_]  # (B, T)
    is_terminal: npt.NDArray[np.bool_]  # (B, T), terminated at o_t; a time-out is not terminal
    has_action: npt.NDArray[np.bool_]  # (B, T), False at an episode's last observation
    weight: npt.NDArray[np.float32]  # (B, T), how many times as often it would be drawn evenly
    # (B, T), what a gate is to learn instead of the safety score, see `with_gate_scores`
    gate_score: npt.NDArray[np.float32] | None = None
    # (B, T), of an episode that branches from a recorded one: its actions are no driver's choice;
    # None: of none
    is_branch: npt.NDArray[np.bool_] | None = None
    # (B, T), of a drive whose actions a behaviour prior learns, see `imitating`; None: all but
    # branches
    imitated: npt.NDArray[np.bool_] | None = None

    def cut(self, rows: slice) -> SequenceBatch:
        """The same sequences with these of their T rows only."""
        columns = {k: x for k, x in vars(self).items() if k != "obs" and x is not None}
        parts = {name: x[:, rows] for name, x in columns.items()}
        return SequenceBatch(obs={name: x[:, rows] for name, x in self.obs.items()}, **parts)

    @classmethod
    def joined(cls, batches: Sequence[SequenceBatch]) -> SequenceBatch:
        """The sequences of all batches, which are of one length, in order."""
        return cls(**_joined(batches))


@dataclass(frozen=True)
class TransitionBatch:
    """B single steps, for behaviour cloning and for model-free learners."""

    obs: dict[str, Array]  # each (B, ...)
    action: Array  # (B,) int64 or (B, A) float32: taken at obs
    reward: npt.NDArray[np.float32]  # (B,)
    cost: npt.NDArray[np.float32]  # (B,); NaN in data without costs
    safety_score: npt.NDArray[np.float32]  # (B,), of obs, not of the next one
    next_obs: dict[str, Array]  # each (B, ...)
    terminated: npt.NDArray[np.bool_]  # (B,)

    @classmethod
    def joined(cls, batches: Sequence[TransitionBatch]) -> TransitionBatch:
        """The steps of all batches, in order."""
        return cls(**_joined(batches))


class SequenceSource(Protocol):
    """What sequences are drawn from: recorded episodes, a replay, or a mix of them."""

    def sample(
        self,
        batch_size: int,
        length: int,
        rng: np.random.Generator,
        unsafe_ends: float = 0.0,
        context: int = 0,
    ) -> SequenceBatch:
        """So many sequences of ``length`` rows.

        Args:
            unsafe_ends: share of them in which an episode ends with a cost, where there are any.
            context: rows in front of each, those that come before it.
        """
        ...


def _joined(batches: Sequence[Any]) -> dict[str, Any]:
    """The columns of batches with the same observations, laid end to end."""
    parts: dict[str, Any] = {}
    for name, first in vars(batches[0]).items():
        columns = [getattr(batch, name) for batch in batches]
        if isinstance(first, dict):
            parts[name] = {key: np.concatenate([c[key] for c in columns]) for key in first}
        elif first is not None:
            parts[name] = np.concatenate(columns)
    return parts
