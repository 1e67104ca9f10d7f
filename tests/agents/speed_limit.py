"""A toy constrained MDP: drive fast, but brake before the limit falls.

Small enough for exact dynamic programming, yet with what matters on a road: reward for speed, cost
for exceeding a limit that is announced one step ahead, and crashes that end the episode.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from vlsafe_agents.data.dataset import EpisodeDataset
from vlsafe_agents.data.episode import Episode

STEPS = 20
TOP = 3  # speeds 0 .. 3
LIMITS = (1, 2, 3)
CHANGE = 0.4  # chance that the announced limit is a new one
CRASH = 0.5  # chance of a crash two or more above the limit
Driver = Callable[[int, int, int, np.random.Generator], int]


class SpeedLimit(gym.Env[np.ndarray, Any]):
    """Actions brake, keep, accelerate; ``continuous=True`` reads them off [-bound, bound]."""

    def __init__(self, continuous: bool = False, bound: float = 1.0) -> None:
        self.observation_space = spaces.Box(-1.0, 1.0, (4,), np.float32)
        self.continuous, self.bound = continuous, bound
        self.action_space: Any = (
            spaces.Box(-bound, bound, (1,), np.float32) if continuous else spaces.Discrete(3)
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.speed, self.time = 1, 0
        self.limit = int(self.np_random.choice(LIMITS))
        self.announced = int(self.np_random.choice(LIMITS))
        return self._observe(), {"cost": 0.0, "safety_score": self._safety_score()}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        if self.continuous:
            change = round(float(np.asarray(action).reshape(-1)[0]) / self.bound)
        else:
            change = action - 1
        self.speed = int(np.clip(self.speed + int(change), 0, TOP))
        self.limit = self.announced
        if self.np_random.random() < CHANGE:
            self.announced = int(self.np_random.choice(LIMITS))
        self.time += 1
        excess = self.speed - self.limit
        crash = excess >= 2 and self.np_random.random() < CRASH
        cost = 10.0 if crash else float(excess > 0)
        info = {"cost": cost, "safety_score": 0.0 if crash else self._safety_score()}
        return self._observe(), self.speed / TOP, bool(crash), self.time >= STEPS, info

    def _safety_score(self) -> float:
        return {1: 0.1, 2: 0.02}.get(self.speed - self.limit, 0.95)

    def _observe(self) -> np.ndarray:
        scaled = [self.speed - 1.5, self.limit - 2, self.announced - 2, 2 * self.time / STEPS - 1]
        return np.array(scaled, np.float32) / np.array([1.5, 1, 1, 1], np.float32)


def careful(speed: int, limit: int, announced: int, rng: np.random.Generator) -> int:
    """Keeps to the announced limit but never exceeds 2, from where it can always brake in time."""
    return int(np.sign(min(announced, 2) - speed)) + 1


def reckless(speed: int, limit: int, announced: int, rng: np.random.Generator) -> int:
    return 2


def erratic(speed: int, limit: int, announced: int, rng: np.random.Generator) -> int:
    return int(rng.integers(3))


def noisy(speed: int, limit: int, announced: int, rng: np.random.Generator) -> int:
    driver = careful if rng.random() < 0.6 else erratic
    return driver(speed, limit, announced, rng)


MIX: dict[Driver, float] = {careful: 0.4, noisy: 0.3, reckless: 0.15, erratic: 0.15}


def record(
    episodes: int, seed: int = 0, continuous: bool = False, bound: float = 1.0
) -> EpisodeDataset:
    """A data set of ``episodes`` episodes by drivers of ``MIX``."""
    rng = np.random.default_rng(seed)
    env = SpeedLimit(continuous, bound)
    drivers = list(MIX)
    recorded = []
    for number in range(episodes):
        driver = drivers[rng.choice(len(drivers), p=list(MIX.values()))]
        recorded.append(_drive(env, driver, seed * 100_000 + number, rng))
    return EpisodeDataset.from_arrays(recorded, env.observation_space, env.action_space)


def _drive(env: SpeedLimit, driver: Driver, seed: int, rng: np.random.Generator) -> Episode:
    obs, info = env.reset(seed=seed)
    rows = {"obs": [obs], "cost": [0.0], "score": [info["safety_score"]]}
    actions, rewards, terminated, truncated = [], [], False, False
    while not (terminated or truncated):
        index = driver(env.speed, env.limit, env.announced, rng)
        action: Any = index
        if env.continuous:
            noise = rng.normal(0, 0.2)
            action = env.bound * np.clip(np.array([index - 1 + noise], np.float32), -1, 1)
        obs, reward, terminated, truncated, info = env.step(action)
        actions.append(action)
        rewards.append(reward)
        rows["obs"].append(obs)
        rows["cost"].append(info["cost"])
        rows["score"].append(info["safety_score"])
    return Episode(
        obs={"vector": np.stack(rows["obs"])},
        action=np.array(actions, np.float32 if env.continuous else np.int64),
        reward=np.array(rewards, np.float32),
        env_cost=np.array(rows["cost"], np.float32),
        safety_score=np.array(rows["score"], np.float32),
        terminated=terminated,
    )


def drive_agent(agent: Any, episodes: int, seed: int = 1_000, deterministic: bool = True) -> Any:
    """Mean return, mean cost and crash rate of ``agent`` over fixed seeds, side by side."""
    space = agent.action_space
    box = isinstance(space, spaces.Box)
    envs = [SpeedLimit(box, float(space.high[0]) if box else 1.0) for _ in range(episodes)]
    obs = np.stack([env.reset(seed=seed + i)[0] for i, env in enumerate(envs)])
    totals, running, state = np.zeros((episodes, 3)), np.ones(episodes, bool), None
    while running.any():
        actions, state = agent.predict(obs, state=state, deterministic=deterministic)
        for i in np.flatnonzero(running):
            obs[i], reward, terminated, truncated, info = envs[i].step(actions[i])
            totals[i] += reward, info["cost"], terminated
            running[i] = not (terminated or truncated)
    return totals.mean(0)


def drive_rule(driver: Driver, episodes: int, seed: int = 1_000) -> Any:
    """Mean return, mean cost and crash rate of a rule."""
    rng = np.random.default_rng(seed)
    env = SpeedLimit()
    runs = [_drive(env, driver, seed + number, rng) for number in range(episodes)]
    return np.mean([(r.reward.sum(), r.env_cost.sum(), r.terminated) for r in runs], 0)
