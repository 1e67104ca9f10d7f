"""Risk as a network: a chance for each vehicle, joined as if they were independent.

``P(event | state, action, tail) = 1 - (1 - p_0) * prod_k (1 - p_k)``: p_k of vehicle k by its own
features, p_0 of the rest (leaving the road, or all that vectors show).  Another vehicle adds its
own chance and changes no other's, so that the product means the same in denser traffic than was
recorded, where a network of the whole scene does not (noisy-or, Pearl 1988, section 4.3.2).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlsafe_agents.common.vehicle_rows import scaled_rows
from vlsafe_agents.vlsafe.networks import MLP, Standardise

CALM = -3.0  # logit that every chance begins with


class RiskNet(nn.Module):
    """Chances of an event, the reward to come, and the actions with which tails begin.

    Rewards are those of the branches: sums within the horizon.

    Args:
        features: numbers D that describe the state without the vehicles.
        columns: F of a vehicle's row; 0: there is no set of vehicles.
        choices: numbers C that stand for an action and a tail.
        beginnings: numbers that say how all tails begin.
    """

    reward_mean: Tensor
    reward_deviation: Tensor

    def __init__(
        self, features: int, columns: int, choices: int, beginnings: int, units: int, layers: int
    ) -> None:
        super().__init__()
        self.register_buffer("reward_mean", torch.zeros(()))
        self.register_buffer("reward_deviation", torch.ones(()))
        self.standardise = Standardise(features)
        self.rest = MLP(features + choices, units, layers, 1, zero_output=True)
        self.reward = MLP(features + choices, units, layers, 1, zero_output=True)
        self.begin = MLP(features, units, layers, beginnings, zero_output=True)
        self.vehicle = (
            MLP(columns + features + choices, units, layers, 1, zero_output=True)
            if columns
            else None
        )

    def log_safe(self, features: Tensor, rows: Tensor | None, choice: Tensor) -> Tensor:
        """``log(1 - P)`` ``(B,)``, below 0.

        Args:
            features: ``(B, D)``, standardised.
            rows: ``(B, M, F)``, scaled (``vehicle_rows.scaled_rows``); None without a set.
            choice: ``(B, C)``.
        """
        known = torch.cat([features, choice], -1)  # (B, D + C)
        log_safe = -F.softplus(self.rest(known).squeeze(-1) + CALM)
        if rows is None or self.vehicle is None:
            return log_safe
        state, row = torch.nonzero(rows[..., 0] > 0.5, as_tuple=True)  # (K,), vehicles there are
        each = torch.cat([rows[state, row], known[state]], -1)  # (K, F + D + C)
        chance = F.softplus(self.vehicle(each).squeeze(-1) + CALM)  # (K,), -log(1 - p_k)
        return log_safe.index_add(0, state, -chance)

    def rewards(self, features: Tensor, choice: Tensor) -> Tensor:
        """Expected reward ``(B,)``; arguments as of :meth:`log_safe`."""
        standardised: Tensor = self.reward(torch.cat([features, choice], -1)).squeeze(-1)
        return standardised * self.reward_deviation + self.reward_mean

    def reward_loss(self, features: Tensor, choice: Tensor, reward: Tensor) -> Tensor:
        """Squared error ``(B,)`` of :meth:`rewards`, in standard deviations of the rewards."""
        error = (self.rewards(features, choice) - reward) / self.reward_deviation
        return error.square() / 2


def event_loss(log_safe: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy ``(B,)`` of chances ``(B,)`` in [0, 1] to ``log(1 - P)`` ``(B,)``."""
    log_risk = torch.log(-torch.expm1(log_safe.clamp_max(-1e-6)))
    return -(target * log_risk + (1 - target) * log_safe)


def scaled(rows: Tensor | None) -> Tensor | None:
    """Rows of vehicles as :meth:`RiskNet.log_safe` wants them."""
    return None if rows is None else scaled_rows(rows)
