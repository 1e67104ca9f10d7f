"""Recorded returns in the units of imagined ones, and a warning when the two drift apart."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import torch
from torch import Tensor

from vlsafe_agents.vlsafe.batch import TensorBatch


class RecordedReturns(NamedTuple):
    """Discounted sums over a horizon, as they were recorded."""

    reward: Tensor  # (B, T)
    cost: Tensor  # (B, T)
    valid: Tensor  # (B, T) bool: the horizon fits the sequence and no time-out cuts it


def recorded_returns(batch: TensorBatch, gamma: float, horizon: int) -> RecordedReturns:
    """``sum_{k=1..H} gamma^(k-1) x_{t+k}`` of reward and cost, stopped at a terminal state.

    A window that runs into the next episode without a terminal state (a time-out) is not valid.
    Neither is one that would run over the end of the sequence, even where a terminal state stops it
    before: of the last windows only those that end badly would count.
    """
    alive = torch.ones_like(batch.is_first)  # (B, T): nothing terminal so far
    alive &= ~batch.is_terminal & batch.has_action
    valid = alive.clone()
    valid[:, max(valid.shape[1] - horizon, 0) :] = False
    sums = {"reward": torch.zeros_like(batch.reward), "cost": torch.zeros_like(batch.cost)}
    for k in range(1, horizon + 1):
        border = _ahead(batch.is_first, k, True)
        valid &= ~(alive & border)
        alive = alive & ~border
        for name, total in sums.items():
            total += gamma ** (k - 1) * alive * _ahead(getattr(batch, name), k, 0.0)
        alive = alive & ~_ahead(batch.is_terminal, k, False)
    return RecordedReturns(sums["reward"], sums["cost"], valid)


def recorded_steps(batch: TensorBatch) -> Tensor:
    """Where ``(o_t, a_t, o_{t+1})`` is a step of one episode, ``(B, T - 1)`` bool."""
    return batch.has_action[:, :-1] & ~batch.is_first[:, 1:]


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean of ``x`` with weights ``mask``, a scalar; 0 where all of them are."""
    return (x * mask).sum() / mask.sum().clamp_min(1e-6)


def _ahead(x: Tensor, k: int, fill: float | bool) -> Tensor:
    """``x`` ``(B, T)`` at ``t + k``, with ``fill`` beyond the end."""
    k = min(k, x.shape[1])
    return torch.cat([x[:, k:], torch.full_like(x[:, :k], fill)], 1)


class GapWarning:
    """Warns when imagination promises what the data have never shown.

    An offline policy that exploits its world model looks ever better in imagination: the imagined
    return leaves the range of the data, or the imagined cost falls far below what any recorded
    stretch had, while the true cost rises.  Compared are exponential averages of sums over the same
    horizon; a warning follows when a gap is beyond its limit and larger than at the last warning.

    Args:
        every: updates between two checks.
        return_limit: allowed excess of the imagined return, in standard deviations of the recorded
            ones.
    """

    def __init__(self, every: int = 500, return_limit: float = 1.5, decay: float = 0.99) -> None:
        self.every, self.return_limit, self.decay = every, return_limit, decay
        self.updates = 0
        self.gap = 0.0
        self.warned_at = 0.0

    def update(self, imagined_return: float, recorded: RecordedReturns) -> float:
        """Take in one update's figures; return the smoothed gap [recorded standard deviations]."""
        returns = recorded.reward[recorded.valid]
        if returns.numel() >= 2:
            spread = returns.std().clamp_min(1e-3)
            gap = float((imagined_return - returns.mean()) / spread)
            self.gap = gap if self.updates == 0 else self.decay * self.gap + (1 - self.decay) * gap
            self.updates += 1
        if self.updates % self.every == 0 and self.gap > max(self.return_limit, self.warned_at):
            self.warned_at = self.gap + 0.5
            warnings.warn(
                f"The imagined return lies {self.gap:.1f} standard deviations above the recorded "
                "one: the policy may exploit errors of the world model. Compare imagined/return "
                "with the return of real episodes (EvalCallback); raise "
                "improvement.support_threshold, lower beta_reward or beta, or add data.",
                stacklevel=3,
            )
        return self.gap
