"""The shield around several environments that are stepped together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from vlsafe_agents.common.border import Array
from vlsafe_agents.risk.model import RiskModel
from vlsafe_agents.risk.shield import Decision, check_actions, decide, shield_threshold

VectorEnv = gym.vector.VectorEnv[Any, Any, Any]
SenseAll = Callable[[VectorEnv], Sequence[Mapping[str, Array]]]


class ShieldedVectorEnv(gym.vector.VectorWrapper):
    """Gymnasium's vector environment, each of its environments as in :class:`SafetyShield`.

    Each is decided on by itself: in its last bits a network's answer depends on how many it is
    asked about at once, and episodes are to be the same alone and side by side.

    Args:
        env: with the action space of the risk model.
        model: says the risks.
        threshold: as of :class:`SafetyShield`.
        sense: what the risk model sees of each environment.

    Raises:
        ValueError: for another action space or a threshold out of range.
    """

    def __init__(
        self, env: VectorEnv, model: RiskModel, sense: SenseAll, threshold: float | None = None
    ) -> None:
        super().__init__(env)
        check_actions(model, env.single_action_space, "the environment")
        self.model, self._sense = model, sense
        self.threshold = shield_threshold(model, threshold)

    @property
    def envs(self) -> Sequence[Any]:
        """The environments, to be looked at by drivers."""
        found: Sequence[Any] = self.env.envs  # type: ignore[attr-defined]
        return found

    def step(self, actions: Any) -> Any:
        """Take the actions, or others in their places."""
        taken = np.array(actions)
        decisions = [
            self._decide(seen, taken[slot]) for slot, seen in enumerate(self._sense(self.env))
        ]
        for slot, decision in enumerate(decisions):
            if decision.replaced[0]:
                taken[slot] = decision.action[0]
        observations, rewards, terminated, truncated, infos = self.env.step(taken)
        facts = {
            "shield_risk": [float(d.risk[0]) for d in decisions],
            "shield_replaced": [bool(d.replaced[0]) for d in decisions],
            "shield_reward_change": [float(d.reward_change[0]) for d in decisions],
        }
        for name, values in facts.items():
            infos[name], infos[f"_{name}"] = np.array(values), np.ones(self.num_envs, bool)
        return observations, rewards, terminated, truncated, infos

    def _decide(self, seen: Mapping[str, Array], action: Any) -> Decision:
        obs = {name: np.asarray(part)[None] for name, part in seen.items()}
        return decide(self.model, obs, np.asarray(action)[None], self.threshold)
