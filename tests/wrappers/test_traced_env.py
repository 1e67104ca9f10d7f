"""An environment is brought to where another of its kind is; what stands against it is said."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from wrappers.random_states import generator_state, set_generator_state, space_generators
from wrappers.traced_env import TracedEnv, fingerprint


class Walk(gym.Env[Any, Any]):
    """A random walk that begins anywhere and ends at 50 steps."""

    def __init__(self) -> None:
        self.observation_space = spaces.Dict({"x": spaces.Box(-np.inf, np.inf, (2,), np.float64)})
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.wind = 1.0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.time = 0
        self.x = self.np_random.normal(size=2)
        return {"x": self.x}, {}

    def step(self, action: Any) -> Any:
        self.time += 1
        self.x = self.x + action + self.wind * self.np_random.normal(size=2)
        noise = self.action_space.sample()  # some environments do
        return {"x": self.x + noise}, float(noise.sum()), False, self.time == 50, {}


def driven(steps: int, episodes: int = 2, **reset: Any) -> TracedEnv:
    env = TracedEnv(Walk())
    rng = np.random.default_rng(0)
    for episode in range(episodes):
        env.reset(**(reset if episode == episodes - 1 else {}))
        for _ in range(steps):
            env.step(rng.uniform(-1, 1, 2).astype(np.float32))
    return env


@pytest.mark.parametrize("reset", [{}, {"seed": 7}, {"seed": None}])
@pytest.mark.parametrize("steps", [0, 1, 17])
def test_it_goes_on_as_the_other_does(steps: int, reset: dict[str, Any]) -> None:
    one, other = driven(steps, **reset), TracedEnv(Walk())
    assert other.return_to_episode(one.running_episode()) == ""
    assert fingerprint(other.running_episode()["actions"]) == fingerprint(
        one.running_episode()["actions"]
    )
    for _ in range(60):
        values = [env.step(np.ones(2, np.float32)) for env in (one, other)]
        assert fingerprint(values[0][0]) == fingerprint(values[1][0])
        assert values[0][1:] == values[1][1:]
        if values[0][3]:
            starts = [env.reset()[0] for env in (one, other)]
            assert fingerprint(starts[0]) == fingerprint(starts[1])


def test_what_stands_against_it_is_said() -> None:
    assert "no episode has begun" in new().running_episode()["fault"]
    with_options = driven(3, options={"road": 2}).running_episode()
    assert "options of reset" in TracedEnv(Walk()).return_to_episode(with_options)
    state = driven(3).running_episode()
    windy = TracedEnv(Walk())
    windy.wind = 2.0
    assert "its observation differs" in windy.return_to_episode(state)
    longer = {**state, "actions": np.zeros((60, 2), np.float32)}
    assert "is over" in TracedEnv(Walk()).return_to_episode(longer)
    wrong = {**state, "actions": np.zeros((3, 5), np.float32)}
    assert "could not be driven" in TracedEnv(Walk()).return_to_episode(wrong)
    assert "could not be driven" in TracedEnv(Walk()).return_to_episode({**state, "random": []})


def new() -> TracedEnv:
    return TracedEnv(Walk())


def test_attributes_are_those_of_the_environment() -> None:
    inner = Walk()
    env = TracedEnv(inner)
    env.wind = 3.0
    assert inner.wind == env.wind == env.get_wrapper_attr("wind") == 3.0
    with pytest.raises(AttributeError, match="nothing"):
        _ = env.nothing


@pytest.mark.parametrize("name", ["MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64"])
def test_states_of_generators_are_plain(name: str) -> None:
    one, other = (np.random.Generator(getattr(np.random, name)(seed)) for seed in (1, 2))
    one.random(5)
    set_generator_state(other, generator_state(one))
    assert np.array_equal(one.random(9), other.random(9))
    for bad in ({}, {"bit_generator": name}, {**generator_state(one), "state": {}}, None, 5):
        with pytest.raises(ValueError):
            set_generator_state(other, bad)  # type: ignore[arg-type]


def test_a_space_samples_with_its_own_generator_and_those_of_its_parts() -> None:
    space = spaces.Dict({"a": spaces.Discrete(3), "b": spaces.Tuple([spaces.Discrete(2)] * 2)})
    assert len(space_generators(space)) == 5
