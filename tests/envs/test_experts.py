"""Drivers act within the action space, and as their names say."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from vlsafe_envs import ENV_IDS
from vlsafe_envs.actions import FASTER, IDLE, SLOWER, full_lock
from vlsafe_envs.drivers import DRIVER_NAMES, make_driver
from vlsafe_envs.engine.pilot import Intent, choose_meta


def drive(name: str, seed: int, **options: object) -> tuple[float, dict[str, object]]:
    """Return and last ``info`` of one episode on the highway."""
    env = gym.make("VLSafe-Highway-v0", scorer=None, observation="vector", **options)
    driver = make_driver(name, env, np.random.default_rng(seed))
    env.reset(seed=seed)
    driver.reset()
    total, done = 0.0, False
    while not done:
        _, reward, terminated, truncated, info = env.step(driver.act())
        total += float(reward)
        done = terminated or truncated
    return total, info


@pytest.mark.parametrize("env_id", ENV_IDS)
@pytest.mark.parametrize("name", DRIVER_NAMES)
@pytest.mark.parametrize("action", ["meta", "grid", "continuous"])
def test_actions_lie_in_the_action_space(env_id: str, name: str, action: str) -> None:
    env = gym.make(env_id, scorer=None, observation="vector", action=action, vehicles=5)
    env.reset(seed=0)
    driver = make_driver(name, env, np.random.default_rng(0))
    for _ in range(3):
        chosen = driver.act()
        assert env.action_space.contains(chosen)
        *_, terminated, truncated, _ = env.step(chosen)
        if terminated or truncated:
            break


@pytest.mark.parametrize("action", ["meta", "grid", "continuous"])
def test_expert_does_not_collide_on_the_default_highway(action: str) -> None:
    for seed in range(3):
        _, info = drive("expert", seed, action=action)
        assert not info["collision"]
        assert not info["off_road"]


def test_timid_driver_earns_clearly_less_than_the_expert() -> None:
    expert = np.mean([drive("expert", seed)[0] for seed in range(3)])
    timid = np.mean([drive("timid", seed)[0] for seed in range(3)])
    assert timid < 0.75 * expert


def test_aggressive_driver_costs_more_than_the_expert() -> None:
    crashes = [bool(drive("aggressive", seed)[1]["collision"]) for seed in range(6)]
    assert sum(crashes) >= 2


def test_brisk_driver_is_faster_than_the_expert_and_as_safe() -> None:
    brisk, expert = ([drive(name, seed) for seed in range(8)] for name in ("brisk", "expert"))
    assert not any(info["collision"] for _, info in brisk)
    assert np.mean([earned for earned, _ in brisk]) > 1.1 * np.mean(
        [earned for earned, _ in expert]
    )


def test_the_same_generator_gives_the_same_noisy_episode() -> None:
    results = [drive("noisy", 3, duration=12)[0] for _ in range(2)]
    assert results[0] == results[1]


def test_expert_brings_an_empty_merge_to_its_end() -> None:
    env = gym.make("VLSafe-Merge-v0", scorer=None, observation="vector", vehicles=1)
    driver = make_driver("expert", env, np.random.default_rng(0))
    env.reset(seed=0)
    done = False
    while not done:
        *_, terminated, truncated, info = env.step(driver.act())
        done = terminated or truncated
    assert info["arrived"]


@pytest.mark.parametrize("env_id", ["VLSafe-Roundabout-v0", "VLSafe-Intersection-v0"])
@pytest.mark.parametrize("action", ["meta", "continuous"])
def test_expert_finds_the_way_through_an_empty_junction(env_id: str, action: str) -> None:
    env = gym.make(env_id, scorer=None, observation="vector", vehicles=0, action=action)
    driver = make_driver("expert", env, np.random.default_rng(0))
    env.reset(seed=0)
    driver.reset()
    done = False
    while not done:
        *_, terminated, truncated, info = env.step(driver.act())
        done = terminated or truncated
    assert info["arrived"]


@pytest.mark.parametrize(("acceleration", "expected"), [(4, FASTER), (0, IDLE), (-4, SLOWER)])
def test_pilot_chooses_the_meta_action_with_the_nearest_end_speed(
    acceleration: float, expected: int
) -> None:
    env = gym.make("VLSafe-Highway-v0", scorer=None, observation="vector", vehicles=0)
    env.reset(seed=0)  # at 25 m/s, which is also the target speed
    inner = env.unwrapped
    speeds = np.array(inner.scenario.traffic.target_speeds)  # type: ignore[attr-defined]
    intent = Intent(float(acceleration), 0, np.nan)
    assert choose_meta(intent, inner.ego, speeds, 1.0) == expected  # type: ignore[attr-defined]


@pytest.mark.parametrize("speed", [10.0, 25.0, 40.0])
def test_full_lock_gives_the_documented_lateral_acceleration(speed: float) -> None:
    slip = np.arctan(np.tan(full_lock(speed)) / 2)
    assert speed * speed * np.sin(slip) / 2.5 == pytest.approx(6.0)


def test_full_lock_is_bounded_when_slow() -> None:
    assert full_lock(0.0) == pytest.approx(np.pi / 4)


def test_braking_with_wheel_and_pedals_ends_at_standstill() -> None:
    env = gym.make(
        "VLSafe-Highway-v0", scorer=None, observation="vector", vehicles=0, action="continuous"
    )
    env.reset(seed=0)
    for _ in range(40):
        info = env.step(np.array([-1.0, 0.0], np.float32))[4]
    assert info["speed"] == pytest.approx(0.0, abs=1e-6)
