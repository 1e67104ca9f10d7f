"""Episodes driven side by side are, to the last bit, those driven one by one."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_collect import assert_same, seeds_in

from vlsafe_agents.cli.collect import _fleet
from vlsafe_agents.cli.environments import EnvChoice
from vlsafe_agents.data.collect import CollectConfig, CollectSummary, collect
from vlsafe_agents.data.collection import Work
from vlsafe_agents.data.driving import Fleet
from vlsafe_agents.data.shards import ShardFacts
from vlsafe_envs.drivers import DRIVER_NAMES, make_driver
from vlsafe_envs.drivers.many import DriverBatch

OPTIONS: dict[str, Any] = {"observation": "multi", "scorer": None, "scene_in_info": True}
MIX = dict.fromkeys(DRIVER_NAMES, 1 / len(DRIVER_NAMES))


def collect_drives(
    out: Path, choice: EnvChoice, fleet: Fleet | None, workers: int = 1, **amount: int
) -> CollectSummary:
    config = CollectConfig(choice.env_id, choice.kwargs, MIX, dataset_id="vlsafe/toy-v0", **amount)
    factory = choice.factory(**OPTIONS)
    return collect(config, out, factory, make_driver, workers, progress=False, fleet=fleet)


def fleet_of(choice: EnvChoice, num_envs: int, make_drivers: Any = DriverBatch) -> Fleet:
    return Fleet(choice.vector_factory(**OPTIONS), make_drivers, num_envs)


@pytest.mark.parametrize(
    ("env_id", "kwargs"),
    [
        ("VLSafe-Highway-v0", {"duration": 20}),
        ("VLSafe-Merge-v0", {"action": "grid", "duration": 8}),
        ("VLSafe-Roundabout-v0", {"action": "continuous", "duration": 4}),
        ("VLSafe-Intersection-v0", {"duration": 20}),
    ],
)
def test_side_by_side_makes_the_same_data_set(
    tmp_path: Path, env_id: str, kwargs: dict[str, Any]
) -> None:
    """Images, vectors, actions, rewards, costs, scenes, drivers and seeds of all drivers."""
    choice = EnvChoice(env_id, kwargs)
    alone = collect_drives(tmp_path / "alone", choice, None, episodes=12)
    together = collect_drives(tmp_path / "together", choice, fleet_of(choice, 3), episodes=12)
    assert_same(alone.path, together.path)
    assert set(alone.drivers) == set(DRIVER_NAMES)
    assert alone.drivers == together.drivers


def test_workers_and_a_count_of_steps_change_nothing(tmp_path: Path) -> None:
    choice = EnvChoice(kwargs={"duration": 10})
    alone = collect_drives(tmp_path / "alone", choice, None, steps=100)
    together = collect_drives(tmp_path / "together", choice, fleet_of(choice, 4), 2, steps=100)
    assert alone.steps == together.steps >= 100
    assert_same(alone.path, together.path)


class Tiring(DriverBatch):
    """Drivers that give up after some decisions."""

    def __init__(self, env: Any, decisions: int) -> None:
        super().__init__(env)
        self.left = decisions

    def act(self, slots: list[int]) -> Any:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return super().act(slots)


@pytest.mark.parametrize("resumed_together", [True, False])
def test_an_interrupted_collection_goes_on_either_way(
    tmp_path: Path, resumed_together: bool
) -> None:
    choice = EnvChoice(kwargs={"duration": 12})
    tiring = fleet_of(choice, 4, partial(Tiring, decisions=20))
    with pytest.raises(KeyboardInterrupt):
        collect_drives(tmp_path / "broken", choice, tiring, episodes=14)
    shards = tmp_path / "broken" / "vlsafe" / ".toy-v0.shards"
    before = {path: path.stat().st_mtime_ns for path in shards.glob("episode_*")}
    assert 0 < len(seeds_in(shards)) < 14
    more = fleet_of(choice, 4, partial(Tiring, decisions=1))  # keeps what is there, drives on
    with pytest.raises(KeyboardInterrupt):
        collect_drives(tmp_path / "broken", choice, more, episodes=14)
    assert {path: path.stat().st_mtime_ns for path in shards.glob("episode_*")} == before
    fleet = fleet_of(choice, 4) if resumed_together else None
    resumed = collect_drives(tmp_path / "broken", choice, fleet, episodes=14)
    whole = collect_drives(tmp_path / "whole", choice, fleet_of(choice, 5), episodes=14)
    assert_same(resumed.path, whole.path)


def test_what_the_compiled_engine_does_not_drive_is_driven_alone() -> None:
    assert _fleet(EnvChoice(kwargs={"engine": "highway_env"}), OPTIONS, 1) is None
    assert isinstance(_fleet(EnvChoice(), OPTIONS, 1), Fleet)


def test_a_fleet_of_none_is_refused() -> None:
    with pytest.raises(ValueError, match="num_envs=0"):
        fleet_of(EnvChoice(), 0)


def _facts(index: int, steps: int) -> ShardFacts:
    return ShardFacts(index, "expert", index, steps, 0, False, 0.0, "")


def test_no_more_episodes_are_begun_than_are_likely_needed() -> None:
    work = Work(CollectConfig("Toy-v0", steps=900), {3: _facts(3, 30)})
    lengths = np.random.default_rng(0).integers(20, 41, 1000)
    driven = 0
    for task in work.tasks(workers=1, largest=256):
        assert 3 not in task
        driven += len(task)
        work.add([_facts(index, int(lengths[index])) for index in task])
    assert len(work.needed()) <= driven + 1 <= len(work.needed()) + 5
