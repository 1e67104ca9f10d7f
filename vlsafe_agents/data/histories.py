"""Parts of recorded episodes, with what was still earned and paid from each step on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vlsafe_agents.common.border import Array
from vlsafe_agents.data.drawing import check_rng
from vlsafe_agents.data.paging import take
from vlsafe_agents.data.rows import FlatRows, TrainingCosts
from vlsafe_agents.data.stream import Rows, Stream
from wrappers.checks import whole_number


@dataclass(frozen=True)
class HistoryBatch:
    """B parts of episodes of up to K steps; a shorter one's last observation is repeated."""

    obs: dict[str, Array]  # each (B, K + 1, ...): before each step, and after the last
    action: Array  # (B, K) int64 or (B, K, A) float32: taken at obs
    reward: npt.NDArray[np.float32]  # (B, K), came of it
    cost: npt.NDArray[np.float32]  # (B, K)
    return_to_go: npt.NDArray[np.float32]  # (B, K), rewards from this step to the record's end
    cost_to_go: npt.NDArray[np.float32]  # (B, K)
    step: npt.NDArray[np.int64]  # (B, K), number of the step in its episode, from 0
    known: npt.NDArray[np.bool_]  # (B, K), False behind the end of a shorter part


def to_go(signal: Array, starts: Rows) -> npt.NDArray[np.float64]:
    """Sums (R,) of what later rows of the same episode hold; nothing follows the record's end.

    An episode that was cut off counts as far as it was recorded, without a guess of the rest.

    Args:
        signal: what came on arriving at each row (R,)
        starts: first row of each episode, then the number of rows (E + 1,)
    """
    summed = np.cumsum(signal, dtype=np.float64)
    ends = np.repeat(summed[starts[1:] - 1], np.diff(starts))
    return np.asarray(ends - summed)


class Source:
    """The steps of one view of the data, and sums over its E episodes.

    Args:
        flat: rows of all episodes
        stream: those of the view
        costs: their training costs
    """

    def __init__(self, flat: FlatRows, stream: Stream, costs: TrainingCosts) -> None:
        self._flat, self._costs = flat, costs
        self._rows = stream.all_rows()
        first = np.flatnonzero(stream.is_first(self._rows))
        self._starts = np.append(first, len(self._rows))
        self.steps = np.diff(self._starts) - 1  # (E,)
        self._to_go = [
            to_go(signal, self._starts)
            for signal in (flat.reward[self._rows], costs.at(self._rows))
        ]
        self.returns, self.costs = (signal[first] for signal in self._to_go)

    def to_go(self) -> npt.NDArray[np.float64]:
        """As :meth:`Histories.to_go`."""
        acting = np.delete(np.arange(len(self._rows)), self._starts[1:] - 1)
        return np.stack([signal[acting] for signal in self._to_go], -1)

    def parts(self, episode: Rows, last: Rows, length: int) -> HistoryBatch:
        """As :meth:`Histories.parts`."""
        begin = np.maximum(last - length + 1, 0)[:, None]
        step = begin + np.arange(length + 1)  # (B, K + 1)
        known = step[:, :-1] <= last[:, None]
        place = self._starts[episode][:, None] + np.minimum(step, last[:, None] + 1)
        rows, led_to = self._rows[place], self._rows[place[:, 1:]]
        flat = self._flat
        return HistoryBatch(
            obs={name: take(array, rows) for name, array in flat.obs.items()},
            action=flat.next_action[rows[:, :-1]],
            reward=flat.reward[led_to],
            cost=self._costs.at(led_to),
            return_to_go=self._to_go[0][place[:, :-1]].astype(np.float32),
            cost_to_go=self._to_go[1][place[:, :-1]].astype(np.float32),
            step=step[:, :-1],
            known=known,
        )


class Histories:
    """Parts of the episodes of one data set, or of several that are drawn from with weights.

    Args:
        sources: the data sets
        weights: shares of the parts that are drawn from each
    """

    def __init__(self, sources: Sequence[Source], weights: Sequence[float] = (1.0,)) -> None:
        self._sources, self._weights = sources, weights
        self._before = np.cumsum([0, *(len(source.steps) for source in sources)])
        self.steps = np.concatenate([source.steps for source in sources])  # (E,)
        self.returns = np.concatenate([source.returns for source in sources])  # (E,)
        self.costs = np.concatenate([source.costs for source in sources])  # (E,)
        share = [w / source.steps.sum() for w, source in zip(weights, sources, strict=True)]
        chance = self.steps * np.repeat(share, np.diff(self._before))
        self._until = np.cumsum(chance) / chance.sum()  # (E,)

    @classmethod
    def joined(cls, parts: Sequence[Histories], weights: Sequence[float] | Array) -> Histories:
        """Those of all parts, each drawn from with its weight."""
        sources = [source for part in parts for source in part._sources]
        shares = [w * own for part, w in zip(parts, weights, strict=True) for own in part._weights]
        return cls(sources, shares)

    def to_go(self) -> npt.NDArray[np.float64]:
        """Return and cost to go of all steps of all sources, ``(S, 2)``."""
        return np.concatenate([source.to_go() for source in self._sources])

    def draw(self, batch_size: int, rng: np.random.Generator) -> tuple[Rows, Rows]:
        """Numbers of episodes (B,) and of steps in them (B,), each step of a source as likely.

        Raises:
            ValueError: for a size below 1.
            TypeError: for another generator.
        """
        batch_size = whole_number(batch_size, "batch_size", low=1)
        check_rng(rng)
        episode = np.searchsorted(self._until, rng.random(batch_size), "right")
        episode = np.minimum(episode, len(self.steps) - 1)  # the last sum may be rounded
        return episode, rng.integers(0, self.steps[episode])

    def parts(self, episode: Rows, last: Rows, length: int) -> HistoryBatch:
        """Parts that end with these steps, of up to ``length`` steps.

        Args:
            episode: numbers of episodes (B,), through all sources in order
            last: numbers of steps in them (B,), from 0

        Raises:
            ValueError: for a length below 1.
        """
        length = whole_number(length, "length", low=1)
        source = np.searchsorted(self._before, episode, "right") - 1
        found, order = [], []
        for number, one in enumerate(self._sources):
            chosen = np.flatnonzero(source == number)
            if len(chosen):
                own = episode[chosen] - self._before[number]
                found.append(one.parts(own, last[chosen], length))
                order.append(chosen)
        return _in_order(found, np.argsort(np.concatenate(order)))


def _in_order(batches: Sequence[HistoryBatch], order: Rows) -> HistoryBatch:
    """The parts of all batches, one after another, in this order."""
    if len(batches) == 1:
        return batches[0]
    columns = {
        name: np.concatenate([getattr(batch, name) for batch in batches])[order]
        for name in vars(batches[0])
        if name != "obs"
    }
    obs = {
        name: np.concatenate([batch.obs[name] for batch in batches])[order]
        for name in batches[0].obs
    }
    return HistoryBatch(obs=obs, **columns)
