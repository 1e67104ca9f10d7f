"""What a collection is: its settings, the driver and seed of each episode, and what is still to do.

Episode i has a driver and a seed that depend on nothing but i and the configuration.  A killed
collection that is started again therefore ends in the same data set as an uninterrupted one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from vlsafe_agents.common.seeds import derived_seed
from vlsafe_agents.common.typed_config import changed_keys
from vlsafe_agents.data.branching import BranchConfig
from vlsafe_agents.data.driving import EpisodePlan
from vlsafe_agents.data.shards import ShardFacts, known_total
from wrappers.checks import one_number
from wrappers.files import read_json, write_json

AMOUNTS = ("steps", "episodes")  # more or less of the same may be asked for
CLAIM_FILE = "config.json"
LIKELY_STEPS = 30  # of an episode, before any is known

Task = tuple[int, ...]  # indices of episodes


@dataclass(frozen=True)
class CollectConfig:
    """What to collect.  Exactly one of ``steps`` and ``episodes`` says how much.

    Raises:
        ValueError: for shares that are negative or do not add up to 1, amounts below 1, negative
            seeds and values of another type.
    """

    env_id: str
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    mix: dict[str, float] = field(default_factory=lambda: {"expert": 1.0})  # shares of episodes
    steps: int | None = None  # stop with the episode that reaches as many steps
    episodes: int | None = None
    seed: int = 0
    dataset_id: str = "vlsafe/drives-v0"
    observation: str | None = None  # what the environment was asked to show; None: the usual
    branches: BranchConfig | None = None  # what is driven on from recorded states; None: nothing

    def __post_init__(self) -> None:
        for name, kind in (("env_id", str), ("env_kwargs", dict), ("mix", dict)):
            if not isinstance(getattr(self, name), kind):
                raise ValueError(f"{name}={getattr(self, name)!r}: give a {kind.__name__}")
        shares = [one_number(share, name, "the mix", 0.0, 1.0) for name, share in self.mix.items()]
        if abs(sum(shares) - 1) > 1e-6:
            raise ValueError(
                f"shares of drivers must be at least 0 and add up to 1, not {self.mix}"
            )
        if (self.steps is None) == (self.episodes is None):
            raise ValueError("give either steps or episodes, and not both")
        name = "episodes" if self.steps is None else "steps"
        if not is_whole(getattr(self, name), 1):
            raise ValueError(
                f"nothing to collect: {name}={getattr(self, name)!r}; give an integer of at least 1"
            )
        if not isinstance(self.branches, BranchConfig | None):
            raise ValueError(f"branches={self.branches!r}: give a BranchConfig, or None")
        if not is_whole(self.seed, 0):
            raise ValueError(f"seed={self.seed!r}: give an integer that is not negative")
        valid = isinstance(self.dataset_id, str) and re.fullmatch(
            r"([\w-]{2,}/)*[\w-]{2,}-v\d+", self.dataset_id
        )
        if not valid:
            raise ValueError(
                f"not a Minari id: {self.dataset_id!r}; an example is vlsafe/drives-v0"
            )


def is_whole(value: Any, low: int) -> bool:
    """Whether it is an integer of at least ``low``."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= low


def settings_of(config: CollectConfig) -> dict[str, Any]:
    """The configuration as JSON holds it."""
    settings: dict[str, Any] = json.loads(json.dumps(asdict(config), default=str))
    if config.observation is None:
        del settings["observation"]  # of which collections of before do not speak
    if config.branches is None:
        del settings["branches"]  # as in data sets of before there were any
    return settings


def minari_id(env_id: str, name: str | None = None) -> str:
    """The Minari id of a data set of drives in an environment.

    Args:
        name: a whole id, ``"namespace/env/name-v0"``; or its last part, of which the version may be
            left out: ``"expert"`` is ``vlsafe/highway/expert-v0``. None: ``vlsafe/highway-v0``.
    """
    road = re.sub(r"[^\w-]+", "-", env_id.removeprefix("VLSafe-")).strip("-").lower()
    if not re.search(r"-v\d+$", road):
        road += "-v0"
    if name is None:
        return f"vlsafe/{road}"
    if "/" not in name:
        name = f"vlsafe/{re.sub('-v[0-9]+$', '', road)}/{name}"
    return name if re.search(r"-v\d+$", name) else f"{name}-v0"


