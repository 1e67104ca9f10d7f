"""An environment with an edge, whose risks are known, and what drives and branches there."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from vlsafe_agents.data.branching import Brancher
from vlsafe_agents.risk import BranchingConfig, Outcomes, RiskConfig, branch_outcomes
from vlsafe_agents.risk.judge import Judge

STAY, GO = 0, 1
SMALL = RiskConfig(horizon=4.0, units=32, updates=400, batch_size=64, learning_rate=3e-3)
BRANCHING = BranchingConfig(("go", "stay"), 1.0, horizon=4.0, hold_seconds=1.0, every=1.0)


class Ledge(gym.Env[Any, Any]):
    """Going on is worth 1 a step; from place 5 on there is nothing to stand on.

    A gust takes whoever goes with a chance of ``gust``, so that risks are known: going for 4 steps
    ends badly with chance 1 from place 1 on, from place 0 with ``1 - (1 - gust)^4``.
    """

    observation_space = spaces.Dict({"place": spaces.Box(0.0, 10.0, (1,), np.float32)})
    action_space = spaces.Discrete(2)

    def __init__(self, gust: float = 0.0) -> None:
        self.gust, self.last_observation = gust, {}

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.place, self.time = 0, 0
        return self.see(), {"cost": 0.0}

    def step(self, action: Any) -> Any:
        self.time += 1
        self.place += int(action == GO)
        fell = self.place >= 5 or bool(action == GO and self.np_random.random() < self.gust)
        info = {"cost": float(fell)}
        return self.see(), float(action == GO), fell, self.time >= 12, info

    def see(self) -> dict[str, np.ndarray]:
        self.last_observation = {"place": np.array([self.place], np.float32)}
        return self.last_observation

    def render(self) -> Any:
        """A picture with the place in its first pixel."""
        return np.full((8, 8, 3), self.place, np.uint8)


class Always:
    """Takes one action."""

    def __init__(self, action: int) -> None:
        self.action = action

    def reset(self) -> None:
        """Nothing is remembered."""

    def act(self) -> int:
        return self.action


class Sometimes:
    """Goes in two of three steps."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def reset(self) -> None:
        """Nothing is remembered."""

    def act(self) -> int:
        return int(self.rng.random() < 2 / 3)


def branches(env: Any, plans: Any, read: Any) -> Any:
    here = env.place, env.time, env.last_observation
    for plan in plans:
        result = read(env, plan)
        env.place, env.time, env.last_observation = here
        yield result


BRANCHER = Brancher(branches, lambda name, env, rng: Always(GO if name == "go" else STAY))


def drive(env: Any, rng: np.random.Generator) -> Sometimes:
    return Sometimes(rng)


def ledge_outcomes(
    states: int = 200, gust: float = 0.0, judge: Judge | None = None, **changes: Any
) -> Outcomes:
    config = BranchingConfig(**{**vars(BRANCHING), **changes})
    given = (drive, config, BRANCHER, states)
    return branch_outcomes(Ledge(gust), range(10_000), *given, judge=judge)
