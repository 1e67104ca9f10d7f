"""Branches of recorded drives (see ``branching``) as a data set beside theirs.

While drives are collected, those that branch from an episode are written before itself: where an
episode is finished, its branches are there.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym

from vlsafe_agents.data.branching import DRIVER_PREFIX, Brancher, branch_out
from vlsafe_agents.data.collection import (
    CollectConfig,
    Plan,
    branches_id,
    settings_hash,
    settings_of,
)
from vlsafe_agents.data.driving import MakeEnv
from vlsafe_agents.data.episode import Episode
from vlsafe_agents.data.layout import BRANCHES_OF, METADATA_FILE
from vlsafe_agents.data.shards import (
    ShardFacts,
    assemble,
    contents_of,
    known_total,
    read_shards,
    write_shard,
)
from wrappers.files import read_json

BRANCH_SHARDS = "branches"  # folder of those that branch from episodes, within theirs


class Outgrowth:
    """Writes episodes down, each after those that branch from it.

    Args:
        env: in which branches are driven; None: one is made.
    """

    def __init__(
        self,
        config: CollectConfig,
        shards: Path,
        make_env: MakeEnv,
        brancher: Brancher | None,
        env: gym.Env[Any, Any] | None = None,
    ) -> None:
        self._config, self._shards, self._brancher = config.branches, shards, brancher
        self._whose = settings_hash(settings_of(config))
        self._env = make_env() if env is None and brancher is not None else env
        if brancher is not None:
            (shards / BRANCH_SHARDS).mkdir(parents=True, exist_ok=True)

    def write(self, index: int, episode: Episode) -> ShardFacts:
        """Write one down, with its branches."""
        counts = None
        if self._config is not None and self._brancher is not None and self._env is not None:
            branched = branch_out(self._env, episode, index, self._config, self._brancher)
            folder, first = self._shards / BRANCH_SHARDS, index * self._config.most
            for place, branch in branched.episodes.items():
                write_shard(folder, first + place, branch, self._whose)
            counts = branched.counts
        return write_shard(self._shards, index, episode, self._whose, counts)


def _branches_target(target: Path) -> Path:
    """Where the branches of the data set ``target`` are."""
    return target.with_name(branches_id(target.name))


def make_way(config: CollectConfig, target: Path) -> None:
    """Remove the branches of an earlier collection of these drives, which are collected anew.

    Raises:
        FileExistsError: where there is something else, and branches are to come there.
    """
    beside = _branches_target(target)
    if not beside.exists():
        return
    file = beside / "data" / METADATA_FILE
    if file.is_file() and read_json(file, dict).get(BRANCHES_OF) == config.dataset_id:
        shutil.rmtree(beside)
    elif config.branches is not None:
        raise FileExistsError(
            f"{beside}, where the branches are to come, holds something else; choose another folder"
        )


def with_all_branches(
    config: CollectConfig, shards: Path, done: dict[int, ShardFacts]
) -> dict[int, ShardFacts]:
    """The finished episodes whose branches are all there; the others are driven again."""
    if config.branches is None:
        return done
    found = Counter(index // config.branches.most for index in _branch_facts(config, shards))
    return {index: facts for index, facts in done.items() if found[index] == facts.branches}


def _branch_facts(config: CollectConfig, shards: Path) -> dict[int, ShardFacts]:
    """Facts of all branches that are stored, by their number."""
    assert config.branches is not None
    macros, most, plan = config.branches.macros, config.branches.most, Plan(config)

    def planned(index: int) -> tuple[str, int]:
        return f"{DRIVER_PREFIX}{macros[index % len(macros)]}", plan[index // most].seed

    folder = shards / BRANCH_SHARDS
    return read_shards(folder, settings_hash(settings_of(config)), planned)


def assemble_branches(
    config: CollectConfig,
    shards: Path,
    facts: list[ShardFacts],
    target: Path,
    spaces: tuple[Any, Any],
    spec: Any,
    metadata: Mapping[str, Any],
) -> dict[str, Any] | None:
    """Join the branches of some episodes to a data set beside theirs; what it holds.

    ``metadata`` are those of the recorded drives.  None: no branches were asked for.
    """
    if config.branches is None:
        return None
    beside = _branches_target(target)
    shutil.rmtree(beside, ignore_errors=True)  # of a collection that was killed here
    stored, most = _branch_facts(config, shards), config.branches.most
    numbers = {fact.index for fact in facts}
    found = [fact for index, fact in sorted(stored.items()) if index // most in numbers]
    contents = _branch_contents(facts, found)
    if found:
        own = {
            **metadata,
            "dataset_id": branches_id(config.dataset_id),
            "description": f"{len(found)} branches of {config.dataset_id}",
            BRANCHES_OF: config.dataset_id,
            "contents": {**contents_of(found), "simulated_steps": contents["simulated_steps"]},
        }
        assemble(shards / BRANCH_SHARDS, found, beside, spaces, spec, own)
    return contents


def _branch_contents(facts: list[ShardFacts], found: list[ShardFacts]) -> dict[str, Any]:
    """What branches there are, and what they cost.

    ``simulated_steps`` are all that were driven for them: theirs, those of macro-actions that
    turned out to be what the recorded driver did, and those of driving to their states again.
    """
    return {
        "episodes": len(found),
        "steps": sum(fact.steps for fact in found),
        "collisions": known_total(fact.collision for fact in found),
        "simulated_steps": sum(fact.branch_simulated for fact in facts),
        "drivers": contents_of(found)["drivers"] if found else {},
    }
