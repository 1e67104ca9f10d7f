"""Danger signals: what an agent says of a state and of the action that it chose there.

Their names: :mod:`~vlsafe_agents.foresight.names`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from vlsafe_agents.common.returns import discount_weights
from vlsafe_agents.data.driving import LONGEST_TIME
from vlsafe_agents.evaluation.resampling import Array, Floats
from vlsafe_agents.foresight.names import COST, DANGER, DREAM, INVERSE_TIME, Q_COST, RISK, UNSAFE
from vlsafe_agents.risk.model import RiskModel
from vlsafe_agents.vlsafe.policies import VLSafePolicy
from vlsafe_agents.vlsafe.rssm import RSSMState

COPIES = 8  # dreams of one state
SHORTEST_TIME = 0.01  # [s] to collision, to keep its inverse finite


class Moment(NamedTuple):
    """N drives at one decision each."""

    state: tuple[Array, ...] | None  # after the decision, as a model's ``predict`` returns it
    infos: Sequence[Mapping[str, Any]]  # N, that came with the observation
    action: Array  # (N, *action_space.shape), decided there
    sensed: Mapping[str, Array] | None = None  # what a risk model sees there, each (N, ...)


class Signals(Protocol):
    """One or more danger signals."""

    def values(self, moment: Moment) -> dict[str, Floats]:
        """Values ``(N,)`` by the signal's name, the higher the more danger; NaN: not known."""
        ...


def signals_of(agent: Any, risk: RiskModel | None = None, copies: int = COPIES) -> list[Signals]:
    """All signals that there are for a trained agent.

    Args:
        risk: a risk model; moments must have what it sees.
        copies: dreams of each state.
    """
    found: list[Signals] = []
    policy = getattr(agent, "policy", None)
    if isinstance(policy, VLSafePolicy):
        found.append(WorldModelSignals(policy, agent.config.imagination.horizon, copies))
    if risk is not None:
        found.append(RiskSignal(risk))
    return [*found, InverseTime()]


class WorldModelSignals:
    """What world model, cost critic and dreams of a VLSafe agent say.

    Dreams are random: they draw from torch's global generator.

    Args:
        horizon: of the dreams [decisions].
        copies: dreams of each state.
    """

    def __init__(self, policy: VLSafePolicy, horizon: int, copies: int = COPIES) -> None:
        if min(horizon, copies) < 1:
            raise ValueError(f"horizon {horizon} and copies {copies} must be at least 1")
        self._policy, self._horizon, self._copies = policy, horizon, copies

    @torch.no_grad()
    def values(self, moment: Moment) -> dict[str, Floats]:
        """See :class:`Signals`; ``moment.state`` is ``(deter, stoch, action)``."""
        assert moment.state is not None
        device = self._policy.device
        deter, stoch, action = (torch.as_tensor(x, device=device) for x in moment.state)
        world_model, actor_critic = self._policy.world_model, self._policy.actor_critic
        state = RSSMState(deter, stoch)
        feat = world_model.feat(state)  # (N, F)
        heads = world_model.heads(feat)
        seen = actor_critic.limits.seen_acting(feat)
        _, q_cost = actor_critic.actor.value_and_q(seen, action, actor_critic.cost_critic)
        found = {
            UNSAFE: 1.0 - heads.safety_score,
            COST: heads.cost,
            Q_COST: q_cost,
            DREAM: self._dreamt(state, action),
        }
        return {name: x.double().cpu().numpy() for name, x in found.items()}

    def _dreamt(self, state: RSSMState, action: Tensor) -> Tensor:
        """Chance ``(N,)`` of an end with a cost: the chosen action, then the policy's modes."""
        world_model, actor = self._policy.world_model, self._policy.actor_critic.actor
        see = self._policy.actor_critic.limits.seen_acting
        start = RSSMState(
            state.deter.repeat_interleave(self._copies, 0),
            state.stoch.repeat_interleave(self._copies, 0),
        )  # (N * copies, ...)
        first = [action.repeat_interleave(self._copies, 0)]
        imagined = world_model.imagine(
            start, lambda feat: first.pop() if first else actor.mode(see(feat)), self._horizon
        )
        costly = world_model.cost_chance(imagined.feat[:, 1:])  # (N * copies, H)
        return crash_chance(imagined.cont, costly).unflatten(0, (-1, self._copies)).mean(1)


def crash_chance(cont: Tensor, costly: Tensor) -> Tensor:
    """Chance ``(N,)`` that dreams of H steps end in a terminal state with a cost.

    ``sum_j (prod_{k<j} cont_k) min(1 - cont_j, costly_j)``.  The lesser of the two chances is exact
    where one of them implies the other: where all that ends has a cost, or all with a cost ends.

    Args:
        cont: ``(N, H)``, chance that state ``j + 1`` is not terminal, of those that are reached.
        costly: ``(N, H)``, chance that it comes with a cost.
    """
    reached = discount_weights(cont, 1.0)[:, :-1]  # (N, H)
    return (reached * torch.minimum(1.0 - cont, costly)).sum(-1)


class InverseTime:
    """``1 / info["time_to_collision"]``, where the environment reports it; 0 if nothing is hit."""

    def values(self, moment: Moment) -> dict[str, Floats]:
        """See :class:`Signals`."""
        times = [info.get("time_to_collision") for info in moment.infos]
        return {INVERSE_TIME: inverse_time(np.array([np.nan if t is None else t for t in times]))}


def inverse_time(seconds: Floats) -> Floats:
    """Inverse times to collision ``(N,)`` [1 / s] of at least 10 ms; data sets cap long ones."""
    inverse = 1.0 / np.maximum(np.asarray(seconds, np.float64), SHORTEST_TIME)
    return np.where(np.asarray(seconds) >= LONGEST_TIME, 0.0, inverse)


class RiskSignal:
    """The chance of a crash after the chosen action, as a shield would see it.

    It is the least over the ways in which a risk model could drive on (:func:`~.risk.decide`).
    """

    def __init__(self, model: RiskModel) -> None:
        self._model = model

    def values(self, moment: Moment) -> dict[str, Floats]:
        """See :class:`Signals`.

        Raises:
            ValueError: where nothing was sensed.
        """
        if moment.sensed is None:
            raise ValueError("a risk model needs to see something: give what it senses")
        estimate = self._model.estimate(moment.sensed, np.asarray(moment.action)[:, None])
        name = DANGER if self._model.judge else RISK
        return {name: estimate.risk[:, 0].min(-1).astype(np.float64)}
