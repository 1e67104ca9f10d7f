"""A task that only a memory solves: the first observation says what to do some steps later.

One of two cues is seen at first, then nothing until a sign appears, 1 to ``LONGEST`` steps later;
the action taken then earns 1 if it is the cue's.  What is seen when it counts is the same for both
cues, so that a policy of one frame earns 0.5, whatever it is.
"""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces

LONGEST = 10


class Recall(gym.Env[np.ndarray, Any]):
    """The observation is (the cue, -1 or 1, or 0 where there is none; whether it counts now).

    Args:
        least: steps between cue and sign, at least.
        most: and at most; evenly drawn.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}

    def __init__(self, least: int = 1, most: int = LONGEST) -> None:
        self.observation_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.action_space = spaces.Discrete(2)
        self.delays = (least, most)
        self.cue, self.delay, self.time = 0, 0, 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.cue = int(self.np_random.integers(2))
        self.delay = int(self.np_random.integers(self.delays[0], self.delays[1] + 1))
        self.time = 0
        return self._look(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        counts = self.time == self.delay
        self.time += 1
        return self._look(), float(counts and int(action) == self.cue), counts, False, {}

    def _look(self) -> np.ndarray:
        cue = (2 * self.cue - 1) * (self.time == 0)
        return np.array([cue, self.time == self.delay], np.float32)


def share_recalled(agent: Any, delay: int, episodes: int = 200, seed: int = 1_000) -> float:
    """Share of episodes of this delay in which an agent does what the cue said."""
    envs = [Recall(delay, delay) for _ in range(episodes)]
    obs = np.stack([env.reset(seed=seed + i)[0] for i, env in enumerate(envs)])
    earned, state, start = 0.0, None, np.ones(episodes, bool)
    for _ in range(delay + 1):
        actions, state = agent.predict(obs, state=state, episode_start=start, deterministic=True)
        start[:] = False
        for i, env in enumerate(envs):
            obs[i], reward, _, _, _ = env.step(actions[i])
            earned += reward
    return earned / episodes
