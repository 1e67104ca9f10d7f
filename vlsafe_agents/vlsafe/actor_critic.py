"""Actor and critics that learn in imagination and stay within the recorded behaviour.

Three things are fitted to features of the world model; only the prior may shape them, and only
while the model warms up (``VLSafeConfig.shaping``):

- the behaviour prior ``pi_b(a|s)``, by likelihood of the recorded actions;
- critics ``Q_r`` and ``Q_c`` of reward and cost, by lambda-returns of imagined trajectories and by
  Retrace targets on recorded steps;
- the actor, by projection onto the improved policy ``pi* = pi_b w / Z`` (VL-SAFE, arXiv
  2505.16377; weights in :mod:`~vlsafe_agents.vlsafe.policy_extraction`): it minimises
  ``KL(pi* || pi_theta)`` in recorded and imagined states.

Departures from what is known of the paper: ``pi_b`` is fitted to the data rather than being the
current actor, since otherwise nothing bounds how far the policy drifts from what the model knows;
advantages are differences of ``Q`` over all actions; the gate looks ahead
(:func:`~vlsafe_agents.vlsafe.policy_extraction.lookahead_gate`); the reward's part of the weight
knows only feasible actions (:func:`~vlsafe_agents.vlsafe.policy_extraction.feasible_actions`),
whatever the gate.

Losses, :meth:`ActorCritic.dream` and :meth:`ActorCritic.choices` compute and change nothing.  What
changes beside the weights is in methods of its own, which
:meth:`~vlsafe_agents.vlsafe.VLSafe.train` calls in order.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from functools import partial
from typing import Any, NamedTuple

import torch
from gymnasium import spaces
from torch import Tensor, nn

from vlsafe_agents.common.devices import any_of_team
from vlsafe_agents.common.lagrange import Multiplier, MultiplierGrid, make_multiplier
from vlsafe_agents.common.returns import (
    discount_weights,
    discounted_limit,
    lambda_return,
    retrace_return,
)
from vlsafe_agents.vlsafe import policy_extraction as extraction
from vlsafe_agents.vlsafe.actions import action_kind
from vlsafe_agents.vlsafe.batch import TensorBatch, masked_mean, recorded_steps
from vlsafe_agents.vlsafe.config import UPDATES, VLSafeConfig
from vlsafe_agents.vlsafe.critics import Critic, LeastCost, Scale
from vlsafe_agents.vlsafe.gates import SCORE, Source, make_gate
from vlsafe_agents.vlsafe.imagination import Dream, choose_starts, imagine, state_weight
from vlsafe_agents.vlsafe.limits import CostLimit, make_limits
from vlsafe_agents.vlsafe.policy_extraction import Candidates
from vlsafe_agents.vlsafe.rssm import RSSMState
from vlsafe_agents.vlsafe.world_model import WorldModel

Metrics = dict[str, float]


class Choices(NamedTuple):
    """Actions compared in states of dreams, ``(M,)`` standing for one or two axes of states."""

    candidates: Candidates  # (M, A)
    seen: Tensor  # (M, F) features, with what the actor sees of the limit
    gate: Tensor  # (M,) p
    weight: Tensor  # (M,) of each state in the actor's loss
    rows: Tensor  # (M,) rows of the data that a recorded state stands for; 0 for imagined ones
    limit: Tensor | None = None  # (M,) on cost; None: one for all


class ActorCritic(nn.Module):
    """Behaviour prior, actor, two critics, their scales and the Lagrange multiplier.

    Args:
        update: "gated", "lagrangian", or "none" for one that is blind to cost.
        gate: where the gate of "gated" comes from, see :mod:`~vlsafe_agents.vlsafe.gates`; None,
            in files up to November 2026, means "score".
        cost_limit: allowed cost per episode, of "lagrangian" on average over episodes.  "gated"
            asks of each action whether the discounted cost-to-go stays below what stands for it,
            or below what the best actions cost in ordinary recorded states, where that is more
            (:func:`~vlsafe_agents.vlsafe.policy_extraction.feasible_actions`).  A range: actor and
            critics see the limit they act under (:mod:`~vlsafe_agents.vlsafe.limits`).

    Raises:
        ValueError: for an unknown update, an unknown gate or one outside [0, 1].
    """

    def __init__(
        self,
        feat_size: int,
        action_space: spaces.Space[Any],
        config: VLSafeConfig,
        *,
        update: str,
        gate: Source | None,
        cost_limit: CostLimit,
    ) -> None:
        super().__init__()
        if update not in UPDATES:
            raise ValueError(f"unknown update {update!r}; choose one of {', '.join(UPDATES)}")
        self.config, self.update = config, update
        self.source = SCORE if gate is None else gate
        self.cost_limit = cost_limit
        self.limits = make_limits(cost_limit, config.limit_knots)
        # L, to convert the limit; learning needs it, acting does not
        self.episode_steps: float | None = config.multiplier.episode_steps
        net, actions = config.network, action_kind(action_space)
        self.behaviour = actions.head(feat_size, net.units, net.layers)
        seen_size = feat_size + self.limits.columns
        self.actor = actions.head(seen_size, net.units, net.layers)
        sizes = (net.units, net.layers, actions.countable, net.bins, net.bin_limit)
        self.reward_critic = Critic(seen_size, actions.size, *sizes)
        self.cost_critic = Critic(seen_size, actions.size, *sizes)
        of_each = self.limits.statistic
        self.reward_scale, self.cost_scale, self.scale = (of_each(Scale) for _ in range(3))
        self.least_cost = of_each(partial(LeastCost, config.improvement.feasible_quantile))
        # other updates have no gate: p = 1 is never read
        self.gate = make_gate(self.source if update == "gated" else 1.0, feat_size, config)
        self.multiplier: Multiplier | MultiplierGrid | None = None
        if update == "lagrangian":
            kind = config.multiplier.kind
            settings = asdict(config.multiplier.plain if kind == "plain" else config.multiplier.pid)
            self.multiplier = self.limits.multiplier(partial(make_multiplier, kind, **settings))

    @property
    def price(self) -> float:
        """Lagrange multiplier [reward / cost], of a range the mean of its knots'; 0 without."""
        return self.multiplier.value if self.multiplier is not None else 0.0

    # --- what changes -----------------------------------------------------------------------------

    def start_from_behaviour(self) -> None:
        """Make the actor a copy of the prior: the best guess before there are advantages."""
        self.actor.load_state_dict(self.limits.widened(self.behaviour.state_dict()))

    def update_multiplier(self, dream: Dream) -> None:
        """Let the multiplier see the imagined cost of an episode, if dreams begin where it counts.

        Nothing happens for updates without a multiplier.
        """
        at_first = self.config.multiplier.constraint_states == "first"
        rows = dream.own_rows * (dream.first if at_first else 1.0)  # (N,)
        if self.multiplier is not None and any_of_team(bool((rows > 0).any())):
            seen = (dream.cost_return[:, 0], dream.limit, rows * dream.start_weight)
            self.limits.see_dreams(self.multiplier, *seen, self._conversion())

    def update_scales(self, choices: Choices) -> None:
        """Let the scales of the advantages see those of ``choices``."""
        probs = choices.candidates.log_prior.softmax(-1)
        reward, cost = self._advantages(choices.candidates)
        weight, limit = choices.weight, choices.limit
        if self.update == "gated":
            self.limits.update(self.reward_scale, limit, weight, reward, probs)
            self.limits.update(self.cost_scale, limit, weight, cost, probs)
        else:
            advantage = extraction.lagrangian_advantage(reward, cost, self._price(limit))
            self.limits.update(self.scale, limit, weight, advantage, probs)

    def update_least_cost(self, choices: Choices) -> None:
        """Let the bound of what is feasible see the least costs of recorded states."""
        candidates, rows = choices.candidates, choices.rows
        if self.update == "gated" and self.config.improvement.feasible_quantile:
            values = (candidates.q_cost, candidates.log_prior)
            self.limits.update(self.least_cost, choices.limit, rows, *values)

    @torch.no_grad()
    def follow(self) -> None:
        """Let the slow critics follow the critics, and the gate's slow copy the gate."""
        self.reward_critic.follow(self.config.imagination.slow_rate)
        self.cost_critic.follow(self.config.imagination.slow_rate)
        self.gate.follow(self.config.imagination.slow_rate)

    def catch_up(self) -> None:
        """Begin the slow critics anew: as the critics are."""
        self.reward_critic.follow(1.0)
        self.cost_critic.follow(1.0)

    # --- imagination ------------------------------------------------------------------------------

    def dream(self, world_model: WorldModel, posterior: RSSMState, batch: TensorBatch) -> Dream:
        """Imagine from states of the batch, first states of episodes more often than others.

        Only ``evaluation.log_policy`` carries a gradient, to the actor.

        Args:
            posterior: states ``(B, T, ...)`` of the batch.
        """
        settings = self.config.imagination
        start = choose_starts(posterior, batch, settings.starts, settings.explore)
        threshold = self.config.improvement.support_threshold
        limit = self.limits.draw(len(start.rows), start.rows.device)  # (N,)
        imagined = imagine(
            world_model,
            start,
            lambda feat: self.actor.sample(self.limits.seen(feat, limit)),
            lambda feat: self.behaviour.explore(feat, threshold),
            settings.horizon,
        )
        reward, cost = imagined.reward, imagined.cost
        penalty = self.config.research.disagreement_penalty
        if penalty and imagined.disagreement is not None:
            doubt = penalty * imagined.disagreement
            reward, cost = reward - doubt, cost + doubt
        critics = (self.reward_critic, self.cost_critic)
        (reward_value, cost_value), evaluation = self.actor.evaluate(
            self.limits.seen(imagined.feat, limit), critics
        )
        gamma, lambda_ = settings.gamma, settings.lambda_
        return Dream(
            imagined,
            start.explored,
            start.first,
            start.weight,
            start.rows,
            start.own_rows,
            discount_weights(imagined.cont, 1.0)[:, :-1],
            lambda_return(reward, reward_value, imagined.cont, gamma, lambda_),
            lambda_return(cost, cost_value, imagined.cont, gamma, lambda_),
            evaluation,
            start.by_driver,
            limit,
        )

    def choices(self, dream: Dream) -> Choices:
        """The actions that the prior offers in states of dreams, but for the last."""
        feat = dream.imagined.feat[:, :-1]  # (N, H, F)
        rows = torch.zeros_like(dream.weight)  # (N, H)
        rows[:, 0] = dream.rows * dream.start_weight
        if dream.by_driver is not None:
            rows[:, 0] *= dream.by_driver  # branches leave where it is critical
        weight = state_weight(dream, self.config.research.data_share, self.gate.looks_ahead)
        states = [feat, self.gate(dream.imagined), weight, rows]
        states.append(self.limits.seen(feat, dream.limit))
        if dream.limit is not None:
            states.append(dream.limit.unsqueeze(1).expand_as(rows))
        feat, gate, weight, rows, seen, *limit = self.actor.some_states(*states)
        critics = (self.reward_critic, self.cost_critic)
        candidates = self.actor.compare(
            self.behaviour,  # type: ignore[arg-type]
            feat,
            seen,
            dream.evaluation,
            critics,
            self.config.improvement,
        )
        return Choices(candidates, seen, gate, weight, rows, *limit)

    # --- losses -----------------------------------------------------------------------------------

    def behaviour_loss(self, feat: Tensor, batch: TensorBatch, world_model: WorldModel) -> Tensor:
        """Negative log-likelihood of the drivers' actions under the prior, a scalar.

        Branches are left out, since no driver chose their actions, and so are drives that cost more
        than ``prior_cost_limit``.

        Args:
            feat: posterior features ``(B, T, F)``; they get gradients if they have a history.
        """
        action = world_model.action_vector(batch.next_action)
        log_prob = self.behaviour.log_prob(feat, action)  # (B, T)
        return -masked_mean(log_prob, batch.has_action * batch.by_prior * batch.weight)

    def critic_loss(
        self, dream: Dream, feat: Tensor, batch: TensorBatch, world_model: WorldModel
    ) -> Tensor:
        """Loss of both critics, and of the gate, on imagined and on recorded steps, a scalar.

        Args:
            feat: posterior features ``(B, T, F)`` of the batch, without a history.
        """
        research = self.config.research
        loss = research.imagined * self._imagined_critic_loss(dream)
        loss = loss + research.anchor * self._anchor_loss(feat, batch, world_model)
        return loss + self.gate.recorded_loss(feat, batch) + self.gate.dream_loss(dream)

    def actor_loss(self, choices: Choices) -> tuple[Tensor, Metrics]:
        """``KL(pi* || pi_theta)`` in recorded (j = 0) and imagined states, up to a constant."""
        candidates, seen, gate, weight, _, limit = choices
        target = extraction.improved_policy(
            candidates.log_prior, self._log_weight(candidates, gate, limit)
        )  # (M, A)
        cross_entropy = -(target * candidates.log_policy).sum(-1)  # (M,)
        loss = masked_mean(cross_entropy, weight)
        with torch.no_grad():
            metrics = {
                "train/actor_entropy": self.actor.mean_entropy(candidates, seen).item(),
                "train/target_entropy": masked_mean(extraction.entropy(target), weight).item(),
                "support/kl_to_behaviour": masked_mean(candidates.drift(), weight).item(),
            }
            if self.update == "gated":
                metrics["imagined/gate"] = masked_mean(gate, weight).item()
                some = self._feasible(candidates, limit) & candidates.log_prior.isfinite()
                share = masked_mean(some.any(-1).float(), weight).item()
                metrics["imagined/feasible"] = share  # of states, that have a feasible action
        return loss, metrics

    def _imagined_critic_loss(self, dream: Dream) -> Tensor:
        feat = self.limits.seen(dream.imagined.feat[:, :-1], dream.limit)
        action = dream.imagined.action
        others = self.actor.others(feat)
        loss = self.reward_critic.loss(feat, action, dream.reward_return, others)  # (N, H)
        loss = loss + self.cost_critic.loss(feat, action, dream.cost_return, others)
        return (dream.rows[:, None] * dream.weight * loss).mean()

    def _anchor_loss(self, feat: Tensor, batch: TensorBatch, world_model: WorldModel) -> Tensor:
        """Retrace targets on recorded steps, never across the border of an episode.

        What really happened corrects what the model wrongly imagines where data exist.
        """
        settings = self.config.imagination
        valid = recorded_steps(batch)  # (B, T - 1)
        discount = settings.gamma * (~batch.is_terminal[:, 1:]).float()  # (B, T - 1)
        action = world_model.action_vector(batch.next_action)  # (B, T, A)
        prior, feat = feat, self.limits.seen(feat, self.limits.draw(len(feat), feat.device))
        with torch.no_grad():
            log_ratio = self.actor.log_prob(feat, action) - self.behaviour.log_prob(prior, action)
            trace = settings.lambda_ * log_ratio.exp().clamp_max(1.0)[:, 1:]  # (B, T - 1)
            trace[:, :-1] *= valid[:, 1:]
            trace *= batch.by_prior[:, 1:]  # who acts elsewhere is not the prior
        loss, others = torch.zeros_like(discount), self.actor.others(feat[:, :-1])
        for critic, signal in ((self.reward_critic, batch.reward), (self.cost_critic, batch.cost)):
            value, q = self.actor.value_and_q(feat[:, 1:], action[:, 1:], critic)
            target = retrace_return(signal[:, 1:], discount, value, q, trace)
            loss = loss + critic.loss(feat[:, :-1], action[:, :-1], target, others)
        return masked_mean(loss, valid)

    # --- the improved policy ----------------------------------------------------------------------

    @torch.no_grad()
    def _log_weight(
        self, candidates: Candidates, gate: Tensor, limit: Tensor | None = None
    ) -> Tensor:
        """Log of the improvement weight, shaped as the candidates."""
        settings, research = self.config.improvement, self.config.research
        reward, cost = self._advantages(candidates)
        scale = partial(self.limits.value, limit=limit)
        if self.update != "gated":
            advantage = extraction.lagrangian_advantage(reward, cost, self._price(limit))
            advantage = advantage / scale(self.scale)
            return extraction.exponential_log_weight(
                advantage, settings.beta, settings.weight_limit
            )
        return extraction.gated_log_weight(
            reward / scale(self.reward_scale),
            cost / scale(self.cost_scale),
            gate,
            settings.beta_reward,
            settings.beta_cost,
            candidates.log_prior if research.normalise_gate else None,
            self._feasible(candidates, limit) if research.feasible_only else None,
            settings.weight_limit,
        )

    def _price(self, limit: Tensor | None) -> float | Tensor:
        """The multiplier of limits ``(...)``: a number, or ``(..., 1)``."""
        return 0.0 if self.multiplier is None else self.limits.price(self.multiplier, limit)

    def _advantages(self, candidates: Candidates) -> tuple[Tensor, Tensor]:
        """Advantages of reward and cost under the prior, shaped as the candidates."""
        log_prior = candidates.log_prior
        return (
            extraction.behaviour_advantage(candidates.q_reward, log_prior),
            extraction.behaviour_advantage(candidates.q_cost, log_prior),
        )

    def _feasible(self, candidates: Candidates, limit: Tensor | None) -> Tensor:
        """Which of the candidates are feasible, bool ``(M, A)``."""
        bound = discounted_limit(self.limits.of_states(limit), *self._conversion())
        floor: Tensor | float = -math.inf
        if self.config.improvement.feasible_quantile:
            floor = self.limits.value(self.least_cost, limit)
        return extraction.feasible_actions(candidates.q_cost, bound, floor)

    def _conversion(self) -> tuple[float, float]:
        """Discount and mean length of an episode [steps], which convert costs of episodes."""
        if self.episode_steps is None:
            raise ValueError("how long episodes are is not known before there is a data set")
        return self.config.imagination.gamma, self.episode_steps

    # --- saving -----------------------------------------------------------------------------------

    def get_extra_state(self) -> Tensor:
        """The multiplier's numbers, by their sorted names; none without a multiplier.

        A tensor, as all else in ``state_dict``: SB3's users do sums with what is in there.
        """
        state = {} if self.multiplier is None else self.multiplier.state_dict()
        return torch.tensor([state[name] for name in sorted(state)], dtype=torch.float64)

    def set_extra_state(self, state: Tensor | dict[str, Tensor]) -> None:
        """Inverse of :meth:`get_extra_state`.

        Raises:
            ValueError: for another number of them.
        """
        if self.multiplier is None or not len(state):  # old files always hold some
            return
        if isinstance(state, dict):  # files up to November 2026
            self.multiplier.load_state_dict({k: float(v) for k, v in state.items()})
            return
        names = sorted(self.multiplier.state_dict())
        self.multiplier.load_state_dict(dict(zip(names, state.tolist(), strict=True)))
