"""Where ways cross the vector hides nobody."""

from __future__ import annotations

import itertools
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from vlsafe_envs.drivers import make_driver
from vlsafe_envs.observations import EGO_FEATURES, VEHICLE_FEATURES
from vlsafe_envs.registry import ROWS
from vlsafe_envs.scene import Scene
from vlsafe_envs.simulators.engine.neighbours import RANGE, VELOCITY_SCALE

CROSSINGS = [row.env_id for row in ROWS if row.crossing]
MOST = 16  # vehicles that the vector promises to show


def nearest_by_sorting(scene: Scene) -> np.ndarray:
    """Places ``(K, 2)`` [m] and velocities in the ego vehicle's frame of up to 16 within range."""
    cos, sin = np.cos(scene.heading[0]), np.sin(scene.heading[0])
    frame = np.array([[cos, -sin], [sin, cos]])
    headings = np.stack((np.cos(scene.heading), np.sin(scene.heading)), 1)
    velocity = scene.speed[:, None] * headings  # (N, 2)
    offset, drift = scene.position - scene.position[0], velocity - velocity[0]
    distance = np.linalg.norm(offset, axis=1)
    seen = [k for k in np.argsort(distance, kind="stable") if k and distance[k] <= RANGE][:MOST]
    return np.hstack((offset[seen] @ frame, drift[seen] @ frame))  # (K, 4)


def hidden(scene: Scene, vector: np.ndarray) -> int:
    """How many of the nearest vehicles have no row of the vector with their place and velocity."""
    rows = vector[len(EGO_FEATURES) :].reshape(-1, len(VEHICLE_FEATURES))
    shown = rows[rows[:, 0] == 1.0, 1:5] * [RANGE, RANGE, VELOCITY_SCALE, VELOCITY_SCALE]
    return sum(
        not np.isclose(shown, vehicle, atol=1e-3).all(1).any()
        for vehicle in nearest_by_sorting(scene)
    )


@pytest.mark.parametrize(("env_id", "density"), list(itertools.product(CROSSINGS, (1.0, 1.5))))
def test_no_vehicle_in_range_is_hidden_where_ways_cross(env_id: str, density: float) -> None:
    options: dict[str, Any] = {"traffic": "hard"} if "Turn" in env_id else {}
    env = gym.make(env_id, observation="vector", scorer=None, density=density, **options)
    most = 0
    for seed in range(3):
        vector, _ = env.reset(seed=seed)
        driver = make_driver("expert", env, np.random.default_rng(seed))
        driver.reset()
        for _ in range(60):
            scene = env.unwrapped.scene  # type: ignore[attr-defined]
            assert hidden(scene, vector) == 0
            most = max(most, len(nearest_by_sorting(scene)))
            vector, _, terminated, truncated, _ = env.step(driver.act())
            if terminated or truncated:
                break
    assert most >= 5  # there was something to hide


def test_the_rows_of_others_begin_with_the_nearest() -> None:
    env = gym.make(
        "VLSafe-LeftTurn-v0", observation="vector", scorer=None, traffic="hard", density=1.5
    )
    vector, _ = env.reset(seed=1)
    rows = vector[len(EGO_FEATURES) :].reshape(-1, len(VEHICLE_FEATURES))[13:]
    present = rows[:, 0] == 1.0
    assert 5 <= present.sum() < len(rows)
    assert (np.diff(present.astype(int)) <= 0).all()  # those who are there come first
    distance = np.hypot(rows[present, 1], rows[present, 2])
    assert (np.diff(distance) >= 0).all()
    np.testing.assert_array_equal(
        rows[~present], np.tile([0, 1, 0, 0, 0, 0, 1], (sum(~present), 1))
    )
