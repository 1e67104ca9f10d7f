"""What compiled code measures in a scene is what plain NumPy measures."""

from __future__ import annotations

import numpy as np
import pytest
import scene_reference

from vlsafe_envs.costs import headway, time_to_collision
from vlsafe_envs.observations import vector_observation
from vlsafe_envs.scene import Scene
from vlsafe_envs.simulator import EgoStatus

SCENES = 2000


def random_scene(rng: np.random.Generator) -> Scene:
    """Crowded or empty, parallel or crossing, standing or fast, of several sizes."""
    count = int(rng.integers(1, 40))
    spread = rng.choice([10.0, 40.0, 150.0])
    position = rng.uniform(-spread, spread, (count, 2))
    heading = rng.uniform(-4.0, 4.0, count)
    if rng.uniform() < 0.5:  # lanes
        heading = np.full(count, heading[0]) + rng.choice([0.0, 0.02]) * rng.normal(size=count)
        position[:, 1] = position[0, 1] + 4.0 * rng.integers(-2, 3, count)
    speed = rng.uniform(-2.0, 30.0, count) * (rng.uniform(size=count) < 0.9)
    length, width = rng.uniform(2.0, 12.0, count), rng.uniform(1.0, 3.0, count)
    route = position[0] + np.cumsum(rng.uniform(-4.0, 4.0, (int(rng.integers(0, 17)), 2)), axis=0)
    return Scene(position, heading, speed, length, width, route)


def random_status(rng: np.random.Generator) -> EgoStatus:
    """An ego vehicle somewhere on a road of up to five lanes, perhaps badly off its lane."""
    lanes = int(rng.integers(1, 6))
    lane, target_lane = (int(k) for k in rng.integers(0, lanes, 2))
    speed, forward, offset, turn, target = rng.normal(0.0, 1.0, 5) * (30.0, 30.0, 4.0, 1.0, 30.0)
    pedal, wheel = rng.uniform(-12.0, 12.0), rng.uniform(-1.2, 1.2)
    facts = (lane, lanes, offset, turn, pedal, wheel, target, target_lane)
    return EgoStatus(speed, forward, False, True, False, *facts)


def test_times_to_collision_and_headways_of_random_scenes() -> None:
    """Within 1e-9: sums of products are added up in another order."""
    rng = np.random.default_rng(0)
    collisions = leaders = 0
    for _ in range(SCENES):
        scene = random_scene(rng)
        expected = scene_reference.time_to_collision(scene), scene_reference.headway(scene)
        measured = time_to_collision(scene), headway(scene)
        assert measured == pytest.approx(expected, rel=1e-9, abs=1e-9)
        collisions += 0 < expected[0] < np.inf
        leaders += 0 < expected[1] < np.inf
    assert collisions > SCENES / 10
    assert leaders > SCENES / 10


def test_ego_and_route_features_of_random_scenes() -> None:
    """Within 1e-6, float32: sums of products are added up in another order."""
    rng = np.random.default_rng(1)
    for _ in range(SCENES):
        scene, ego = random_scene(rng), random_status(rng)
        expected = scene_reference.ego_features(scene, ego)
        measured = vector_observation(scene, ego)
        np.testing.assert_allclose(measured[: len(expected)], expected, rtol=0, atol=1e-6)
