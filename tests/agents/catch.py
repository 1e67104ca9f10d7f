"""Catch from pixels: a ball falls, and a paddle at the bottom has to be where it lands.

The game of Mnih et al. (2014, arXiv 1406.6247) and of bsuite, drawn as an image of coloured
squares.  What the best policy earns, with and without a limit on cost, is known exactly:
:func:`best_return`.
"""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

CELLS = 4  # rows and columns
STEPS = CELLS - 1  # of an episode: the ball falls one row a step
PIXELS = 8  # of the side of a cell: images of 32 x 32
GREY, BALL, PADDLE = (128, 128, 128), (255, 255, 255), (0, 0, 0)
# DreamerV3's form, preset "12M", in a size that one core learns with in minutes.
CATCH_CONFIG: dict[str, Any] = {
    "world_model": {
        "rssm": {"deter": 128, "hidden": 64, "stoch": 32, "classes": 8, "blocks": 4},
        "image": {"strides": (2, 2, 2), "channels": (8, 12, 16)},
        "heads": {"units": 64},
    },
    "network": {"units": 64, "layers": 2, "learning_rate": 2e-3, "warmup": 50},
    "train": {
        "batch_size": 16, "sequence_length": 4, "burn_in": 1, "learning_rate": 2e-3, "warmup": 50
    },
    "imagination": {"starts": 64, "horizon": 3, "gamma": 0.97},
    "online": {"train_ratio": 16.0, "learning_starts": 144},
}  # fmt: skip


class Catch(gym.Env[npt.NDArray[np.uint8], Any]):
    """Actions: left, stay, right.  Rewards: 1 for a ball that is caught, -1 for one that is not.

    Ball and paddle begin in any column, all as likely; the paddle can be in time for every ball.
    ``info["cost"]`` is 1 for a ball that is caught in the left half, and 0 otherwise: half of the
    return is to be had without cost.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}

    def __init__(self) -> None:
        side = CELLS * PIXELS
        self.observation_space = spaces.Box(0, 255, (side, side, 3), np.uint8)
        self.action_space = spaces.Discrete(3)
        self.row, self.column, self.paddle = 0, 0, 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[npt.NDArray[np.uint8], dict[str, Any]]:
        super().reset(seed=seed)
        self.row = 0
        self.column, self.paddle = self.np_random.integers(CELLS, size=2).tolist()
        return self._look(), {"cost": 0.0}

    def step(self, action: Any) -> tuple[npt.NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
        self.row += 1
        self.paddle = min(max(self.paddle + int(action) - 1, 0), CELLS - 1)
        over = self.row == STEPS
        caught = over and self.paddle == self.column
        cost = float(caught and self.column < CELLS // 2)
        return self._look(), float(2 * caught - 1) * over, over, False, {"cost": cost}

    def _look(self) -> npt.NDArray[np.uint8]:
        image = np.full(self.observation_space.shape or (), GREY, np.uint8)
        for row, column, colour in (
            (STEPS, self.paddle, PADDLE),
            (self.row, self.column, BALL),  # in front of the paddle
        ):
            top, left = PIXELS * row, PIXELS * column
            image[top : top + PIXELS, left : left + PIXELS] = colour
        return image


def best_return(limit: float | None) -> float:
    """What the best policy earns if its episodes may cost ``limit`` on average.

    Half of the balls fall into the left half; each that is caught there costs 1 and earns 2 more
    than one that is missed.
    """
    return 1.0 if limit is None else 1.0 - 2.0 * max(0.5 - limit, 0.0)


def play(
    agent: Any, episodes: int = 256, seed: int = 1_000_000, deterministic: bool = True
) -> tuple[float, float]:
    """Mean return and cost of an agent over fixed seeds."""
    envs = [Catch() for _ in range(episodes)]
    seen = np.stack([env.reset(seed=seed + i)[0] for i, env in enumerate(envs)])
    earned = paid = 0.0
    state, start = None, np.ones(episodes, bool)
    for _ in range(STEPS):
        actions, state = agent.predict(
            seen, state=state, episode_start=start, deterministic=deterministic
        )
        start[:] = False
        for i, env in enumerate(envs):
            seen[i], reward, _, _, info = env.step(actions[i])
            earned, paid = earned + reward / episodes, paid + info["cost"] / episodes
    return earned, paid
