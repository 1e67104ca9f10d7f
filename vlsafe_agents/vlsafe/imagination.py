"""Where dreams begin, how they go on, and what is kept of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from vlsafe_agents.common.returns import discount_weights
from vlsafe_agents.vlsafe.batch import TensorBatch
from vlsafe_agents.vlsafe.rssm import RSSMState
from vlsafe_agents.vlsafe.world_model import Imagined, WorldModel

Act = Callable[[Tensor], Tensor]  # features (N, F) to action vectors (N, A)


class Starts(NamedTuple):
    """States to dream from."""

    state: RSSMState  # (N, ...)
    first: Tensor  # (N,) bool: the first state of an episode
    explored: Tensor  # (N,) bool: the first action shall not be the actor's
    weight: Tensor  # (N,) of the batch's sequences


class Evaluation(NamedTuple):
    """Policy and slow critics in every imagined state, for discrete actions; computed once."""

    log_policy: Tensor  # (N, H + 1, A), with gradient
    q_reward: Tensor  # (N, H + 1, A), no gradient
    q_cost: Tensor  # (N, H + 1, A), no gradient


class Dream(NamedTuple):
    """Imagined trajectories with their returns."""

    imagined: Imagined
    explored: Tensor  # (N,) bool: the first action is not the actor's
    first: Tensor  # (N,) bool: begins at the first state of an episode
    start_weight: Tensor  # (N,) of the sequence it begins in
    weight: Tensor  # (N, H): chance that the state is reached at all
    reward_return: Tensor  # (N, H) lambda-returns
    cost_return: Tensor  # (N, H)
    reward_value: Tensor  # (N, H + 1)
    cost_value: Tensor  # (N, H + 1)
    evaluation: Evaluation | None  # None for continuous actions


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
