"""The vector observation says where things are, in the ego vehicle's frame."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from tests.envs.test_rewards import CRUISING
from vlsafe_envs import ENV_IDS
from vlsafe_envs.observations import FEATURE_NAMES, SIZE, vector_observation
from vlsafe_envs.scene import Scene

INDEX = {name: k for k, name in enumerate(FEATURE_NAMES)}


def scene(
    heading: float, others: list[tuple[float, float, float, float]], **extra: object
) -> Scene:
    """Ego at (7, -3) with 20 m/s; others as x, y, heading, speed."""
    rows = np.array([(7.0, -3.0, heading, 20.0), *others])
    size = np.ones(len(rows))
    return Scene(rows[:, :2], rows[:, 2], rows[:, 3], 5 * size, 2 * size, **extra)  # type: ignore[arg-type]


@pytest.mark.parametrize("heading", [0.0, np.pi / 2, -2.0])
def test_offsets_turn_with_the_ego_vehicle(heading: float) -> None:
    ahead = np.array([np.cos(heading), np.sin(heading)])
    right = np.array([-np.sin(heading), np.cos(heading)])  # y points down
    place = np.array([7.0, -3.0]) + 30 * ahead + 5 * right
    vector = vector_observation(scene(heading, [(*place, heading, 26.0)]), CRUISING)
    assert vector[INDEX["vehicle0_present"]] == 1.0
    assert vector[INDEX["vehicle0_ahead"]] == pytest.approx(0.3, abs=1e-6)
    assert vector[INDEX["vehicle0_right"]] == pytest.approx(0.2, abs=1e-6)
    assert vector[INDEX["vehicle0_velocity_ahead"]] == pytest.approx(0.2, abs=1e-6)
    assert vector[INDEX["vehicle0_velocity_right"]] == pytest.approx(0.0, abs=1e-6)
    assert vector[INDEX["vehicle0_heading_cos"]] == pytest.approx(1.0)


def test_nearest_vehicles_come_first_and_far_ones_are_left_out() -> None:
    others = [(47.0, -3.0, 0.0, 20.0), (17.0, -3.0, 0.0, 20.0), (207.0, -3.0, 0.0, 20.0)]
    vector = vector_observation(scene(0.0, others), CRUISING)
    assert vector[INDEX["vehicle0_ahead"]] == pytest.approx(0.1)
    assert vector[INDEX["vehicle1_ahead"]] == pytest.approx(0.4)
    assert not vector[INDEX["vehicle2_present"] :].any()


def test_route_bearing_is_positive_to_the_right() -> None:
    route = np.array([[7.0, -3.0 + 4 * k] for k in range(1, 17)])  # straight to the right of +x
    vector = vector_observation(scene(0.0, [], route=route), CRUISING)
    assert vector[INDEX["route"]] == 1.0
    assert vector[INDEX["route_near_sin"]] == pytest.approx(1.0)
    assert vector[INDEX["route_far_cos"]] == pytest.approx(0.0, abs=1e-6)


def test_ego_features_are_scaled_as_documented() -> None:
    vector = vector_observation(scene(0.0, []), CRUISING)
    assert vector[INDEX["speed"]] == pytest.approx(0.5)
    assert vector[INDEX["lanes_left"]] == pytest.approx(0.75)
    assert vector[INDEX["lanes_right"]] == 0.0
    assert vector[INDEX["route"]] == 0.0


@pytest.mark.parametrize("env_id", ENV_IDS)
def test_observations_of_an_episode_lie_in_their_space(env_id: str) -> None:
    env = gym.make(env_id, scorer=None, observation="multi", vehicles=6, action="continuous")
    observation, _ = env.reset(seed=4)
    assert observation["vector"].shape == (SIZE,)
    for _ in range(10):
        observation, _, terminated, *_ = env.step(np.array([1.0, 0.1], np.float32))
        assert env.observation_space.contains(observation)
        if terminated:
            break
