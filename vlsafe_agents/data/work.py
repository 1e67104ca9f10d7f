"""What of a collection is driven, and what is still to be driven."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from vlsafe_agents.data.shards import ShardFacts

if TYPE_CHECKING:
    from vlsafe_agents.data.collect import CollectConfig

LIKELY_STEPS = 30  # of an episode, before any is known

Task = tuple[int, ...]  # indices of episodes


class Work:
    """What is done and what is still to do."""

    def __init__(self, config: CollectConfig, done: dict[int, ShardFacts]) -> None:
        self.config = config
        self.done: dict[int, ShardFacts] = {}
        self.episodes = self.steps = self.unsafe_steps = self.collisions = 0
        self._next = 0  # all episodes before are done or being driven
        self._complete = 0  # all episodes before are done
        self._complete_steps = 0  # of theirs
        self.add(list(done.values()))

    def add(self, facts: list[ShardFacts]) -> None:
        """Episodes are done."""
        for f in facts:
            self.done[f.index] = f
            self.episodes += 1
            self.steps += f.steps
            self.unsafe_steps += f.unsafe_steps
            self.collisions += f.collision
        while self._complete in self.done:
            self._complete_steps += self.done[self._complete].steps
            self._complete += 1

    def needed(self) -> list[ShardFacts]:
        """The episodes, counted from the first, that make up the data set."""
        if self.config.episodes is not None:
            return [self.done[index] for index in range(self.config.episodes)]
        facts: list[ShardFacts] = []
        steps = 0
        assert self.config.steps is not None
        while steps < self.config.steps:
            facts.append(self.done[len(facts)])
            steps += facts[-1].steps
        return facts

    def tasks(self, workers: int, largest: int) -> Iterator[Task]:
        """Indices still to drive, in order, until the finished ones before are enough."""
        while not self._enough():
            likely = self._episodes_left() / workers
            yield self._draw(int(min(max(np.ceil(likely), 1), largest)))

    def _enough(self) -> bool:
        if self.config.episodes is not None:
            return self._skip_done() >= self.config.episodes
        assert self.config.steps is not None
        return self._complete_steps >= self.config.steps

    def _skip_done(self) -> int:
        while self._next in self.done:
            self._next += 1
        return self._next

    def _episodes_left(self) -> float:
        """How many more episodes have to be begun: a guess where steps are counted."""
        if self.config.episodes is not None:
            return self.config.episodes - self._next
        assert self.config.steps is not None
        length = self.steps / self.episodes if self.episodes else LIKELY_STEPS
        driving = sum(index not in self.done for index in range(self._complete, self._next))
        return (self.config.steps - self.steps) / length - driving

    def _draw(self, count: int) -> Task:
        task: list[int] = []
        while len(task) < count:
            index = self._skip_done()
            if self.config.episodes is not None and index >= self.config.episodes:
                break
            task.append(index)
            self._next += 1
        return tuple(task)
