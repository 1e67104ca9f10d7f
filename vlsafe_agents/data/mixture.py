"""Several sources of sequences as one, each drawn from with a weight of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from vlsafe_agents.common.border import Array
from vlsafe_agents.data.accepted import check_dataset
from vlsafe_agents.data.batches import SequenceBatch, SequenceSource, TransitionBatch
from vlsafe_agents.data.dataset import EpisodeDataset
from vlsafe_agents.data.episode import Episode
from vlsafe_agents.data.histories import Histories
from vlsafe_agents.data.rows import episode_mask
from wrappers.checks import one_number


@dataclass(frozen=True)
class Mixture:
    """Sequences of several sources, such as a replay and recorded drives; none runs across two.

    Args:
        weights: shares of the sequences, which sum to 1.
        exact: take the same number from a source in every batch, as near to its share as whole
            numbers are, instead of drawing each sequence's source.
    """

    sources: Sequence[SequenceSource]
    weights: Sequence[float] | Array
    exact: bool = False

    def counts(self, batch_size: int, rng: np.random.Generator) -> list[int]:
        """How many of a batch come from each source."""
        if not self.exact:
            return [int(count) for count in rng.multinomial(batch_size, self.weights)]
        ends = [round(batch_size * share) for share in np.cumsum(self.weights)[:-1].tolist()]
        return np.diff([0, *ends, batch_size]).tolist()

    def sample(
        self,
        batch_size: int,
        length: int,
        rng: np.random.Generator,
        unsafe_ends: float = 0.0,
        context: int = 0,
    ) -> SequenceBatch:
        """As :meth:`EpisodeDataset.sample`."""
        counts = self.counts(batch_size, rng)
        batches = [
            source.sample(count, length, rng, unsafe_ends, context)
            for source, count in zip(self.sources, counts, strict=True)
            if count
        ]
        return SequenceBatch.joined(batches)


class MixedDataset(EpisodeDataset):
    """Draws each sequence from one of several data sets, with these weights.

    Episodes are numbered through all of them in order.  Batches hold the weights as they are drawn:
    averages are those of the mix, not of all steps.

    Branches of recorded drives (:mod:`~vlsafe_agents.data.branching`) are mixed in so:
    ``MixedDataset([drives, branches], [0.75, 0.25])``.  Batches say which rows are theirs.

    Args:
        datasets: with the same actions and observations.
        weights: shares of the sequences, at least 0; they are divided by their sum.  None: in
            proportion to the data sets' steps.

    Raises:
        TypeError: for what is no data set.
        ValueError: for other weights, spaces or no data set at all.
    """

    def __init__(
        self, datasets: Iterable[EpisodeDataset], weights: Iterable[float] | None = None
    ) -> None:
        parts = [check_dataset(part) for part in datasets]
        if not parts:
            raise ValueError("a mix needs a data set; give a list of them")
        first = parts[0]
        for number, part in enumerate(parts):
            if part.action_space != first.action_space:
                raise ValueError(
                    f"data set {number} of the mix has actions {part.action_space}, the first "
                    f"{first.action_space}; mix data of one environment"
                )
        self.observation_space, self.action_space = first.observation_space, first.action_space
        self.parts = [first, *(part.select(self.observation_space) for part in parts[1:])]
        self.weights = _shares(weights, self.parts)
        self._mixture = Mixture(self.parts, self.weights)
        self.cost_mode = first.cost_mode
        self.metadata = _common([part.metadata for part in self.parts])
        self._before = np.cumsum([0, *(part.num_episodes for part in self.parts)])
        self.episode_ids = np.arange(self._before[-1])

    @property
    def num_episodes(self) -> int:
        """Episodes of all data sets."""
        return int(self._before[-1])

    @property
    def num_steps(self) -> int:
        """Transitions of all data sets."""
        return sum(part.num_steps for part in self.parts)

    @property
    def mean_steps(self) -> float:
        """As :attr:`EpisodeDataset.mean_steps`, of all episodes together."""
        counts = [part.num_episodes - part.num_branches for part in self.parts]
        if not any(counts):
            counts = [part.num_episodes for part in self.parts]
        return float(np.average([part.mean_steps for part in self.parts], weights=counts))

    @property
    def has_safety_score(self) -> bool:
        """Whether a scorer has labelled all of them."""
        return all(part.has_safety_score for part in self.parts)

    @property
    def has_cost(self) -> bool:
        """Whether the costs of all of them are known."""
        return all(part.has_cost for part in self.parts)

    @property
    def safety_scores(self) -> npt.NDArray[np.float32]:
        """As :attr:`EpisodeDataset.safety_scores`, one data set after another."""
        return np.concatenate([part.safety_scores for part in self.parts])

    def infos(self, names: Sequence[str]) -> dict[str, Array]:
        """As :meth:`EpisodeDataset.infos`, one data set after another."""
        found = [part.infos(names) for part in self.parts]
        return {name: np.concatenate([infos[name] for infos in found]) for name in names}

    def with_gate_scores(self, scores: Array) -> MixedDataset:
        """As :meth:`EpisodeDataset.with_gate_scores`, one data set after another."""
        ends = np.cumsum([len(part.safety_scores) for part in self.parts])
        shares = zip(self.parts, np.split(scores, ends[:-1]), strict=True)
        return MixedDataset((part.with_gate_scores(own) for part, own in shares), self.weights)

    @property
    def episode_costs(self) -> npt.NDArray[np.float64]:
        """As :attr:`EpisodeDataset.episode_costs`, one data set after another."""
        return np.concatenate([part.episode_costs for part in self.parts])

    @property
    def driven(self) -> npt.NDArray[np.bool_]:
        """As :attr:`EpisodeDataset.driven`, one data set after another."""
        return np.concatenate([part.driven for part in self.parts])

    def imitating(self, kept: npt.NDArray[np.bool_]) -> MixedDataset:
        """As :meth:`EpisodeDataset.imitating`, one data set after another."""
        masks = np.split(kept, self._before[1:-1])
        parts = (part.imitating(own) for part, own in zip(self.parts, masks, strict=True))
        return MixedDataset(parts, self.weights)

    def where(self, kept: npt.NDArray[np.bool_]) -> MixedDataset:
        """As :meth:`EpisodeDataset.where`; a data set of which nothing is kept is left out.

        Raises:
            ValueError: as there, and where only data sets of weight 0 would be left.
        """
        kept = episode_mask(kept, self.num_episodes)
        masks = np.split(kept, self._before[1:-1])
        left = [
            (p, w, m) for p, w, m in zip(self.parts, self.weights, masks, strict=True) if m.any()
        ]
        return MixedDataset((p.where(m) for p, _, m in left), [w for _, w, _ in left])

    @property
    def unsafe_share(self) -> float:
        """Share of all their steps with a cost by simulator truth; NaN where not recorded."""
        steps = [part.num_steps for part in self.parts]
        return float(np.average([part.unsafe_share for part in self.parts], weights=steps))

    def select(self, observation_space: gym.Space[Any]) -> MixedDataset:
        """As :meth:`EpisodeDataset.select`, of each data set."""
        return MixedDataset((p.select(observation_space) for p in self.parts), self.weights)

    def encoded(
        self, encode: Callable[[dict[str, Array]], Array], size: int, chunk: int = 256
    ) -> MixedDataset:
        """As :meth:`EpisodeDataset.encoded`, of each data set."""
        return MixedDataset((p.encoded(encode, size, chunk) for p in self.parts), self.weights)

    def split(self, share: float, seed: int = 0) -> tuple[MixedDataset, MixedDataset]:
        """As :meth:`EpisodeDataset.split`, of each data set."""
        kept, out = zip(*(part.split(share, seed) for part in self.parts), strict=True)
        return MixedDataset(kept, self.weights), MixedDataset(out, self.weights)

    def sample(
        self,
        batch_size: int,
        length: int,
        rng: np.random.Generator,
        unsafe_ends: float = 0.0,
        context: int = 0,
    ) -> SequenceBatch:
        """As :meth:`EpisodeDataset.sample`; none runs from one data set into another."""
        return self._mixture.sample(batch_size, length, rng, unsafe_ends, context)

    def sample_transitions(
        self, batch_size: int, rng: np.random.Generator, frame_stack: int = 1
    ) -> TransitionBatch:
        """As :meth:`EpisodeDataset.sample_transitions`."""
        counts = self._mixture.counts(batch_size, rng)
        batches = [
            part.sample_transitions(count, rng, frame_stack)
            for part, count in zip(self.parts, counts, strict=True)
            if count
        ]
        return TransitionBatch.joined(batches)

    def sample_starts(
        self, batch_size: int, rng: np.random.Generator, frame_stack: int = 1
    ) -> dict[str, Array]:
        """As :meth:`EpisodeDataset.sample_starts`; data sets count as their steps do."""
        counts = self._mixture.counts(batch_size, rng)
        batches = [
            part.sample_starts(count, rng, frame_stack)
            for part, count in zip(self.parts, counts, strict=True)
            if count
        ]
        return {name: np.concatenate([one[name] for one in batches]) for name in batches[0]}

    def histories(self) -> Histories:
        """As :meth:`EpisodeDataset.histories`, drawn by the weights of the data sets."""
        return Histories.joined([part.histories() for part in self.parts], self.weights)

    def mean_discounted_steps(self, gamma: float) -> float:
        """As :meth:`EpisodeDataset.mean_discounted_steps`, by the weights of the data sets."""
        lengths = [part.mean_discounted_steps(gamma) for part in self.parts]
        return float(np.average(lengths, weights=self.weights))

    def gather(self, rows: Any, weight: Array | None = None) -> SequenceBatch:
        """Refused: a mix has no single stream of rows."""
        raise TypeError("a mix of data sets has no row numbers; gather from one of its `parts`")

    def episode(self, index: int) -> Episode:
        """As :meth:`EpisodeDataset.episode`."""
        part, inside = self._find(index)
        return part.episode(inside)

    def episode_batch(self, index: int) -> SequenceBatch:
        """As :meth:`EpisodeDataset.episode_batch`."""
        part, inside = self._find(index)
        return part.episode_batch(inside)

    def _find(self, index: int) -> tuple[EpisodeDataset, int]:
        if not -self.num_episodes <= index < self.num_episodes:
            raise IndexError(f"there is no episode {index} in a data set of {self.num_episodes}")
        index %= self.num_episodes
        number = int(np.searchsorted(self._before, index, "right")) - 1
        return self.parts[number], index - int(self._before[number])

    def __repr__(self) -> str:
        shares = ", ".join(f"{w:.3g}: {p!r}" for w, p in zip(self.weights, self.parts, strict=True))
        return f"MixedDataset({shares})"


def _shares(weights: Iterable[float] | None, parts: Sequence[EpisodeDataset]) -> Array:
    if weights is None:
        weights = [part.num_steps for part in parts]
    given = np.array([one_number(w, "a weight", "the mix", low=0.0) for w in weights])
    if len(given) != len(parts):
        raise ValueError(f"{len(given)} weights for {len(parts)} data sets; give one for each")
    if not given.sum():
        raise ValueError("all weights of the mix are 0; give one above 0")
    return given / given.sum()


def _common(metadata: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Entries on which all metadata agree."""
    first, *others = metadata
    return {k: v for k, v in first.items() if all(k in o and o[k] == v for o in others)}
