"""Recorded drives as one flat stream of rows, sampled by a single gather.

Time convention (DreamerV3's): row t is "on arriving at observation t".  An episode of T steps has
T + 1 rows; ``action`` of a row is the one that *led* there, ``reward`` and ``cost`` came with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from vlsafe_agents.common.border import Array
from vlsafe_agents.data.batches import SequenceBatch, TransitionBatch
from vlsafe_agents.data.drawing import check_rng, over_rows, prefer, starts_with
from vlsafe_agents.data.episode import (
    CostMode,
    Episode,
    EpisodeList,
    check_cost_mode,
    episodes_of,
)
from vlsafe_agents.data.histories import Histories, Source
from vlsafe_agents.data.paging import take
from vlsafe_agents.data.rows import (
    FlatRows,
    TrainingCosts,
    check_spaces,
    check_values,
    episode_mask,
    episode_of,
    flatten,
    labelled_episodes,
    matching_names,
    stacked_rows,
    within_limit,
)
from vlsafe_agents.data.stream import Stream
from wrappers.checks import one_number, whole_number

__all__ = ["CostMode", "Episode", "EpisodeDataset", "SequenceBatch", "TransitionBatch"]


ENCODED = "<encoded>"  # the name of observations that have been through an encoder


class EpisodeDataset:
    """Recorded episodes to train from.

    Build it with :meth:`from_minari` or :meth:`from_arrays`.  ``observation_space`` is what an
    agent sees: :meth:`select` narrows the stored images and vectors to one of them.  A view made
    by :meth:`select` or :meth:`split` shares all memory with its parent.
    """

    def __init__(
        self,
        rows: FlatRows,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        cost: CostMode = "vlm",
        episode_ids: Sequence[int] | Array | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Wrap flat rows; ``episode_ids`` restricts the view to some of the episodes."""
        check_cost_mode(cost)
        check_spaces(rows, observation_space, action_space)
        self.observation_space = observation_space
        self.action_space = action_space
        self.cost_mode = cost
        self.metadata = dict(metadata or {})
        self._flat = rows
        total = len(rows.starts) - 1
        self.episode_ids = np.arange(total) if episode_ids is None else np.asarray(episode_ids)
        if len(self.episode_ids) == 0:
            raise ValueError("the data set holds no episode; collect some with `vlsafe collect`")
        self._stream = Stream(rows.starts, self.episode_ids)
        self._branched = np.array([branch is not None for branch in rows.branches], bool)  # (E,)
        self._costs = TrainingCosts(rows, self._stream, cost)
        self._unsafe: dict[int, Array] = {}  # starts of sequences by their length

    @classmethod
    def from_minari(
        cls,
        id_or_path: str | Path,
        cost: CostMode | None = None,
        cache: bool = True,
        cost_key: str | None = None,
        observation_space: gym.Space[Any] | None = None,
    ) -> EpisodeDataset:
        """Open a Minari data set by id, or by the folder that holds it (or that holds only it).

        Observations are arrays or a ``Dict`` of arrays under any names; one without a name is
        called "image" if it is uint8 with two to four axes, else "vector".  ``cost_key`` names the
        info that is the environment's cost ("terms/hit" within a dictionary); without it that is
        ``env_cost``, or else ``cost``.  Data without costs open, too: see :meth:`require_cost`.
        ``cost`` None is "vlm" for data with safety scores and "env" for others.  With an
        ``observation_space`` only what an agent of that space sees is read, as :meth:`select`.

        With ``cache`` the images are laid out once in a flat file beside the data set and
        memory-mapped, so that several processes share their pages.  So is everything of a large
        data set (:mod:`~vlsafe_agents.data.index`), which then opens in seconds.  Where a scorer
        has labelled the data but not every frame, episodes with unlabelled frames are left out with
        a warning.

        Warns of observations outside of their space's bounds.

        Raises:
            FileNotFoundError: where there is no data set.
            ValueError: for data without a wholly labelled episode where ``cost`` needs safety
                scores, and for damaged files and impossible values, naming file, episode and
                remedy.
        """
        from vlsafe_agents.data.reading import read_flat_rows  # h5py and minari load slowly

        if cost is not None:
            check_cost_mode(cost)
        read = read_flat_rows(id_or_path, cache, cost_key, observation_space)
        rows, observation_space, action_space, metadata = read
        if cost is None:
            cost = "env" if np.isnan(rows.safety_score).all() else "vlm"
        labelled = labelled_episodes(rows, needed=cost != "env")
        return cls(rows, observation_space, action_space, cost, labelled, metadata)

    @classmethod
    def from_arrays(
        cls,
        episodes: Iterable[Episode],
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        cost: CostMode = "env",
    ) -> EpisodeDataset:
        """A data set in memory, of episodes.

        Flat arrays, as D4RL, DSRL and d3rlpy have them: :mod:`vlsafe_agents.data.flat`.

        Warns of observations outside of their space's bounds.

        Raises:
            ValueError: where an episode misfits the spaces, or where ``cost`` needs safety scores
                that it does not have.
            TypeError: for what are no episodes.
        """
        check_cost_mode(cost)
        given = episodes_of(episodes)
        rows = flatten(given, action_space)
        dataset = cls(rows, observation_space, action_space, cost)
        check_values(rows, observation_space)
        return dataset

    @property
    def num_episodes(self) -> int:
        """Episodes in this view."""
        return len(self.episode_ids)

    @property
    def num_steps(self) -> int:
        """Transitions in this view."""
        return self._stream.num_steps

    @property
    def num_branches(self) -> int:
        """Episodes of this view that branch from recorded ones; see ``data.branching``."""
        return int((~self.driven).sum())

    @property
    def driven(self) -> npt.NDArray[np.bool_]:
        """Which episodes ``(E',)`` of this view are recorded drives, and no branches of them."""
        return ~self._branched[self.episode_ids]

    @property
    def mean_steps(self) -> float:
        """Steps of a recorded episode, on average; of branches where there is nothing else."""
        lengths = np.diff(self._flat.starts)[self.episode_ids] - 1
        driven = self.driven
        return float(lengths[driven].mean() if driven.any() else lengths.mean())

    @property
    def has_safety_score(self) -> bool:
        """Whether a scorer has labelled the frames of this view."""
        return self._costs.scored

    @property
    def safety_scores(self) -> npt.NDArray[np.float32]:
        """Scores ``(R',)`` of all frames of this view, one episode after another; NaN for none."""
        return self._flat.safety_score[self._stream.all_rows()]

    def infos(self, names: Sequence[str]) -> dict[str, Array]:
        """Recorded infos of all frames of this view, each ``(R', ...)``, one episode after another.

        Raises:
            ValueError: for infos that an episode lacks.
        """
        found = self._flat.infos(names)
        missing = [name for name in names if name not in found]
        if missing:
            raise ValueError(f"the data set has no infos {', '.join(missing)} of every frame")
        rows = self._stream.all_rows()
        return {name: array[rows] for name, array in found.items()}

    def with_gate_scores(self, scores: Array) -> EpisodeDataset:
        """The same data with other scores ``(R',)`` in [0, 1] for a gate to learn.

        Costs and recorded safety scores stay as they are.
        """
        column = np.full(len(self._flat.reward), np.nan, np.float32)
        column[self._stream.all_rows()] = scores
        rows = replace(self._flat, gate_score=column)
        return self._view(rows, self.observation_space, self.episode_ids)

    def within(self, cost_limit: float, who: str = "A cost limit") -> npt.NDArray[np.bool_]:
        """Which episodes ``(E',)`` are recorded drives that cost at most so much, undiscounted.

        Args:
            who: asks, as messages say.

        Raises:
            ValueError: for data without costs, and where there is none, with the least cost.
        """
        self.require_cost(who)
        return within_limit(self.episode_costs, self.driven, cost_limit)

    def imitating(self, kept: npt.NDArray[np.bool_]) -> EpisodeDataset:
        """The same data, of whose episodes a behaviour prior learns those of a mask ``(E',)``."""
        imitated = np.zeros(len(self._flat.starts) - 1, bool)
        imitated[self.episode_ids] = kept
        rows = replace(self._flat, imitated=imitated)
        return self._view(rows, self.observation_space, self.episode_ids)

    @property
    def has_cost(self) -> bool:
        """Whether the costs of this view are known; see :meth:`require_cost`."""
        return self._costs.known

    def require_cost(self, who: str) -> None:
        """Raise ``ValueError``, with what to do, where ``who`` needs costs and there are none."""
        if not self.has_cost:
            raise ValueError(
                f"{who} needs costs, and the data set has none: name the info that is the cost "
                "(from_minari(..., cost_key=...)), record it again with info['cost'], or have the "
                "frames scored (`vlsafe label`) and use cost='vlm'"
            )

    @property
    def episode_costs(self) -> npt.NDArray[np.float64]:
        """Cost ``(E',)`` of each episode of this view, undiscounted; NaN where it is not known."""
        position = np.zeros(len(self._flat.starts) - 1, np.int64)
        position[self.episode_ids] = np.arange(self.num_episodes)
        sums = np.zeros(self.num_episodes)
        for rows in self._stream.chunks():
            arrived = rows[~self._stream.is_first(rows)]
            np.add.at(sums, position[self._stream.episode(arrived)], self._costs.at(arrived))
        return sums

    def where(self, kept: npt.NDArray[np.bool_]) -> EpisodeDataset:
        """The episodes of this view that a mask ``(E',)`` keeps, sharing all memory.

        Raises:
            ValueError: for a mask of another length, or one that keeps none.
        """
        kept = episode_mask(kept, self.num_episodes)
        return self._view(self._flat, self.observation_space, self.episode_ids[kept])

    @property
    def unsafe_share(self) -> float:
        """Share of steps with a cost by simulator truth; NaN where that was not recorded."""
        costly = 0
        for rows in self._stream.chunks():
            arrived = self._flat.env_cost[rows[~self._stream.is_first(rows)]]
            if np.isnan(arrived).any():
                return float("nan")
            costly += int((arrived > 0).sum())
        return costly / self.num_steps

    @property
    def episodes(self) -> Sequence[Episode]:
        """The episodes of this view, each built when it is asked for."""
        return EpisodeList(self.episode, self.num_episodes)

    def select(self, observation_space: gym.Space[Any]) -> EpisodeDataset:
        """The same data as an agent with this observation space sees them.

        A ``Dict`` keeps its keys; a ``Box`` selects the one stored observation of its shape and
        type.

        Raises:
            ValueError: when the data hold nothing of the kind.
            TypeError: for what is no space.
        """
        if not isinstance(observation_space, gym.Space):
            raise TypeError(f"observation_space is {observation_space!r}, no Gymnasium space")
        stored = list(self._flat.obs)
        names = matching_names(self.observation_space, observation_space, stored)
        obs = {name: self._flat.obs[kept] for name, kept in names.items()}
        return self._view(replace(self._flat, obs=obs), observation_space, self.episode_ids)

    def encoded(
        self, encode: Callable[[dict[str, Array]], Array], size: int, chunk: int = 256
    ) -> EpisodeDataset:
        """The same data with one float32 vector ``(size,)``, `ENCODED`, for all that was observed.

        Args:
            encode: vectors ``(chunk, size)`` for observations ``(chunk, ...)`` by name; always as
                many, since what comes of one may depend in its last bits on how many there are.
        """
        vectors = np.zeros((len(self._flat.reward), size), np.float32)
        total = self._stream.num_rows
        for begin in range(0, total, chunk):
            rows = self._stream.rows(np.arange(begin, min(begin + chunk, total)))
            filled = np.resize(rows, chunk)
            observed = {name: array[filled] for name, array in self._flat.obs.items()}
            vectors[rows] = encode(observed)[: len(rows)]
        space = gym.spaces.Dict({ENCODED: gym.spaces.Box(-np.inf, np.inf, (size,), np.float32)})
        return self._view(replace(self._flat, obs={ENCODED: vectors}), space, self.episode_ids)

    def split(self, share: float, seed: int = 0) -> tuple[EpisodeDataset, EpisodeDataset]:
        """Two views: the rest, and a random ``share`` of the episodes held out for validation.

        Raises:
            ValueError: unless both would hold an episode.
        """
        share = one_number(share, "share", low=0.0, high=1.0)
        seed = whole_number(seed, "seed", low=0)
        held = round(share * self.num_episodes)
        if not 0 < held < self.num_episodes:
            raise ValueError(
                f"holding out a share of {share} of {self.num_episodes} episodes leaves one side "
                "empty; choose another share or collect more episodes"
            )
        chosen = np.random.default_rng(seed).permutation(self.num_episodes)[:held]
        mask = np.zeros(self.num_episodes, bool)
        mask[chosen] = True
        kept, out = self.episode_ids[~mask], self.episode_ids[mask]
        return (
            self._view(self._flat, self.observation_space, kept),
            self._view(self._flat, self.observation_space, out),
        )

    def sample(
        self,
        batch_size: int,
        length: int,
        rng: np.random.Generator,
        unsafe_ends: float = 0.0,
        context: int = 0,
    ) -> SequenceBatch:
        """Sequences that start anywhere in the stream and may run across episode borders.

        A share ``unsafe_ends`` of them is drawn from those in which an episode ends with a cost, if
        there are any; averages with ``weight`` are still those of the data.  Each has ``context``
        more rows in front, those that come before it in the stream; before the stream's first row,
        which begins an episode, stand its last ones.

        Raises:
            ValueError: when the stream is shorter than ``length``, for a share outside [0, 1] and
                for sizes below 1.
            TypeError: for another ``rng``.
        """
        unsafe_ends = one_number(unsafe_ends, "unsafe_ends", low=0.0, high=1.0)
        batch_size = whole_number(batch_size, "batch_size", low=1)
        length = whole_number(length, "length", low=1)
        context = whole_number(context, "context", low=0)
        check_rng(rng)
        total = self._stream.num_rows
        last_start = total - length
        if last_start < 0:
            raise ValueError(
                f"cannot take sequences of {length} rows from a data set of {total}; "
                "collect more, or take shorter sequences"
            )
        start, weight = rng.integers(0, last_start + 1, batch_size), None
        if unsafe_ends:
            unsafe = self._unsafe_starts(length)
            start, weights = prefer(start, unsafe, last_start + 1, unsafe_ends, rng)
            weight = over_rows(weights, context + length)
        places = start[:, None] + np.arange(-context, length)  # (B, C + T)
        return self.gather(self._stream.rows(places % total), weight)

    def _unsafe_starts(self, length: int) -> Array:
        """Starts of the sequences of ``length`` rows in which an episode ends with a cost."""
        if length not in self._unsafe:
            rows = self._stream.all_rows()
            ends = self._flat.is_terminal[rows]
            ends[ends] = self._costs.at(rows[ends]) > 0
            self._unsafe[length] = starts_with(ends, length)
        return self._unsafe[length]

    def gather(self, rows: npt.NDArray[np.int64], weight: Array | None = None) -> SequenceBatch:
        """The batch of these flat row numbers ``(B, T)``."""
        flat = self._flat
        episode = self._stream.episode(rows)
        is_branch = self._branched[episode]
        return SequenceBatch(
            obs={name: take(array, rows) for name, array in flat.obs.items()},
            # the row before an episode's first is an episode's last (row -1 wraps): a zero action
            action=flat.next_action[rows - 1],
            next_action=flat.next_action[rows],
            reward=flat.reward[rows],
            cost=self._costs.at(rows),
            safety_score=flat.safety_score[rows],
            is_first=self._stream.is_first(rows),
            is_terminal=flat.is_terminal[rows],
            has_action=self._stream.has_action(rows),
            weight=np.ones(rows.shape, np.float32) if weight is None else weight,
            gate_score=None if flat.gate_score is None else flat.gate_score[rows],
            is_branch=is_branch,
            imitated=~is_branch if flat.imitated is None else ~is_branch & flat.imitated[episode],
        )

    def sample_transitions(
        self, batch_size: int, rng: np.random.Generator, frame_stack: int = 1
    ) -> TransitionBatch:
        """Single steps, uniformly over all steps of this view.

        With a ``frame_stack`` each observation has those before it in its episode in front, along
        the last axis, and zeros from before the episode, as in SB3's ``VecFrameStack``.

        Raises:
            ValueError: for a size below 1.
            TypeError: for another ``rng``.
        """
        batch_size = whole_number(batch_size, "batch_size", low=1)
        frame_stack = whole_number(frame_stack, "frame_stack", low=1)
        check_rng(rng)
        rows = self._stream.acting_rows(rng.integers(0, self.num_steps, batch_size))  # (B,)
        flat = self._flat
        return TransitionBatch(
            obs=stacked_rows(flat, rows, frame_stack),
            action=flat.next_action[rows],
            reward=flat.reward[rows + 1],
            cost=self._costs.at(rows + 1),
            safety_score=flat.safety_score[rows],
            next_obs=stacked_rows(flat, rows + 1, frame_stack),
            terminated=flat.is_terminal[rows + 1],
        )

    def sample_starts(
        self, batch_size: int, rng: np.random.Generator, frame_stack: int = 1
    ) -> dict[str, Array]:
        """First observations ``(B, ...)`` of episodes, uniformly over those of this view.

        Raises:
            ValueError, TypeError: as :meth:`sample_transitions`.
        """
        batch_size = whole_number(batch_size, "batch_size", low=1)
        frame_stack = whole_number(frame_stack, "frame_stack", low=1)
        check_rng(rng)
        numbers = self.episode_ids[rng.integers(0, self.num_episodes, batch_size)]
        return stacked_rows(self._flat, self._flat.starts[numbers], frame_stack)

    def histories(self) -> Histories:
        """Parts of the episodes of this view, with what was still earned and paid at each step."""
        return Histories([Source(self._flat, self._stream, self._costs)])

    def mean_discounted_steps(self, gamma: float) -> float:
        """Mean over episodes of the sum of ``gamma**t`` over their steps.

        An episode that was cut off counts as one that would go on for ever; with ``gamma`` 1 that
        is infinite.
        """
        starts = self._flat.starts
        steps = (starts[1:] - starts[:-1] - 1)[self.episode_ids].astype(np.float64)
        ended = self._flat.is_terminal[starts[1:] - 1][self.episode_ids]
        steps[~ended] = np.inf
        if gamma == 1.0:
            return float(steps.mean())
        return float(((1.0 - gamma**steps) / (1.0 - gamma)).mean())

    def episode(self, index: int) -> Episode:
        """The episode at ``index`` of this view.

        Raises:
            IndexError: where there is none.
        """
        return episode_of(self._flat, self._number(index))

    def episode_batch(self, index: int) -> SequenceBatch:
        """All rows of one episode as a batch of one sequence ``(1, T + 1, ...)``.

        Raises:
            IndexError: where there is no such episode.
        """
        number = self._number(index)
        begin, end = self._flat.starts[number : number + 2]
        return self.gather(np.arange(begin, end)[None])

    def _number(self, index: int) -> int:
        if not -self.num_episodes <= index < self.num_episodes:
            raise IndexError(f"there is no episode {index} in a data set of {self.num_episodes}")
        return int(self.episode_ids[index])

    def _view(
        self, rows: FlatRows, observation_space: gym.Space[Any], episode_ids: Sequence[int] | Array
    ) -> EpisodeDataset:
        return EpisodeDataset(
            rows, observation_space, self.action_space, self.cost_mode, episode_ids, self.metadata
        )

    def __repr__(self) -> str:
        return (
            f"EpisodeDataset({self.num_episodes} episodes, {self.num_steps} steps, "
            f"obs={sorted(self._flat.obs)}, cost={self.cost_mode!r})"
        )
