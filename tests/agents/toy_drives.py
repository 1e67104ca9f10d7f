"""A toy to collect from: every array spells out episode and step; it can be slow and keep a log."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from toy_envs import CountingEnv

from vlsafe_agents.data.collect import CollectConfig, CollectSummary, collect


class NoisyCountingEnv(CountingEnv):
    """`CountingEnv` with random pictures, lengths from 3 to 7 and a packed scene, all by seed.

    Args:
        pause: [s] of each step
        log: file that gets a line with the seed at every reset
    """

    def __init__(self, pause: float = 0.0, log: str | None = None) -> None:
        super().__init__(ends="terminated", observation="multi")
        self.pause, self.log = pause, log

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        assert seed is not None
        self.length = 3 + seed % 5
        if self.log is not None:
            with open(self.log, "a") as file:
                file.write(f"{seed}\n")
        observation, info = super().reset(seed=seed)
        return self._draw(observation), self._tell(info)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        time.sleep(self.pause)
        observation, reward, terminated, truncated, info = super().step(action)
        return self._draw(observation), reward, terminated, truncated, self._tell(info)

    def _draw(self, observation: dict[str, Any]) -> dict[str, Any]:
        shape = observation["image"].shape
        return observation | {"image": self.np_random.integers(0, 256, shape, dtype=np.uint8)}

    def _tell(self, info: dict[str, Any]) -> dict[str, Any]:
        del info["safety_score"]
        scene = np.full((48, 7), self.time, np.float32)
        cost = float(self.time >= 3)
        return info | {"scene": scene, "headway": 1.0, "cost": cost, "env_cost": cost}


class CountingDriver:
    """Action t % 3 at observation t, or a random one."""

    def __init__(self, name: str, env: Any, rng: np.random.Generator) -> None:
        self.env, self.rng = env, rng if name == "random" else None

    def reset(self) -> None:
        """Nothing to forget."""

    def act(self) -> int:
        return self.env.time % 3 if self.rng is None else int(self.rng.integers(3))


MIX = {"expert": 0.5, "random": 0.5}


def collect_toy(
    out: Path, workers: int = 1, pause: float = 0.0, log: Path | None = None, **config: Any
) -> CollectSummary:
    """Collect 60 steps, or what ``config`` says."""
    settings: dict[str, Any] = {"env_id": "Toy-v0", "mix": MIX, "dataset_id": "vlsafe/toy-v0"}
    settings |= {} if "episodes" in config else {"steps": 60}
    make_env = partial(NoisyCountingEnv, pause, None if log is None else str(log))
    return collect(
        CollectConfig(**settings | config), out, make_env, CountingDriver, workers, progress=False
    )
