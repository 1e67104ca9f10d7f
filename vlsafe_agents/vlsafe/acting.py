"""How an agent is asked for actions beyond what SB3's ``predict`` takes."""

from __future__ import annotations

from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm

from vlsafe_agents.vlsafe.policies import Array, RecurrentState, VLSafePolicy


class Acting(BaseAlgorithm):
    """``predict`` of VLSafe."""

    policy: VLSafePolicy

    def predict(
        self,
        observation: Any,
        state: RecurrentState | None = None,
        episode_start: Array | None = None,
        deterministic: bool = False,
        cost_limit: float | Array | None = None,
    ) -> tuple[Array, RecurrentState | None]:
        """Actions, and the state for the next call; see :meth:`VLSafePolicy.predict`.

        Args:
            cost_limit: what an episode may cost, of an agent that was trained for a range of
                limits; None: ``policy.acting_limit``, which is the lowest unless it is set.  Those
                who cannot pass a limit (``evaluate_policy``, callbacks) act under that one.
        """
        return self.policy.predict(observation, state, episode_start, deterministic, cost_limit)
