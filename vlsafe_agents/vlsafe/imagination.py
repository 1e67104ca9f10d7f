"""Where dreams begin, how they go on, and how they compare with what was recorded."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from vlsafe_agents.common.returns import discount_weights
from vlsafe_agents.vlsafe.batch import TensorBatch, masked_mean
from vlsafe_agents.vlsafe.policy_heads import Evaluation
from vlsafe_agents.vlsafe.rssm import RSSMState
from vlsafe_agents.vlsafe.world_model import Imagined, WorldModel

Act = Callable[[Tensor], Tensor]  # features (N, F) to action vectors (N, A)


class Starts(NamedTuple):
    """States to dream from.

    ``rows`` says how many rows of the batch a start stands for, in units of their mean: the inverse
    of the chance of being chosen (Horvitz and Thompson 1952).  ``mean(rows * x)`` over starts is,
    in expectation, the mean of ``x`` over all rows that can be chosen.  ``own_rows`` are the same
    for dreams that follow the actor from the first action on, and 0 for the others.
    """

    state: RSSMState  # (N, ...)
    first: Tensor  # (N,) bool: the first state of an episode
    explored: Tensor  # (N,) bool: the first action shall not be the actor's
    weight: Tensor  # (N,) of the batch's sequences
    rows: Tensor  # (N,)
    own_rows: Tensor  # (N,)


class Dream(NamedTuple):
    """Imagined trajectories with their returns."""

    imagined: Imagined
    explored: Tensor  # (N,) bool: the first action is not the actor's
    first: Tensor  # (N,) bool: begins at the first state of an episode
    start_weight: Tensor  # (N,) of the sequence it begins in
    rows: Tensor  # (N,) rows of the batch that its start stands for, see Starts
    own_rows: Tensor  # (N,) the same among dreams that do not explore
    weight: Tensor  # (N, H): chance that the state is reached at all
    reward_return: Tensor  # (N, H) lambda-returns
    cost_return: Tensor  # (N, H)
    evaluation: Evaluation | None  # None where actions cannot be counted


@torch.no_grad()
def choose_starts(posterior: RSSMState, batch: TensorBatch, count: int, explore: float) -> Starts:
    """At most ``count`` states of a batch, drawn without replacement.

    Terminal states are never chosen.  First states of episodes always are, unless they would be
    more than half of all, and follow the actor from the first action on, because the constraint is
    read there; of the others, a share ``explore`` begins with an exploring action.

    Args:
        posterior: states ``(B, T, ...)`` of the batch.
    """
    order = torch.rand(batch.reward.shape, device=batch.reward.device).flatten()
    usable, is_first = ~batch.is_terminal.flatten(), batch.is_first.flatten()
    firsts, others = int((usable & is_first).sum()), int((usable & ~is_first).sum())
    count = min(count, firsts + others)
    chosen_firsts = min(firsts, max((count + 1) // 2, count - others))
    groups = (
        (is_first, firsts, chosen_firsts),
        (~is_first, others, count - chosen_firsts),
    )
    index = torch.cat(  # (N,)
        [(order + (usable & which).float()).topk(chosen).indices for which, _, chosen in groups]
    )
    rows = torch.cat([order.new_full((n,), size / max(n, 1)) for _, size, n in groups])
    rows = rows * count / (firsts + others)
    first = is_first[index]
    explored = (torch.rand(count, device=index.device) < explore) & ~first
    flat = posterior.flatten()
    return Starts(
        RSSMState(flat.deter[index], flat.stoch[index]),
        first,
        explored,
        batch.weight.flatten()[index],
        rows,
        torch.where(first, rows, ~explored * rows / max(1.0 - explore, 1e-6)),
    )


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
    """Discounted sums over the horizon, to compare with recorded ones, and lambda-returns.

    All are averages over rows of the data, of dreams that follow the actor throughout.
    """
    imagined = dream.imagined
    rows = dream.own_rows if (dream.own_rows > 0).any() else dream.rows  # (N,)
    weight = discount_weights(imagined.cont, gamma)[:, :-1]  # (N, H)
    per_dream = {
        "imagined/return": (weight * imagined.reward).sum(-1),
        "imagined/cost_return": (weight * imagined.cost).sum(-1),
        "imagined/safety_score": imagined.safety_score[:, 1:].mean(-1),
        "imagined/value": dream.reward_return[:, 0],
        "imagined/cost_value": dream.cost_return[:, 0],
    }
    return {name: masked_mean(x, rows).item() for name, x in per_dream.items()}


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
