"""Where dreams begin, how they go on, and how they compare with what was recorded."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from vlsafe_agents.common.devices import (
    any_of_team,
    averaged,
    gathered,
    own_share,
    team_size,
)
from vlsafe_agents.common.returns import discount_weights
from vlsafe_agents.vlsafe.batch import TensorBatch, masked_mean
from vlsafe_agents.vlsafe.policy_heads import Evaluation
from vlsafe_agents.vlsafe.rssm import RSSMState
from vlsafe_agents.vlsafe.world_model import Imagined, WorldModel

Metrics = dict[str, float]
Act = Callable[[Tensor], Tensor]  # features (N, F) to action vectors (N, A)


class Starts(NamedTuple):
    """States to dream from.

    ``rows`` says how many rows of the batch a start stands for, in units of their mean: the inverse
    of the chance of being chosen (Horvitz and Thompson 1952).  ``mean(rows * x)`` over starts is,
    in expectation, the mean of ``x`` over all rows that can be chosen.  ``own_rows`` are the same
    for dreams that follow the actor from the first action on, and 0 for the others, and for those
    that begin in branches of recorded drives: what is said of the data is said of the drives.
    """

    state: RSSMState  # (N, ...)
    first: Tensor  # (N,) bool: the first state of an episode
    explored: Tensor  # (N,) bool: the first action shall not be the actor's
    weight: Tensor  # (N,) of the batch's sequences
    rows: Tensor  # (N,)
    own_rows: Tensor  # (N,)
    by_driver: Tensor | None = None  # (N,) bool: of a recorded drive, no branch of one; None: all


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
    by_driver: Tensor | None = None  # (N,) bool: see Starts
    limit: Tensor | None = None  # (N,) on its cost; None: one for all


@torch.no_grad()
def choose_starts(posterior: RSSMState, batch: TensorBatch, count: int, explore: float) -> Starts:
    """At most ``count`` states of a batch, drawn without replacement.

    Terminal states are never chosen.  First states of episodes always are, unless they would be
    more than half of all, and follow the actor from the first action on, because the constraint is
    read there; of the others, a share ``explore`` begins with an exploring action.

    Args:
        posterior: states ``(B, T, ...)`` of the batch.

    Returns:
        In a team, this process's share of those that are drawn from all its processes' batches.
    """
    posterior = RSSMState(gathered(posterior.deter), gathered(posterior.stoch))
    is_terminal, is_first, by_driver, weight = (
        gathered(x) for x in (batch.is_terminal, batch.is_first, batch.by_driver, batch.weight)
    )
    order = torch.rand(weight.shape, device=weight.device).flatten()
    usable, by_driver = ~is_terminal.flatten(), by_driver.flatten()
    is_first = is_first.flatten() & by_driver  # a branch begins in mid-episode
    firsts, others = int((usable & is_first).sum()), int((usable & ~is_first).sum())
    count = min(count, firsts + others)
    count -= count % team_size()
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
    by_driver = by_driver[index]
    own_rows = torch.where(first, rows, ~explored * rows / max(1.0 - explore, 1e-6)) * by_driver
    index = own_share(index)
    return Starts(
        RSSMState(flat.deter[index], flat.stoch[index]),
        own_share(first),
        own_share(explored),
        weight.flatten()[index],
        own_share(rows),
        own_share(own_rows),
        own_share(by_driver),
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


def state_weight(dream: Dream, data_share: float, looks_ahead: bool) -> Tensor:
    """Weight ``(N, H)`` of each state in the actor's loss; sums to 1 over recorded and rest.

    Where a dream explores and the gate looks ahead, the gate of the first state is that of the
    exploring action and not of the actor, who is to be gated: it does not count.

    Args:
        data_share: of the recorded states.
        looks_ahead: whether the gate does.
    """
    weight = dream.rows[:, None] * dream.weight  # (N, H)
    recorded, imagined = weight[:, :1], weight[:, 1:]

    def total_of(part: Tensor) -> Tensor:
        return (averaged(part.sum()) * team_size()).clamp_min(1e-6)

    if looks_ahead:
        recorded = dream.own_rows[:, None] * dream.weight[:, :1]
    return torch.cat(
        [
            data_share * recorded / total_of(recorded),
            (1 - data_share) * imagined / total_of(imagined),
        ],
        1,
    )


def dream_metrics(dream: Dream, gamma: float) -> Metrics:
    """Discounted sums over the horizon, to compare with recorded ones, and lambda-returns.

    All are averages over rows of the data, of dreams that follow the actor throughout.
    """
    imagined = dream.imagined
    rows = dream.own_rows if any_of_team(bool((dream.own_rows > 0).any())) else dream.rows  # (N,)
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
    valid = alive & batch.by_driver
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

    An offline policy that exploits its world model looks ever better in imagination while real
    episodes get worse.  Compared are exponential averages (bias-corrected) of sums over the same
    horizon, recorded and imagined from rows of the same batches; they begin anew with each phase.

    - Return: the imagined one lies ``return_limit`` recorded standard deviations above the recorded
      one.
    - Cost, while dreams follow the prior: it is the drivers' own, so less than ``prior_share`` of
      the recorded cost means that model or prior miss dangers.
    - Cost, once the policy improves: less than ``policy_share``.  A policy that is that much safer
      than the recorded drivers is possible, and a reason to look.

    A warning comes as soon as ``after`` updates of a phase are averaged; again when the return's
    gap has grown by half a standard deviation, but of the cost once a phase.

    Args:
        least_costs: recorded sums with a cost that must have been seen before costs are compared:
            of few rare ones a mean says nothing.
    """

    def __init__(
        self,
        return_limit: float = 1.5,
        prior_share: float = 0.5,
        policy_share: float = 0.02,
        after: int = 50,
        least_costs: int = 30,
        decay: float = 0.98,
    ) -> None:
        self.return_limit, self.prior_share, self.policy_share = (
            return_limit,
            prior_share,
            policy_share,
        )
        self.after, self.least_costs, self.decay = after, least_costs, decay
        self._begin(improving=False)

    def update(
        self, imagined: Mapping[str, float], recorded: RecordedReturns, improving: bool
    ) -> Metrics:
        """Take in one update's figures; metrics of what was recorded, and of the gaps.

        Args:
            imagined: what :func:`dream_metrics` says of the update's dreams.
            improving: whether they followed a policy other than the prior.
        """
        if improving != self.improving:
            self._begin(improving)
        returns, costs = recorded.reward[recorded.valid], recorded.cost[recorded.valid]
        if returns.numel() >= 2:
            spread = returns.std().clamp_min(1e-3)
            gap = float((imagined["imagined/return"] - returns.mean()) / spread)
            seen = (gap, imagined["imagined/cost_return"], float(costs.mean()))
            for name, value in zip(self.sums, seen, strict=True):
                self.sums[name] = self.decay * self.sums[name] + (1 - self.decay) * value
            self.updates += 1
            self.costs_seen += int((costs > 0).sum())
            if self.updates >= self.after:
                self._look_at_return(self._mean("gap"))
                self._look_at_cost(self._mean("imagined"), self._mean("recorded"))
        metrics = {"imagined/gap": self._mean("gap")}  # [recorded standard deviations], smoothed
        if returns.numel():
            metrics |= {"data/return": returns.mean().item(), "data/cost": costs.mean().item()}
        return metrics

    def _begin(self, improving: bool) -> None:
        self.improving = improving
        self.updates = self.costs_seen = 0
        self.sums = {"gap": 0.0, "imagined": 0.0, "recorded": 0.0}  # the last two are of costs
        self.warn_above = self.return_limit
        self.warn_below = self.policy_share if improving else self.prior_share

    def _mean(self, name: str) -> float:
        return self.sums[name] / (1 - self.decay**self.updates) if self.updates else 0.0

    def _look_at_return(self, gap: float) -> None:
        if gap <= self.warn_above:
            return
        self.warn_above = gap + 0.5
        warnings.warn(
            f"The imagined return lies {gap:.1f} standard deviations above the recorded "
            "one: the policy may exploit errors of the world model. Compare imagined/return "
            "with the return of real episodes (EvalCallback); raise "
            "improvement.support_threshold, lower beta_reward or beta, or add data.",
            stacklevel=3,
        )

    def _look_at_cost(self, imagined: float, recorded: float) -> None:
        few = self.costs_seen < self.least_costs
        if few or recorded <= 0.0 or imagined >= self.warn_below * recorded:
            return
        share = max(imagined, 0.0) / recorded
        self.warn_below = 0.0  # once a phase
        whose = "the policy" if self.improving else "the behaviour prior, thus of the data's own,"
        warnings.warn(
            f"The imagined cost of {whose} is {100 * share:.2g}% of the recorded one: "
            + (
                "it may exploit a world model that misses dangers. Compare imagined/cost_return "
                "with the cost of real episodes (EvalCallback); raise "
                "improvement.support_threshold, or add data with costs."
                if self.improving
                else "the world model misses dangers. Train it for longer, raise "
                "world_model.cost_positive_weight or research.unsafe_ends, or add data with costs."
            ),
            stacklevel=3,
        )
