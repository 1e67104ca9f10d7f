"""The vector observation says where things are, in the ego vehicle's frame."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from scene_reference import ego_frame

from tests.envs.test_rewards import CRUISING
from vlsafe_envs import ENV_IDS
from vlsafe_envs.observations import (
    EGO_FEATURES,
    FEATURE_NAMES,
    SIZE,
    SLOT_NAMES,
    vector_observation,
)
from vlsafe_envs.registry import row_of
from vlsafe_envs.scene import Scene
from vlsafe_envs.simulator import EgoStatus
from vlsafe_envs.simulators.engine.features import CROSSING_SIZE

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
    assert vector[INDEX["right_first_present"]] == 1.0
    assert vector[INDEX["right_first_ahead"]] == pytest.approx(0.3, abs=1e-6)
    assert vector[INDEX["right_first_right"]] == pytest.approx(0.2, abs=1e-6)
    assert vector[INDEX["right_first_velocity_ahead"]] == pytest.approx(0.2, abs=1e-6)
    assert vector[INDEX["right_first_velocity_right"]] == pytest.approx(0.0, abs=1e-6)
    assert vector[INDEX["right_first_heading_cos"]] == pytest.approx(1.0)


def test_empty_slots_read_as_vehicles_far_away() -> None:
    vector = vector_observation(scene(0.0, [(207.0, -3.0, 0.0, 20.0)]), CRUISING)
    slots = vector[len(EGO_FEATURES) :].reshape(len(SLOT_NAMES), -1)
    behind = np.array([name.endswith("behind") for name in SLOT_NAMES])
    assert not slots[:, 0].any()
    np.testing.assert_array_equal(slots[:, 1], np.where(behind, -1.0, 1.0))
    np.testing.assert_allclose(slots[:9, 2], np.repeat([-0.16, 0.0, 0.16], 3), atol=1e-7)
    np.testing.assert_allclose(slots[9:, 2], [-0.32, 0.32, -0.32, 0.32], atol=1e-7)
    assert not slots[:, 3:6].any()
    assert (slots[:, 6] == 1.0).all()


def slots_by_sorting(scene: Scene, ego: EgoStatus) -> dict[str, int]:
    """Slow reference: the vehicle in each slot, by sorting lists of candidates."""
    direction = scene.heading[0] - ego.lane_heading_error
    ahead, right = (
        (scene.position - scene.position[0]) @ np.array(axis)
        for axis in (
            (np.cos(direction), np.sin(direction)),
            (-np.sin(direction), np.cos(direction)),
        )
    )
    distance = np.linalg.norm(scene.position - scene.position[0], axis=1)
    lane = np.round((right + ego.lane_offset) / 4.0)
    seen = [k for k in range(1, len(ahead)) if distance[k] <= 100.0]
    found = {}
    for name, side in (("left", -1), ("own", 0), ("right", 1)):
        front = sorted((ahead[k], k) for k in seen if lane[k] == side and ahead[k] >= 0)
        back = sorted((-ahead[k], k) for k in seen if lane[k] == side and ahead[k] < 0)
        found |= dict(zip((f"{name}_first", f"{name}_second"), (k for _, k in front), strict=False))
        found |= {f"{name}_behind": k for _, k in back[:1]}
    for name, side in (("left", -1), ("right", 1)):
        beyond = sorted((distance[k], k) for k in seen if lane[k] * side >= 2)
        found |= {f"beyond_{name}": k for _, k in [b for b in beyond if ahead[b[1]] >= 0][:1]}
        found |= {f"beyond_{name}_behind": k for _, k in [b for b in beyond if ahead[b[1]] < 0][:1]}
    return found


@pytest.mark.parametrize("seed", range(20))
def test_each_slot_holds_the_vehicle_that_its_name_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    others = [
        (*rng.uniform((-80, -18), (110, 14)), *rng.uniform((-1, 0), (1, 30))) for _ in "x" * 25
    ]
    heading_error, offset = rng.uniform(-0.2, 0.2), rng.uniform(-2, 2)
    ego = CRUISING._replace(lane_heading_error=heading_error, lane_offset=offset)
    world = scene(heading_error, others)
    features = vector_observation(world, ego)[len(EGO_FEATURES) :].reshape(len(SLOT_NAMES), -1)
    expected = slots_by_sorting(world, ego)
    assert {SLOT_NAMES[k] for k in np.flatnonzero(features[:, 0])} == set(expected)
    for name, k in expected.items():
        offset_ahead = ego_frame(world.position - world.position[0], heading_error)[k, 0]
        np.testing.assert_allclose(
            features[SLOT_NAMES.index(name), 1], np.clip(offset_ahead / 100, -1, 1), atol=1e-6
        )


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
    size = CROSSING_SIZE if row_of(env_id).crossing else SIZE
    assert observation["vector"].shape == (size,)
    for _ in range(10):
        observation, _, terminated, *_ = env.step(np.array([1.0, 0.1], np.float32))
        assert env.observation_space.contains(observation)
        if terminated:
            break