def branches_id(dataset_id: str) -> str:
    """The Minari id of the branches that leave the episodes of a data set."""
    return re.sub(r"-v(\d+)$", r"-branches-v\1", dataset_id)


# --- who drives what ------------------------------------------------------------------------------


def _drivers(mix: Mapping[str, float]) -> Iterator[str]:
    """Drivers of all episodes, in order: always the one furthest behind its share.

    So every prefix of the episodes is as close to the mix as can be, whatever the stop condition.
    """
    names = list(mix)
    counts = np.zeros(len(names))
    shares = np.array([mix[name] for name in names])
    number = 0
    while True:
        behind = int(np.argmax(shares * (number + 1) - counts))
        counts[behind] += 1
        number += 1
        yield names[behind]


class Plan:
    """Driver and seed of the episode of each index."""

    def __init__(self, config: CollectConfig) -> None:
        self._seed = config.seed
        self._coming = _drivers(config.mix)
        self._known: list[str] = []

    def __getitem__(self, index: int) -> EpisodePlan:
        self._known += islice(self._coming, max(0, index + 1 - len(self._known)))
        return EpisodePlan(index, self._known[index], derived_seed(self._seed, index))


# --- the folder -----------------------------------------------------------------------------------


def check_place(target: Path) -> None:
    """Raise ``OSError``, naming it, unless a data set can be written at ``target``."""
    folder = next(place for place in target.parents if place.exists())
    for place in (target, folder):
        if place.exists() and not place.is_dir():
            raise NotADirectoryError(f"{place} is a file; choose a folder for the data (--out)")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"{folder} cannot be written; choose another folder (--out)")


def settings_hash(settings: Mapping[str, Any]) -> str:
    """Tells collections apart; equal for those that differ in nothing but how much."""
    kept = {key: value for key, value in settings.items() if key not in AMOUNTS}
    text = json.dumps(kept, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def claim(shards: Path, settings: dict[str, Any]) -> None:
    """Mark the folder ``shards`` as this collection's.

    A mark that cannot be read is made anew, with a warning: episodes say whose they are themselves.

    Raises:
        FileExistsError: when it is another collection's.
    """
    file = shards / CLAIM_FILE
    if file.exists():
        try:
            found: dict[str, Any] = read_json(file)
        except ValueError as error:
            warnings.warn(f"{error}; it is written again", stacklevel=2)
            found = settings
        changed = changed_keys(settings, found, but=AMOUNTS)
        if changed:
            raise FileExistsError(
                f"{shards} holds an unfinished collection with another {', '.join(changed)}; "
                "go on with its settings, use overwrite (--overwrite), or another folder"
            )
    write_json(file, settings)


def remove_leftovers(target: Path) -> None:
    """Remove what killed runs left beside ``target`` half assembled."""
    for leftover in target.parent.glob(f".{target.name}.*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)


# --- what is still to do --------------------------------------------------------------------------


class Work:
    """What is done and what is still to do."""

    def __init__(self, config: CollectConfig, done: dict[int, ShardFacts]) -> None:
        self.config = config
        self.done: dict[int, ShardFacts] = {}
        self.episodes = self.steps = self.unsafe_steps = self.branch_steps = 0
        self.collisions: int | None = 0  # None: not known, as the environment reports none
        self.branch_collisions: int | None = 0
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
            self.collisions = known_total((self.collisions, f.collision))
            self.branch_steps += f.branch_steps
            self.branch_collisions = known_total((self.branch_collisions, f.branch_collisions))
        while self._complete in self.done:
            self._complete_steps += self.done[self._complete].steps
            self._complete += 1

    @property
    def branches_note(self) -> str:
        """What branches are there so far, for the progress line."""
        if self.config.branches is None:
            return ""
        crashes = self.branch_collisions
        counted = "" if crashes is None else f", {crashes:,} collisions"
        return f"; branches: {self.branch_steps:,} steps{counted}"

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
