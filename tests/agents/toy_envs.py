"""Tiny environments whose right answers are known, for the agents' tests.

`SpeedLimitEnv`: a constrained bandit played for `horizon` steps. Reward is the speed a in [0, 1],
cost is 1 where a > 0.5. Cost-blind optimum: a = 1, return `horizon`, cost `horizon`. Best policy
that never pays: a = 0.5. Between the two every unit of cost buys 0.5 of reward, so the multiplier
of any binding limit is 0.5.

`CountingEnv`: observation, reward, cost and safety score spell out the time step, so a shift by
one anywhere shows.
"""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces

SPEEDS = np.array([0.0, 0.25, 0.5, 0.75, 1.0])


class SpeedLimitEnv(gym.Env[Any, Any]):
    """See the module's docstring; `continuous` has action Box(-1, 1, (1,)), speed (a + 1) / 2."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}

    def __init__(
        self, continuous: bool = False, horizon: int = 10, observation: str = "vector"
    ) -> None:
        self.horizon = horizon
        self.observation_space = observation_space(observation)
        self.action_space: spaces.Space[Any] = (
            spaces.Box(-1.0, 1.0, (1,), np.float32) if continuous else spaces.Discrete(len(SPEEDS))
        )
        self.time = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.time = 0
        return constant_observation(self.observation_space, 0), self._info(0.0)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if isinstance(self.action_space, spaces.Discrete):
            speed = float(SPEEDS[int(action)])
        else:
            speed = (float(np.clip(action, -1.0, 1.0)[0]) + 1.0) / 2.0
        self.time += 1
        observation = constant_observation(self.observation_space, 0)
        return observation, speed, False, self.time >= self.horizon, self._info(speed)

    def _info(self, speed: float) -> dict[str, Any]:
        cost = float(speed > 0.5)
        return {"cost": cost, "env_cost": cost, "collision": False, "speed": speed}


class NoisyEnv(SpeedLimitEnv):
    """Rewards are drawn from the environment's own generator."""

    render_mode = "rgb_array"

    def step(self, action: Any) -> Any:
        observation, _, terminated, truncated, info = super().step(action)
        return observation, float(self.np_random.normal()), terminated, truncated, info

    def render(self) -> np.ndarray:  # type: ignore[override]
        return np.zeros((4, 4, 3), np.uint8)


class CountingEnv(gym.Env[Any, Any]):
    """After t steps: observation t, reward t, cost 10 t, safety score 1 / (1 + t).

    Args:
        length: steps per episode
        ends: "terminated" or "truncated"
        observation: "vector", "image" or "multi"
        crash: report a collision on the last step
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(
        self,
        length: int = 5,
        ends: str = "truncated",
        observation: str = "vector",
        crash: bool = False,
    ) -> None:
        self.length, self.ends, self.crash = length, ends, crash
        self.observation_space = observation_space(observation)
        self.action_space = spaces.Discrete(3)
        self.render_mode = "rgb_array"
        self.time = 0
        self.steps_taken = 0  # over the whole life: shows whether anyone stepped the environment

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.time = 0
        return constant_observation(self.observation_space, 0), self._info()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.time += 1
        self.steps_taken += 1
        done = self.time >= self.length
        observation = constant_observation(self.observation_space, self.time)
        terminated, truncated = (
            done and self.ends == "terminated",
            done and self.ends != "terminated",
        )
        return observation, float(self.time), terminated, truncated, self._info()

    def render(self) -> np.ndarray:  # type: ignore[override]
        return np.full((8, 8, 3), self.time, dtype=np.uint8)

    def _info(self) -> dict[str, Any]:
        return {
            "cost": 10.0 * self.time,
            "env_cost": 1.0 * self.time,
            "safety_score": 1.0 / (1.0 + self.time),
            "collision": self.crash and self.time >= self.length,
            "off_road": False,
            "speed": 2.0 * self.time,
            "distance": 100.0 * self.time,
            "time_to_collision": np.inf,
        }


def observation_space(kind: str) -> spaces.Space[Any]:
    """The space of a `kind`: "vector" (3,), "image" (64, 64, 3) uint8, or "multi", a Dict."""
    vector = spaces.Box(-np.inf, np.inf, (3,), np.float32)
    image = spaces.Box(0, 255, (64, 64, 3), np.uint8)
    if kind == "multi":
        return spaces.Dict({"image": image, "vector": vector})
    return {"vector": vector, "image": image}[kind]


def constant_observation(space: spaces.Space[Any], value: int) -> Any:
    """An element of `space` filled with `value`."""
    if isinstance(space, spaces.Dict):
        return {key: constant_observation(part, value) for key, part in space.spaces.items()}
    return np.full(space.shape or (), value, dtype=space.dtype)


class Driver:
    """Always the same action; counts its resets."""

    def __init__(self, action: Any) -> None:
        self.action, self.resets = action, 0

    def reset(self) -> None:
        self.resets += 1

    def act(self) -> Any:
        return self.action
