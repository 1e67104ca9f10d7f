"""A constrained MDP with a known optimum, for any learner of constrained problems.

Ten steps, action x in [0, 1], reward x, cost x^2, E[sum of costs] <= 2.5.  Steps are alike and the
Lagrangian 10 (x - lambda x^2) is concave, so the best policy takes x = 1 / (2 lambda) at each step:
at the limit x = 0.5, return 5, multiplier 1.  Without the limit x = 1, return and cost 10.
"""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces

STEPS = 10
LIMIT = 2.5
BEST_RETURN = 5.0
BEST_MULTIPLIER = 1.0
GREEDY_COST = 10.0  # of the best policy without the limit; so is its return


class TradeOff(gym.Env[Any, Any]):
    """The observation is the share of the episode that has passed; episodes end by termination."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}

    def __init__(self) -> None:
        self.observation_space = spaces.Box(0.0, 1.0, (1,), np.float32)
        self.action_space = spaces.Box(0.0, 1.0, (1,), np.float32)
        self.time = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.time = 0
        return self._look(), {"cost": 0.0}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        x = float(np.clip(action, 0.0, 1.0)[0])
        self.time += 1
        return self._look(), x, self.time >= STEPS, False, {"cost": x * x}

    def _look(self) -> np.ndarray:
        return np.array([self.time / STEPS], np.float32)
