"""Drivers that are not always at their best."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from vlsafe_envs.actions import IDLE
from vlsafe_envs.drivers import make_driver
from vlsafe_envs.drivers.base import BURST_RATE, BURST_SECONDS, Attention, Spells, no_action


def test_spells_begin_and_last_as_said() -> None:
    spells = Spells(np.random.default_rng(0), frequency=10.0, rate=0.2, seconds=(1.0, 4.0))
    on = np.array([spells.on() for _ in range(100_000)])
    edges = np.flatnonzero(np.diff(on.astype(int)))
    assert not on[0]
    lengths = np.diff(edges)[::2] / 10.0  # [s]; two spells that touch count as one
    assert lengths.min() >= 1.0
    assert np.mean(lengths <= 4.0) > 0.9
    # mean spell 2.5 s, mean wait 1 / 0.2 s; the decision that starts a spell belongs to it
    assert on.mean() == pytest.approx(2.5 / (2.5 + 5.0), abs=0.02)


class Draws(np.random.Generator):
    """Draws what it was given."""

    def __init__(self, *draws: float) -> None:
        super().__init__(np.random.PCG64(0))
        self._draws = list(draws)

    def uniform(self, *bounds: float) -> float:  # type: ignore[override]
        return self._draws.pop(0)


@pytest.mark.parametrize("reset", [False, True])
def test_a_spell_ends_with_the_episode(reset: bool) -> None:
    spells = Spells(Draws(0.0, 4.0, 0.99), frequency=10.0, rate=0.2, seconds=(1.0, 4.0))
    assert spells.on()  # the first draw starts it, the second makes it last 4 s
    if reset:
        spells.reset()
    assert spells.on() is not reset


@pytest.mark.parametrize(
    ("name", "share"), [("expert", 1.0), ("timid", 1.0), ("aggressive", 0.0), ("inattentive", 0.67)]
)
def test_attention_is_that_of_the_driver(name: str, share: float) -> None:
    attention = Attention(name, np.random.default_rng(1), 10.0)
    assert np.mean([attention.looks() for _ in range(20_000)]) == pytest.approx(share, abs=0.03)


def test_an_inattentive_driver_crashes_more_than_the_expert_and_still_arrives() -> None:
    env = gym.make("VLSafe-LeftTurn-v0", traffic="hard", scorer=None, observation="vector")
    collisions, arrivals = {}, {}
    for name in ("expert", "inattentive"):
        results = []
        for seed in range(12):
            env.reset(seed=seed)
            driver = make_driver(name, env, np.random.default_rng(seed))
            done = False
            while not done:
                *_, terminated, truncated, info = env.step(driver.act())
                done = terminated or truncated
            results.append((info["collision"], info["arrived"]))
        collisions[name], arrivals[name] = np.sum(results, 0)
    assert collisions["expert"] == 0
    assert collisions["inattentive"] >= 2
    assert arrivals["inattentive"] >= 2


@pytest.mark.parametrize("action", ["meta", "grid", "continuous"])
def test_without_a_route_an_inattentive_driver_does_nothing_for_a_while(action: str) -> None:
    env = gym.make("VLSafe-Highway-v0", scorer=None, observation="vector", action=action)
    env.reset(seed=4)
    inattentive = make_driver("inattentive", env, np.random.default_rng(9))
    expert = make_driver("expert", env, np.random.default_rng(9))
    frequency = env.unwrapped.scenario.traffic.policy_frequency  # type: ignore[attr-defined]
    spells = Spells(np.random.default_rng(9), frequency, BURST_RATE, BURST_SECONDS)
    nothing = no_action(env.action_space)
    lapses = 0
    for _ in range(40 if action == "meta" else 200):
        chosen, wise, lapse = inattentive.act(), expert.act(), spells.on()
        assert np.array_equal(chosen, nothing if lapse else wise)
        lapses += lapse
        *_, terminated, truncated, _ = env.step(wise)
        if terminated or truncated:
            break
    assert lapses


@pytest.mark.parametrize("action", ["grid", "continuous"])
def test_no_action_is_neither_pedal_nor_steering(action: str) -> None:
    env = gym.make("VLSafe-Highway-v0", scorer=None, observation="vector", action=action)
    env.reset(seed=0)
    inner = env.unwrapped
    nearest = inner.actions.nearest(0.0, 0.0, inner.ego)  # type: ignore[attr-defined]
    assert np.array_equal(no_action(env.action_space), nearest)


def test_no_meta_action_is_idle() -> None:
    assert no_action(gym.make("VLSafe-Highway-v0", scorer=None).action_space) == IDLE
