"""SB3's policies in spaces whose actions are not counted from 0."""

from __future__ import annotations

from typing import Any

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm

from vlsafe_agents.common.border import check_seen, from_first


class ActsInSpace(BaseAlgorithm):
    """Mixin, to be named before SB3's class: ``predict`` gives actions of the agent's space."""

    def predict(self, observation: Any, *args: Any, **kwargs: Any) -> tuple[np.ndarray, Any]:
        """SB3's ``predict``, with actions of a ``Discrete`` space counted from its ``start``.

        Raises:
            ValueError: if the observation is not finite
        """
        check_seen(observation)
        actions, state = super().predict(observation, *args, **kwargs)
        return from_first(actions, self.action_space), state
