"""How many of the vehicles around it the vector observation shows, on every id.

    python benchmarks/hidden_vehicles.py [id ...]

The expert drives six episodes of at most 150 decisions at the default density and at 1.5 times it
(turns with hard traffic); means over all decisions.
"""

from __future__ import annotations

import sys
from typing import Any

import gymnasium as gym
import numpy as np

import vlsafe_envs
from vlsafe_envs.drivers import make_driver
from vlsafe_envs.observations import (
    EGO_FEATURES,
    SIZE,
    SLOT_NAMES,
    VEHICLE_FEATURES,
    vector_observation,
)
from vlsafe_envs.options import scenario_of
from vlsafe_envs.simulators.engine.features import CROSSING_SIZE

EPISODES, DECISIONS = 6, 150
SLOTS = len(SLOT_NAMES)


def counts(env: Any) -> tuple[int, int, int, int]:
    """Vehicles within 100 m and 60 m, and those in slots and in all rows of the vector."""
    bare = env.unwrapped
    scene = bare.scene
    distance = np.hypot(*(scene.position[1:] - scene.position[0]).T)
    size = CROSSING_SIZE if bare.scenario.row.crossing else SIZE  # MetaDrive's own has no rows
    vector = vector_observation(scene, bare.ego, size)
    present = vector[len(EGO_FEATURES) :].reshape(-1, len(VEHICLE_FEATURES))[:, 0]
    seen = (distance <= 100).sum(), (distance <= 60).sum()
    return *map(int, seen), int(present[:SLOTS].sum()), int(present.sum())


def measure(env_id: str, times: float) -> np.ndarray:
    """Means of :func:`counts`, and the share of decisions in which somebody is hidden."""
    options: dict[str, Any] = {"traffic": "hard"} if "Turn" in env_id else {}
    density = scenario_of(env_id).traffic.density * times
    env = gym.make(env_id, scorer=None, density=density, **options)
    rows = []
    for seed in range(EPISODES):
        env.reset(seed=100 + seed)
        driver = make_driver("expert", env, np.random.default_rng(seed))
        driver.reset()
        for _ in range(DECISIONS):
            rows.append(counts(env))
            _, _, terminated, truncated, _ = env.step(driver.act())
            if terminated or truncated:
                break
    env.close()
    found = np.array(rows, float)
    return np.append(found.mean(0), (found[:, 3] < found[:, 0]).mean())


def main() -> None:
    print("id, times the density | within 100 m | 60 m | in slots | shown | hides somebody")
    for env_id in sys.argv[1:] or vlsafe_envs.known_ids():
        for times in (1.0, 1.5):
            means = measure(env_id, times)
            figures = " | ".join(f"{mean:.1f}" for mean in means[:4])
            print(f"{env_id}, {times} | {figures} | {means[4]:.0%}", flush=True)


if __name__ == "__main__":
    main()
