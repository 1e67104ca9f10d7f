"""Environments, costs and policies as other people write them, for commands that import them."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class Line(gym.Env[Any, Any]):
    """A point on a line that is moved by the action; a penalty where it is beyond 1."""

    def __init__(self, horizon: int = 6, key: str = "crash") -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.horizon, self.key = horizon, key
        self.place, self.time = 0.0, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.place, self.time = float(self.np_random.uniform(-0.5, 0.5)), 0
        return self._see(), {}

    def step(self, action: Any) -> Any:
        self.place += float(np.asarray(action).reshape(-1)[0])
        self.time += 1
        info = {self.key: float(abs(self.place) > 1), "terms": {"far": abs(self.place) > 1}}
        return self._see(), -abs(self.place), False, self.time >= self.horizon, info

    def _see(self) -> Any:
        return np.array([self.place, self.time], np.float64)


class SixTuple(Line):
    """The same with Safety-Gymnasium's step."""

    def step(self, action: Any) -> Any:
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, reward, info.pop(self.key), terminated, truncated, info


def make(**kwargs: Any) -> Line:
    return Line(**kwargs)


def make_six(**kwargs: Any) -> SixTuple:
    return SixTuple(**kwargs)


def no_env() -> int:
    return 3


def far(observation: Any, action: Any, next_observation: Any, info: Any) -> float:
    return float(abs(next_observation[0]) > 1)


def hurry(observation: Any, action: Any, next_observation: Any, info: Any) -> float:
    return float(abs(next_observation[0] - observation[0]))


def negative(*_: Any) -> float:
    return -1.0


def homewards(observation: Any) -> Any:
    return np.clip(-observation[:1], -1, 1).astype(np.float32)


def noisy(observation: Any, rng: np.random.Generator) -> Any:
    return rng.uniform(-1, 1, 1).astype(np.float32)


def brightness(frames: Any) -> Any:
    """A scorer: bright frames are safe."""
    return frames.mean((1, 2, 3)) / 255


def cruise(observation: Any) -> int:
    """A policy for vlsafe's roads, which keeps doing nothing."""
    return 1
