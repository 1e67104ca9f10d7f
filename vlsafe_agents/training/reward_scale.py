"""Rewards of another size, for critics that learn from raw sums."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn


class RewardScale(VecEnvWrapper):
    """Multiplies the reward that is learnt from; logged returns keep the environment's units.

    PPO's critic fits raw returns by least squares, so that returns in the hundreds, as the tasks
    pay, may crowd out what the policy needs of their shared features.  SB3's ``VecNormalize``
    learns a scale while it drives; a fixed one survives a restart and keeps the multiplier's
    meaning.
    """

    running_attributes: ClassVar[tuple[str, ...]] = ()  # nothing goes on from step to step

    def __init__(self, venv: VecEnv, scale: float) -> None:
        super().__init__(venv)
        self.scale = scale

    def reset(self) -> VecEnvObs:
        """Observations ``(N, ...)`` as they are."""
        return self.venv.reset()

    def step_wait(self) -> VecEnvStepReturn:
        """As of the environments, the reward ``(N,)`` times ``scale``."""
        observation, reward, done, info = self.venv.step_wait()
        return observation, (self.scale * reward).astype(np.float32), done, info
