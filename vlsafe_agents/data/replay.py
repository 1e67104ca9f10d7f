"""What an agent has driven itself, kept to learn from while it goes on driving.

Rows follow the convention of :mod:`~vlsafe_agents.data.dataset`: row t is "on arriving at
observation t", an episode of T steps has T + 1 of them, and ``action``, ``reward`` and ``cost`` of
a row led there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from vlsafe_agents.common.border import Array, action_dtype, blank_actions
from vlsafe_agents.data.batches import SequenceBatch
from vlsafe_agents.data.drawing import over_rows, prefer, starts_with
from vlsafe_agents.data.episode import Episode
from wrappers.checks import whole_number

_FIRST_ROWS = 1024  # of each environment; memory then grows twofold, up to the capacity


Piece = tuple[Array, Array, Mapping[str, Array]]  # first rows, rows after the last, what they hold


class Replay:
    """Rows of all episodes, finished ones and running ones: one ring for each environment.

    Memory grows with what is stored.  Where a ring is full, its oldest rows go.

    Args:
        capacity: most rows, of all environments together.
        n_envs: environments that are driven side by side.
        observation_spaces: what is seen, by name.

    Raises:
        ValueError: for a capacity of less than two rows for each environment, and for spaces of
            actions that cannot be stored.
    """

    def __init__(
        self,
        capacity: int,
        n_envs: int,
        observation_spaces: Mapping[str, gym.Space[Any]],
        action_space: gym.Space[Any],
    ) -> None:
        capacity = whole_number(capacity, "buffer_size", "replay", low=2 * n_envs)
        self.capacity, self.n_envs, self.action_space = capacity // n_envs, n_envs, action_space
        self._blank = blank_actions(1, action_space)[0]
        self._end = np.zeros(n_envs, np.int64)  # rows ever added; the newest is at end - 1
        kinds: dict[str, tuple[tuple[int, ...], Any]] = {
            f"obs/{name}": (space.shape or (), space.dtype)
            for name, space in observation_spaces.items()
        }
        kinds["action"] = action_space.shape or (), action_dtype(action_space)
        kinds |= {name: ((), np.float32) for name in ("reward", "cost", "safety_score")}
        kinds |= {name: ((), bool) for name in ("is_first", "is_terminal", "has_action")}
        rows = min(_FIRST_ROWS, self.capacity)
        self._rows = {
            name: np.zeros((n_envs, rows, *shape), dtype) for name, (shape, dtype) in kinds.items()
        }

    @property
    def num_rows(self) -> int:
        """Rows that are stored."""
        return int(self._filled().sum())

    @property
    def num_steps(self) -> int:
        """Steps that are stored."""
        return int(self._rows["has_action"].sum())

    @property
    def row_bytes(self) -> int:
        """Size of a row in memory."""
        return sum(a.itemsize * int(np.prod(a.shape[2:])) for a in self._rows.values())

    # --- storing ----------------------------------------------------------------------------------

    def begin(self, slot: int, obs: Mapping[str, Array], safety_score: float = np.nan) -> None:
        """Start an episode in environment ``slot``; one that runs there is cut off."""
        self._add(slot, obs, self._blank, 0.0, 0.0, safety_score, first=True, terminal=False)

    def add(
        self,
        slot: int,
        obs: Mapping[str, Array],
        action: Any,
        reward: float,
        cost: float,
        safety_score: float = np.nan,
        terminated: bool = False,
    ) -> None:
        """Add a step: the action, what came of it, and what is seen then."""
        self._rows["has_action"][slot, (self._end[slot] - 1) % self._length] = True
        self._add(slot, obs, action, reward, cost, safety_score, first=False, terminal=terminated)

    def _add(
        self,
        slot: int,
        obs: Mapping[str, Array],
        action: Any,
        reward: float,
        cost: float,
        safety_score: float,
        first: bool,
        terminal: bool,
    ) -> None:
        if self._end[slot] == self._length < self.capacity:
            self._grow()
        at, rows = self._end[slot] % self._length, self._rows
        for name, value in obs.items():
            rows[f"obs/{name}"][slot, at] = value
        rows["action"][slot, at] = action
        rows["reward"][slot, at], rows["cost"][slot, at] = reward, cost
        rows["safety_score"][slot, at] = safety_score
        rows["is_first"][slot, at], rows["is_terminal"][slot, at] = first, terminal
        rows["has_action"][slot, at] = False
        self._end[slot] += 1

    @property
    def _length(self) -> int:
        """Rows that each ring has room for."""
        return self._rows["reward"].shape[1]

    def _grow(self) -> None:
        """Twice the room; no ring has come round before it is as long as it may be."""
        more = min(self._length, self.capacity - self._length)
        for name, array in self._rows.items():
            room = np.zeros((self.n_envs, more, *array.shape[2:]), array.dtype)
            self._rows[name] = np.concatenate([array, room], 1)

    def _filled(self) -> npt.NDArray[np.int64]:
        """Rows stored of each environment ``(n_envs,)``."""
        return np.minimum(self._end, self._length)

    # --- learning ---------------------------------------------------------------------------------

    def holds(self, length: int, context: int = 0) -> bool:
        """Whether there is a sequence of so many rows to :meth:`sample`."""
        return bool(self._starts(length, context)[0].any())

    def _starts(self, length: int, context: int) -> tuple[Array, Array]:
        """How many sequences can begin in each ring, and the first row where one can.

        A ring that has come round begins in mid-episode, where no context stands before it.
        """
        filled = self._filled()
        skipped = np.where(self._end > filled, context, 0)
        return np.maximum(filled - length + 1 - skipped, 0), self._end - filled + skipped

    def sample(
        self,
        batch_size: int,
        length: int,
        rng: np.random.Generator,
        unsafe_ends: float = 0.0,
        context: int = 0,
    ) -> SequenceBatch:
        """Sequences that start anywhere and may run across episode borders, all as likely.

        Args:
            unsafe_ends: as :meth:`EpisodeDataset.sample`.
            context: rows in front of each, those that come before it; before an environment's first
                row of all, which begins an episode, that row stands again.

        Raises:
            ValueError: when no environment has been driven that long.
        """
        starts, begin = self._starts(length, context)  # of each environment
        before = np.concatenate(([0], np.cumsum(starts)))
        if not before[-1]:
            raise ValueError(
                f"no sequence of {length} rows has been driven yet; raise learning_starts"
            )
        chosen, weight = rng.integers(before[-1], size=batch_size), None
        if unsafe_ends:
            unsafe = self._unsafe_starts(length, starts, begin)
            chosen, weights = prefer(chosen, unsafe, int(before[-1]), unsafe_ends, rng)
            weight = over_rows(weights, context + length)
        slot = np.searchsorted(before, chosen, "right") - 1  # (B,)
        first = begin[slot] + chosen - before[slot]
        rows = np.maximum(first[:, None] + np.arange(-context, length), 0)
        return self._gather(slot[:, None], rows % self._length, weight)

    def _unsafe_starts(self, length: int, starts: Array, begin: Array) -> Array:
        """Numbers of the sequences in which an episode ends with a cost, ring after ring."""
        found, before = [], 0
        for slot, count in enumerate(starts.tolist()):
            if count:
                rows = (begin[slot] + np.arange(count + length - 1)) % self._length
                ends = self._rows["is_terminal"][slot, rows] & (self._rows["cost"][slot, rows] > 0)
                found.append(before + starts_with(ends, length))
                before += count
        return np.concatenate(found)

    def _gather(self, slot: Array, at: Array, weight: Array | None = None) -> SequenceBatch:
        """The batch of places ``(B, T)`` in rings ``(B, 1)``."""
        rows = {name: array[slot, at] for name, array in self._rows.items()}
        next_action = self._rows["action"][slot, (at + 1) % self._length]
        next_action[~rows["has_action"]] = self._blank
        obs = {k.removeprefix("obs/"): rows.pop(k) for k in [*rows] if k.startswith("obs/")}
        weight = np.ones(at.shape, np.float32) if weight is None else weight
        none = np.zeros(at.shape, bool)
        return SequenceBatch(
            obs=obs, next_action=next_action, weight=weight, is_branch=none, imitated=~none, **rows
        )

    def episodes(self) -> list[Episode]:
        """What is stored, as episodes; running ones, and those without a beginning, count too.

        Episodes without a step are left out.
        """
        found = []
        for slot in range(self.n_envs):
            filled = int(self._filled()[slot])
            order = (self._end[slot] - filled + np.arange(filled)) % self._length
            rows = {name: array[slot, order] for name, array in self._rows.items()}
            starts = {0, *np.flatnonzero(rows["is_first"]).tolist(), filled}
            pieces = pairwise(sorted(starts))
            found += [_episode(rows, *piece) for piece in pieces if piece[1] - piece[0] > 1]
        return found

    # --- saving -----------------------------------------------------------------------------------

    @property
    def rows_added(self) -> npt.NDArray[np.int64]:
        """Rows ever added of each environment ``(n_envs,)``, forgotten ones too."""
        return self._end

    def cut(self, begin: Array, end: Array) -> dict[str, Array]:
        """Rows ``begin`` to ``end`` of each environment, one environment after the other.

        Args:
            begin: ``(n_envs,)``, as :attr:`rows_added` counts them; none of them forgotten.

        Returns:
            arrays ``(sum of end - begin, ...)``.
        """
        places = [np.arange(b, e) % self._length for b, e in zip(begin, end, strict=True)]
        return {
            name: np.concatenate([array[n, at] for n, at in enumerate(places)])
            for name, array in self._rows.items()
            if name != "has_action"  # which the row after tells
        }

    def restore(self, end: Array, pieces: Iterable[Piece]) -> None:
        """Become what held ``end`` rows, of which ``pieces`` are all that are not forgotten.

        Args:
            end: as :attr:`rows_added`.
            pieces: oldest first, each ``begin``, ``end`` and what :meth:`cut` gave.

        Raises:
            ValueError: for pieces of other spaces.
        """
        self._end = np.array(end, np.int64)
        most = int(np.minimum(self._end, self.capacity).max(initial=0))
        room = max(most, min(_FIRST_ROWS, self.capacity))
        for name, array in self._rows.items():
            self._rows[name] = np.zeros((self.n_envs, room, *array.shape[2:]), array.dtype)
        for begin, until, rows in pieces:
            borders = np.concatenate(([0], np.cumsum(until - begin)))
            for slot, (first, last) in enumerate(zip(begin, until, strict=True)):
                at = np.arange(first, last) % room
                for name, values in rows.items():
                    _check_kind(name, values[None], self._rows[name])
                    self._rows[name][slot, at] = values[borders[slot] : borders[slot + 1]]
        for slot, filled in enumerate(self._filled()):
            order = (self._end[slot] - filled + np.arange(filled)) % room
            self._rows["has_action"][slot, order[:-1]] = ~self._rows["is_first"][slot, order[1:]]

    def state_dict(self) -> dict[str, Array]:
        """All of it as arrays, without empty room."""
        most = int(self._filled().max(initial=0))
        return {"end": self._end, **{k: array[:, :most] for k, array in self._rows.items()}}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Inverse of :meth:`state_dict`, for a replay of the same capacity, or of a larger one.

        Raises:
            ValueError: for another number of environments, other spaces, or no room.
        """
        if set(state) != {"end", *self._rows}:
            raise ValueError(f"a replay holds {sorted(self._rows)}, not {sorted(state)}")
        for name, array in self._rows.items():
            stored = state[name]
            if len(stored) != self.n_envs:
                raise ValueError(
                    f"the replay was filled by {len(stored)} environments side by side; give as "
                    f"many, not {self.n_envs}"
                )
            _check_kind(name, stored, array)
        end, rows = state["end"], state["reward"].shape[1]
        if rows > self.capacity or (rows < self.capacity and (end > rows).any()):
            raise ValueError(
                f"the stored replay has room for {rows} rows of each environment, this one for "
                f"{self.capacity}; give the same buffer_size"
            )
        room = max(rows, min(_FIRST_ROWS, self.capacity))
        self._end = np.array(end, np.int64)
        for name, array in self._rows.items():
            self._rows[name] = np.zeros((self.n_envs, room, *array.shape[2:]), array.dtype)
            self._rows[name][:, :rows] = state[name]

    def __repr__(self) -> str:
        return f"Replay({self.num_steps} steps in {self.n_envs} environments)"


def _check_kind(name: str, stored: Array, array: Array) -> None:
    """Raise ``ValueError`` unless values ``(N, T, ...)`` of a file fit an array of the replay."""
    if (stored.shape[2:], stored.dtype) != (array.shape[2:], array.dtype):
        raise ValueError(
            f"{name} is {stored.dtype}{stored.shape[2:]} in the stored replay, but "
            f"{array.dtype}{array.shape[2:]} in this environment"
        )


def _episode(rows: Mapping[str, Array], begin: int, end: int) -> Episode:
    score = rows["safety_score"][begin:end]
    return Episode(
        obs={k.removeprefix("obs/"): v[begin:end] for k, v in rows.items() if k[:4] == "obs/"},
        action=rows["action"][begin + 1 : end],
        reward=rows["reward"][begin + 1 : end],
        env_cost=rows["cost"][begin:end],
        safety_score=None if np.isnan(score).any() else score,
        terminated=bool(rows["is_terminal"][end - 1]),
        driver="agent",
    )
