"""A range of densities: each episode draws its own, by its seed."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from vlsafe_envs import known_ids
from vlsafe_envs.registry import row_of
from vlsafe_envs.snapshots import restore, save

HERE = [env_id for env_id in known_ids() if not row_of(env_id).one_per_process]
RANGE = (0.6, 1.4)


def make(env_id: str, **options: Any) -> Any:
    return gym.make(env_id, observation="vector", scorer=None, **options)


@pytest.mark.parametrize("env_id", HERE)
def test_every_episode_draws_its_density_by_its_seed(env_id: str) -> None:
    env, other = make(env_id, density=RANGE), make(env_id, density=list(RANGE))
    drawn = []
    for seed in range(40):
        first, info = env.reset(seed=seed)
        second, again = other.reset(seed=seed)
        assert info["density"] == again["density"]
        np.testing.assert_array_equal(first, second)
        drawn.append(info["density"])
    assert env.step(env.action_space.sample())[4]["density"] == drawn[-1]
    assert min(drawn) >= RANGE[0]
    assert max(drawn) <= RANGE[1]
    assert np.ptp(drawn) > 0.5
    assert "density" not in make(env_id, density=1.0).reset(seed=0)[1]


@pytest.mark.parametrize(
    ("env_id", "options"),
    [
        ("VLSafe-FourLane-v0", {}),
        ("VLSafe-LeftTurn-v0", {"traffic": "hard"}),
        ("VLSafe-Highway-v0", {}),
        ("VLSafe-Highway-v0", {"engine": "highway_env"}),
    ],
)
def test_a_drawn_density_is_traffic_of_that_density(env_id: str, options: dict[str, Any]) -> None:
    """Cars within 60 m, where all are counted; at an end of the range as with that number alone."""

    def cars(density: Any, seeds: range) -> tuple[float, list[float]]:
        env, counts, drawn = make(env_id, density=density, **options), [], []
        for seed in seeds:
            _, info = env.reset(seed=seed)
            away = np.abs(env.unwrapped.scene.position - env.unwrapped.scene.position[0]).max(1)
            counts.append((away < 60).sum())
            drawn.append(info.get("density", density))
        return float(np.mean(counts)), drawn

    seeds = range(12 if "engine" in options else 60)
    thin, dense = cars(0.5, seeds)[0], cars(2.0, seeds)[0]
    low, drawn = cars((0.5, 0.500001), seeds)
    assert drawn == pytest.approx([0.5] * len(seeds), abs=1e-3)
    assert thin < dense
    assert abs(low - thin) < 0.25 * (dense - thin)
    between, _ = cars((0.5, 2.0), seeds)
    assert thin < between < dense


def test_many_at_once_draw_as_one_does() -> None:
    for env_id in ("VLSafe-Highway-v0", "VLSafe-Intersection-v0"):
        options: dict[str, Any] = {"observation": "vector", "scorer": None, "density": RANGE}
        env, envs = gym.make(env_id, **options), gym.make_vec(env_id, num_envs=3, **options)
        seen, infos = envs.reset(seed=[4, 5, 6])
        for row in range(3):
            observation, info = env.reset(seed=4 + row)
            np.testing.assert_array_equal(observation, seen[row])
            assert infos["density"][row] == info["density"]
        for _ in range(4):
            seen, rewards, *_, infos = envs.step(np.array([1, 1, 1]))
            observation, reward, *_, info = env.step(1)
            np.testing.assert_array_equal(observation, seen[2])
            assert (reward, info["density"]) == (rewards[2], infos["density"][2])


def test_a_snapshot_keeps_the_episodes_density() -> None:
    for env_id in ("VLSafe-Intersection-v0", "VLSafe-LeftTurn-v0"):
        env, other = make(env_id, density=RANGE), make(env_id, density=RANGE)
        env.reset(seed=1)
        other.reset(seed=2)
        restore(other, save(env))
        for action in (1, 2, 1, 3) * 5:
            one, two = env.step(action), other.step(action)
            np.testing.assert_array_equal(one[0], two[0])
            assert one[4]["density"] == two[4]["density"]


def test_metadrive_draws_too() -> None:
    pytest.importorskip(
        "metadrive", reason="MetaDrive is not installed: its wheels want Python < 3.12"
    )
    env = make("VLSafe-Navigation-v0", density=(0.5, 3.0), num_maps=10)
    try:
        drawn = [env.reset(seed=seed)[1]["density"] for seed in (0, 1, 0)]
        assert drawn[0] == drawn[2] != drawn[1]
        manager = env.unwrapped.simulator.simulator.engine.traffic_manager
        assert manager.density == pytest.approx(0.1 * drawn[2])
    finally:
        env.close()


@pytest.mark.parametrize(
    ("density", "message"),
    [
        ((1.3, 0.8), "first number has to be the smaller"),
        ((1.0, 1.0), "first number has to be the smaller"),
        ((0.8,), "two"),
        ((0.8, 1.0, 1.3), "two"),
        ((0.01, 1.3), "density=0.01"),
        ((0.8, 9.0), "density=9"),
        (("a", 1.0), "density='a'"),
        ((float("nan"), 1.0), "density=nan"),
    ],
)
def test_ranges_that_are_none_are_refused(density: Any, message: str) -> None:
    for env_id in ("VLSafe-Highway-v0", "VLSafe-LeftTurn-v0"):
        with pytest.raises(ValueError, match=message):
            make(env_id, density=density)
