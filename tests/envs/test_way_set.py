"""How near the ways that others may take come: a slow reference, by hand, and where it is seen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from way_set_reference import way_set_by_numpy

from vlsafe_envs.drivers import make_driver
from vlsafe_envs.drivers.macros import make_macro
from vlsafe_envs.registry import METADRIVE_IDS, TASK_IDS, row_of
from vlsafe_envs.scene import Scene
from vlsafe_envs.simulators.paths.paths import PossibleWays, path_table
from vlsafe_envs.snapshots import branches
from vlsafe_envs.way_set import WAY_FEATURES, way_set

INDEX = {name: k for k, name in enumerate(WAY_FEATURES)}
HARD = {"VLSafe-LeftTurn-v0": {"traffic": "hard"}, "VLSafe-RightTurn-v0": {"traffic": "hard"}}


def make(env_id: str, **options: Any) -> gym.Env[Any, Any]:
    if env_id in METADRIVE_IDS:
        pytest.importorskip("metadrive", reason="MetaDrive is not installed")
    given = {"scorer": None, "observation": "ways", **HARD.get(env_id, {}), **options}
    return gym.make(env_id, **given)


@pytest.mark.parametrize("env_id", [*TASK_IDS, *METADRIVE_IDS])
def test_ways_equal_the_slow_reference(env_id: str) -> None:
    env = make(env_id, density=1.5)
    bare: Any = env.unwrapped
    try:
        observation, _ = env.reset(seed=3)
        driver = make_driver("noisy", env, np.random.default_rng(0))
        driver.reset()
        nearest = np.inf
        for step in range(101):
            if step % 50 == 0:
                ways = bare.simulator.possible_ways()
                rest = (bare.scenario.cruise_speed, bare.simulator.full_acceleration)
                scene = replace(bare.scene, route=bare.simulator.way_ahead)
                expected = way_set_by_numpy(scene, ways, *rest)
                np.testing.assert_allclose(observation["ways"], expected, atol=2e-2)
                assert env.observation_space.contains(observation)
                there = observation["vehicles"][:, 0] > 0.5
                assert not observation["ways"][~there].any()
                nearest = min(nearest, observation["ways"][there, :5].min(initial=np.inf))
            observation, _, terminated, truncated, _ = env.step(driver.act())
            if terminated or truncated:
                break
        assert nearest < 25.0  # somebody was there to be compared
    finally:
        env.close()


class AtACrossing:
    """A simulator whose one other car comes from the left and may go straight on, or turn."""

    full_acceleration = 5.0
    way_ahead = np.array([[4.0 * k, 0.0] for k in range(1, 17)])

    def __init__(self, *lines: Any, speed: float = 8.0) -> None:
        self._table, self._count = path_table([np.array(line) for line in lines]), len(lines)
        self._speed = speed

    def possible_ways(self) -> PossibleWays:
        n = self._count
        speed, row = np.full(n, self._speed), np.ones(n, np.int64)
        return PossibleWays(
            self._table, np.arange(n), np.zeros(n), speed, row, np.ones(n, np.bool_)
        )


def crossing(speed: float, distance: float, other: float) -> Scene:
    """The ego vehicle at (0, 0) heading x, a car at (16, -distance) heading y."""
    return Scene(
        position=np.array([[0.0, 0.0], [16.0, -distance]]),
        heading=np.array([0.0, np.pi / 2]),
        speed=np.array([speed, other]),
        length=np.full(2, 5.0),
        width=np.full(2, 2.0),
    )


def test_who_crosses_is_met_going_and_not_when_braking() -> None:
    across = [(16.0, -16.0), (16.0, 60.0)]
    row = way_set(AtACrossing(across), crossing(8.0, 16.0, 8.0), 8.0)[0]
    assert row[INDEX["go_separation_2s"]] < 0.0
    assert row[INDEX["go_separation_5s"]] > 10.0
    # Braking by 5 m/s2 it stands after 6.4 m, its front at 8.9 m; the other's side is at 15 m.
    assert row[10:15].min() == pytest.approx(6.1, abs=0.05)
    # Having gone for 0.5 s first it stands 4 m farther on.
    assert row[5:10].min() == pytest.approx(2.1, abs=0.05)
    assert row[18:].tolist() == [1.0, 0.0, 0.0]


def test_who_may_turn_is_met_on_one_of_its_ways_and_not_by_its_velocity() -> None:
    """It drives beside the ego vehicle's route, and may turn into it."""
    scene = replace(crossing(8.0, 6.0, 8.0), heading=np.zeros(2))
    straight = [(16.0, -6.0), (90.0, -6.0)]
    turns = [(16.0, -6.0), (26.0, -6.0), (26.0, 60.0)]
    row = way_set(AtACrossing(straight, turns), scene, 12.0)[0]
    alone = way_set(AtACrossing(straight), scene, 12.0)[0]
    assert alone[:15].min() > 3.5
    assert row[INDEX["go_separation_3s"]] < 0.0
    assert row[INDEX["go_touching"]] == 0.5


def test_who_stands_may_start_and_what_has_broken_down_does_not() -> None:
    across = [(16.0, -10.0), (16.0, 60.0)]
    simulator = AtACrossing(across, speed=0.0)
    row = way_set(simulator, crossing(6.0, 10.0, 0.0), 6.0)[0]
    assert row[INDEX["go_separation_3s"]] > 4.0
    assert row[INDEX["go_hurried"]] < 0.0
    assert row[INDEX["go_touching"]] == 1.0
    stays = simulator.possible_ways()._replace(moves=np.zeros(1, np.bool_))
    simulator.possible_ways = lambda: stays  # type: ignore[method-assign]
    row = way_set(simulator, crossing(6.0, 10.0, 0.0), 6.0)[0]
    assert row[INDEX["go_hurried"]] == row[:5].min() > 4.0


@pytest.mark.parametrize("env_id", ["VLSafe-LeftTurn-v0", "VLSafe-Navigation-v0"])
def test_branches_leave_the_ways_as_they_were(env_id: str) -> None:
    env = make(env_id, density=1.5)
    try:
        env.reset(seed=5)
        macro = make_macro("go", env, np.random.default_rng(0))
        for _ in range(20):
            env.step(macro.act())

        def ahead(there: Any, name: str) -> np.ndarray:
            driver = make_macro(name, there, np.random.default_rng(0))
            for _ in range(10):
                seen = there.step(driver.act())[0]
            return np.array(seen["ways"])

        before: Any = env.unwrapped.observe("ways")["ways"]
        first = list(branches(env, ("go", "hold", "go"), ahead))
        np.testing.assert_array_equal(env.unwrapped.observe("ways")["ways"], before)
        np.testing.assert_array_equal(first[0], first[2])
        driver = make_macro("go", env, np.random.default_rng(0))
        for _ in range(10):
            seen = env.step(driver.act())[0]
        np.testing.assert_array_equal(seen["ways"], first[0])
    finally:
        env.close()


def test_where_ways_are_not_known_they_cannot_be_seen() -> None:
    with pytest.raises(ValueError, match=r"VLSafe-Highway-v0 does not know which ways"):
        make("VLSafe-Highway-v0")
    env: Any = gym.make("VLSafe-Merge-v0", scorer=None, observation="vehicles").unwrapped
    env.reset(seed=0)
    with pytest.raises(ValueError, match="only roads with a route do"):
        env.observe("ways")
    assert not row_of("VLSafe-Merge-v0").knows_ways
