"""Where dreams begin, how they go on, and how they compare with what was recorded."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from vlsafe_agents.common.returns import discount_weights
from vlsafe_agents.vlsafe.batch import TensorBatch
from vlsafe_agents.vlsafe.policy_heads import Evaluation
from vlsafe_agents.vlsafe.rssm import RSSMState
from vlsafe_agents.vlsafe.world_model import Imagined, WorldModel

Act = Callable[[Tensor], Tensor]  # features (N, F) to action vectors (N, A)


class Starts(NamedTuple):
    """States to dream from."""

    state: RSSMState  # (N, ...)
    first: Tensor  # (N,) bool: the first state of an episode
    explored: Tensor  # (N,) bool: the first action shall not be the actor's
    weight: Tensor  # (N,) of the batch's sequences


class Dream(NamedTuple):
    """Imagined trajectories with their returns."""

    imagined: Imagined
    explored: Tensor  # (N,) bool: the first action is not the actor's
    first: Tensor  # (N,) bool: begins at the first state of an episode
    start_weight: Tensor  # (N,) of the sequence it begins in
    weight: Tensor  # (N, H): chance that the state is reached at all
    reward_return: Tensor  # (N, H) lambda-returns
    cost_return: Tensor  # (N, H)
    evaluation: Evaluation | None  # None where actions cannot be counted


@torch.no_grad()
def choose_starts(posterior: RSSMState, batch: TensorBatch, count: int, explore: float) -> Starts:
    """At most ``count`` states of a batch, drawn without replacement.

    Terminal states are never chosen.  First states of episodes always are, and follow the actor
    from the first action on, because the constraint is read there; of the others, a share
    ``explore`` begins with an exploring action.

    Args:
        posterior: states ``(B, T, ...)`` of the batch.
    """
    order = torch.rand(batch.reward.shape, device=batch.reward.device)
    order = order + batch.is_first.float() - 2.0 * batch.is_terminal.float()
    count = min(count, int((~batch.is_terminal).sum()))
    index = order.flatten().topk(count).indices  # (N,)
    flat = posterior.flatten()
    first = batch.is_first.flatten()[index]
    explored = (torch.rand(count, device=index.device) < explore) & ~first
    state = RSSMState(flat.deter[index], flat.stoch[index])
    return Starts(state, first, explored, batch.weight.flatten()[index])


def imagine(
    world_model: WorldModel, starts: Starts, act: Act, first_act: Act, horizon: int
) -> Imagined:
    """Dream with ``act``; where ``starts.explored``, the first action comes from ``first_act``."""
    pending = [starts.explored.unsqueeze(-1)]  # (N, 1), consumed by the first of the H calls

    def policy(feat: Tensor) -> Tensor:
        action = act(feat)
        return torch.where(pending.pop(), first_act(feat), action) if pending else action

    return world_model.imagine(starts.state, policy, horizon)


def dream_metrics(dream: Dream, gamma: float) -> dict[str, float]:
    """Discounted sums over the horizon, to compare with recorded ones, and lambda-returns."""
    imagined, own = dream.imagined, ~dream.explored
    if not own.any():
        own = torch.ones_like(own)
    weight = discount_weights(imagined.cont, gamma)[own, :-1]  # (N', H)
    return {
        "imagined/return": (weight * imagined.reward[own]).sum(-1).mean().item(),
        "imagined/cost_return": (weight * imagined.cost[own]).sum(-1).mean().item(),
        "imagined/safety_score": imagined.safety_score[own, 1:].mean().item(),
        "imagined/value": dream.reward_return[own, 0].mean().item(),
        "imagined/cost_value": dream.cost_return[own, 0].mean().item(),
    }


# --- beside the record ----------------------------------------------------------------------------


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

    def update(self, imagined_return: float, recorded: RecordedReturns) -> dict[str, float]:
        """Take in one update's figures; metrics of what was recorded, and of the gap."""
        returns, costs = recorded.reward[recorded.valid], recorded.cost[recorded.valid]
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
        metrics = {"imagined/gap": self.gap}  # [recorded standard deviations], smoothed
        if returns.numel():
            metrics |= {"data/return": returns.mean().item(), "data/cost": costs.mean().item()}
        return metrics
