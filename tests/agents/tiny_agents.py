"""Agents that learn in a second, and environments for them."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from speed_limit import SpeedLimit

from vlsafe_agents import VLSafe
from vlsafe_agents.data.dataset import EpisodeDataset


class Still(gym.Env[Any, Any]):
    """Random observations of any space; episodes of three steps."""

    def __init__(self, observation_space: spaces.Space[Any]) -> None:
        self.observation_space, self.action_space = observation_space, spaces.Discrete(3)

    def reset(self, **kwargs: Any) -> Any:
        super().reset(**kwargs)
        self.left = 3
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> Any:
        self.left -= 1
        return self.observation_space.sample(), 1.0, False, self.left == 0, {}


IMAGE = spaces.Box(0, 255, (64, 64, 3), np.uint8)
VECTOR = spaces.Box(-1.0, 1.0, (4,), np.float32)
MULTI = spaces.Dict({"image": IMAGE, "vector": VECTOR})


def make(dataset: EpisodeDataset | None, env: Any = None, **kwargs: Any) -> VLSafe:
    env = SpeedLimit() if env is None else env
    kwargs = {"preset": "debug", "seed": 0, "device": "cpu"} | kwargs
    return VLSafe("MlpPolicy", env, dataset, **kwargs)


def weights(agent: VLSafe) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in agent.policy.parameters()])
