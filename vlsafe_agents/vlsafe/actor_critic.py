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
knows only actions whose expected cost is within the limit (``feasible_only``).
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor, nn

from vlsafe_agents.common.lagrange import make_multiplier
from vlsafe_agents.common.returns import discount_weights, lambda_return
from vlsafe_agents.vlsafe import policy_extraction as extraction
from vlsafe_agents.vlsafe.batch import TensorBatch
from vlsafe_agents.vlsafe.config import UPDATES, VLSafeConfig
from vlsafe_agents.vlsafe.cost_units import discounted_limit, episode_cost
from vlsafe_agents.vlsafe.critics import Critic, Scale
from vlsafe_agents.vlsafe.imagination import (
    Dream,
    Evaluation,
    choose_starts,
    dream_metrics,
    imagine,
)
from vlsafe_agents.vlsafe.policy_extraction import Candidates
from vlsafe_agents.vlsafe.policy_heads import CategoricalHead, make_policy_head, one_hot_sample
from vlsafe_agents.vlsafe.recorded_returns import masked_mean, recorded_steps
from vlsafe_agents.vlsafe.retrace import retrace_return
from vlsafe_agents.vlsafe.rssm import RSSMState
from vlsafe_agents.vlsafe.world_model import Imagined, WorldModel

Metrics = dict[str, float]


class ActorCritic(nn.Module):
    """Behaviour prior, actor, two critics, their scales and the Lagrange multiplier.

    Args:
        update: "gated", "lagrangian", or "none" for one that is blind to cost.
        gate: the gate's source: None reads the world model's safety score; a number in [0, 1] is
            used everywhere instead (a control: 1 ignores the cost, 0 the reward).
        cost_limit: allowed cost per episode, of "lagrangian" on average over episodes, of "gated"
            for what may be expected in each state.
        episode_steps: mean length of an episode [steps], to convert the limit.

    Raises:
        ValueError: for an unknown update or a gate outside [0, 1].
    """

    def __init__(
        self,
        feat_size: int,
        action_space: spaces.Space[Any],
        config: VLSafeConfig,
        update: str = "gated",
        gate: float | None = None,
        cost_limit: float = 1.0,
        episode_steps: float = 40.0,
    ) -> None:
        super().__init__()
        if update not in UPDATES:
            raise ValueError(f"unknown update {update!r}; choose one of {', '.join(UPDATES)}")
        if gate is not None and not 0.0 <= gate <= 1.0:
            raise ValueError(f"a constant safety gate must lie in [0, 1], got {gate}")
        self.config, self.update, self.gate = config, update, gate
        self.episode_steps = episode_steps
        net = config.network
        self.behaviour = make_policy_head(feat_size, net.units, net.layers, action_space)
        self.actor = make_policy_head(feat_size, net.units, net.layers, action_space)
        discrete = isinstance(action_space, spaces.Discrete)
        size = int(action_space.n) if discrete else int(action_space.shape[0])  # type: ignore
        sizes = (feat_size, size, net.units, net.layers, discrete, net.bins, net.bin_limit)
        self.reward_critic, self.cost_critic = Critic(*sizes), Critic(*sizes)
        self.reward_scale, self.cost_scale, self.scale = Scale(), Scale(), Scale()
        kind = config.multiplier.kind
        settings = asdict(config.multiplier.plain if kind == "plain" else config.multiplier.pid)
        self.multiplier = make_multiplier(kind, cost_limit, **settings)

    # --- losses ---------------------------------------------------------------------------------

    def behaviour_loss(self, feat: Tensor, batch: TensorBatch, world_model: WorldModel) -> Tensor:
        """Negative log-likelihood of the recorded actions under the prior, a scalar.

        Args:
            feat: posterior features ``(B, T, F)``; they get gradients if they have a history.
        """
        action = world_model.action_vector(batch.next_action)
        log_prob = self.behaviour.log_prob(feat, action)  # (B, T)
        return -masked_mean(log_prob, batch.has_action * batch.weight)

    def loss(
        self,
        world_model: WorldModel,
        posterior: RSSMState,
        batch: TensorBatch,
        improve: bool = True,
        prior_state: RSSMState | None = None,
    ) -> tuple[Tensor, Metrics]:
        """Loss of prior, actor and critics on one batch, and metrics.

        Args:
            posterior: states ``(B, T, ...)`` of the batch.
            improve: False keeps the actor equal to the prior, for the critics to evaluate it.
            prior_state: states to fit the prior on, instead of ``posterior``.
        """
        posterior = posterior.detach()
        feat = world_model.feat(posterior)  # (B, T, F)
        if not improve:
            self.start_from_behaviour()
        dream = self.dream(world_model, posterior, batch)
        metrics = dream_metrics(dream, self.config.imagination.gamma)
        if self.update == "lagrangian" and improve:
            self._update_multiplier(dream)
            metrics["train/lagrange_multiplier"] = self.multiplier.value
        settings = self.config.research
        critic_loss = settings.imagined * self._imagined_critic_loss(dream)
        critic_loss = critic_loss + settings.anchor * self._anchor_loss(feat, batch, world_model)
        prior_feat = feat if prior_state is None else world_model.feat(prior_state.detach())
        behaviour_loss = self.behaviour_loss(prior_feat, batch, world_model)
        metrics["train/critic_loss"] = critic_loss.item()
        metrics["train/behaviour_loss"] = behaviour_loss.item()
        if not improve:
            return critic_loss + behaviour_loss, metrics
        actor_loss, actor_metrics = self._projection_loss(dream)
        metrics |= actor_metrics
        metrics["train/actor_loss"] = actor_loss.item()
        return critic_loss + actor_loss + behaviour_loss, metrics

    @torch.no_grad()
    def after_step(self) -> None:
        """Let the slow critics follow; call it after every optimiser step."""
        self.reward_critic.follow(self.config.imagination.slow_rate)
        self.cost_critic.follow(self.config.imagination.slow_rate)

    def start_from_behaviour(self) -> None:
        """Make the actor a copy of the prior: the best guess before there are advantages."""
        self.actor.load_state_dict(self.behaviour.state_dict())

    # --- imagination ----------------------------------------------------------------------------

    def dream(self, world_model: WorldModel, posterior: RSSMState, batch: TensorBatch) -> Dream:
        """Imagine from states of the batch, the first states of episodes always among them.

        Only ``evaluation.log_policy`` carries a gradient, to the actor.
        """
        settings = self.config.imagination
        start = choose_starts(posterior, batch, settings.starts, settings.explore)
        imagined = imagine(
            world_model, start, self.actor.sample, self._any_action, settings.horizon
        )
        reward, cost = imagined.reward, imagined.cost
        penalty = self.config.research.disagreement_penalty
        if penalty and imagined.disagreement is not None:
            doubt = penalty * imagined.disagreement
            reward, cost = reward - doubt, cost + doubt
        evaluation = None
        if isinstance(self.actor, CategoricalHead):
            evaluation = Evaluation(
                self.actor.log_probs(imagined.feat),
                self.reward_critic.slow_all(imagined.feat),
                self.cost_critic.slow_all(imagined.feat),
            )
            probs = evaluation.log_policy.detach().exp()
            values = [(probs * q).sum(-1) for q in evaluation[1:]]  # each (N, H + 1)
        else:
            critics = (self.reward_critic, self.cost_critic)
            values = [critic.slow_value(imagined.feat, self.actor) for critic in critics]
        gamma, lambda_ = settings.gamma, settings.lambda_
        return Dream(
            imagined,
            start.explored,
            start.first,
            start.weight,
            discount_weights(imagined.cont, 1.0)[:, :-1],
            lambda_return(reward, values[0], imagined.cont, gamma, lambda_),
            lambda_return(cost, values[1], imagined.cont, gamma, lambda_),
            values[0],
            values[1],
            evaluation,
        )

    def _any_action(self, feat: Tensor) -> Tensor:
        """An action of the support: uniform over discrete ones, from the prior for continuous."""
        if isinstance(self.behaviour, CategoricalHead):
            threshold = self.config.improvement.support_threshold
            log_prior = extraction.restrict_to_support(self.behaviour.log_probs(feat), threshold)
            return one_hot_sample(torch.where(log_prior.isfinite(), 0.0, -torch.inf))
        return self.behaviour.sample(feat)

    # --- critics --------------------------------------------------------------------------------

    def _imagined_critic_loss(self, dream: Dream) -> Tensor:
        feat, action = dream.imagined.feat[:, :-1], dream.imagined.action
        loss = self.reward_critic.loss(feat, action, dream.reward_return)  # (N, H)
        loss = loss + self.cost_critic.loss(feat, action, dream.cost_return)
        return (dream.weight * loss).mean()

    def _anchor_loss(self, feat: Tensor, batch: TensorBatch, world_model: WorldModel) -> Tensor:
        """Retrace targets on recorded steps, never across the border of an episode.

        What really happened corrects what the model wrongly imagines where data exist.
        """
        settings = self.config.imagination
        valid = recorded_steps(batch)  # (B, T - 1)
        discount = settings.gamma * (~batch.is_terminal[:, 1:]).float()  # (B, T - 1)
        action = world_model.action_vector(batch.next_action)  # (B, T, A)
        with torch.no_grad():
            log_ratio = self.actor.log_prob(feat, action) - self.behaviour.log_prob(feat, action)
            trace = settings.lambda_ * log_ratio.exp().clamp_max(1.0)[:, 1:]  # (B, T - 1)
            trace[:, :-1] *= valid[:, 1:]
        loss = torch.zeros_like(discount)
        for critic, signal in ((self.reward_critic, batch.reward), (self.cost_critic, batch.cost)):
            value, q = critic.slow_value_and_q(feat[:, 1:], action[:, 1:], self.actor)
            target = retrace_return(signal[:, 1:], discount, value, q, trace)
            loss = loss + critic.loss(feat[:, :-1], action[:, :-1], target)
        return masked_mean(loss, valid)

    # --- actor ----------------------------------------------------------------------------------

    def _projection_loss(self, dream: Dream) -> tuple[Tensor, Metrics]:
        """``KL(pi* || pi_theta)`` in recorded (j = 0) and imagined states, up to a constant."""
        feat = dream.imagined.feat[:, :-1]  # (N, H, F)
        gate = self._gate(dream.imagined)  # (N, H)
        weight = self._state_weight(dream)  # (N, H)
        if dream.evaluation is not None:
            candidates = self._all_actions(feat, dream.evaluation)
        else:
            # Every state would be K more evaluations of each critic; take N of the N H states.
            chosen = torch.randint(0, weight.numel(), (weight.shape[0],), device=weight.device)
            feat = feat.flatten(0, 1)[chosen]  # (N, F)
            gate, weight = gate.flatten()[chosen], weight.flatten()[chosen]
            candidates = self._sampled_actions(feat)
        target = extraction.improved_policy(
            candidates.log_prior, self._log_weight(candidates, gate)
        )  # (M, A)
        cross_entropy = -(target * candidates.log_policy).sum(-1)
        loss = (weight * cross_entropy).sum() / weight.sum().clamp_min(1e-6)
        with torch.no_grad():
            metrics = {
                "train/actor_entropy": self._entropy(candidates, feat).item(),
                "train/target_entropy": extraction.entropy(target).mean().item(),
                "support/kl_to_behaviour": self._kl_to_behaviour(candidates).item(),
                "imagined/gate": gate.mean().item(),
            }
        return loss, metrics

    def _all_actions(self, feat: Tensor, evaluation: Evaluation) -> Candidates:
        """Every action of a discrete space in states ``(N, H, F)``."""
        assert isinstance(self.behaviour, CategoricalHead)
        with torch.no_grad():
            threshold = self.config.improvement.support_threshold
            log_prior = extraction.restrict_to_support(self.behaviour.log_probs(feat), threshold)
        log_policy, q_reward, q_cost = (x[:, :-1] for x in evaluation)
        return Candidates(log_prior, log_policy, q_reward, q_cost)

    def _sampled_actions(self, feat: Tensor) -> Candidates:
        """K actions per state of a continuous space, half from the prior, half from the actor."""
        count = self.config.improvement.candidates
        states = feat.unsqueeze(1).expand(-1, count, -1)  # (M, K, F)
        with torch.no_grad():
            half = (count + 1) // 2
            action = torch.cat(
                [self.behaviour.sample(states[:, :half]), self.actor.sample(states[:, half:])], 1
            )  # (M, K, A)
            log_prior = self.behaviour.log_prob(states, action)
            both = torch.stack([log_prior, self.actor.log_prob(states, action)])
            share = torch.tensor([half / count, 1 - half / count], device=feat.device)
            log_proposal = (both + share.clamp_min(1e-9).log()[:, None, None]).logsumexp(0)
        return Candidates(
            log_prior - log_proposal,
            self.actor.log_prob(states, action),
            self.reward_critic.slow(states, action),
            self.cost_critic.slow(states, action),
        )

    @torch.no_grad()
    def _log_weight(self, candidates: Candidates, gate: Tensor) -> Tensor:
        """Log of the improvement weight, shaped as the candidates."""
        settings = self.config.improvement
        log_prior = candidates.log_prior
        probs = log_prior.softmax(-1)
        reward = extraction.behaviour_advantage(candidates.q_reward, log_prior)
        cost = extraction.behaviour_advantage(candidates.q_cost, log_prior)
        if self.update != "gated":
            price = self.multiplier.value if self.update == "lagrangian" else 0.0
            advantage = extraction.lagrangian_advantage(reward, cost, price)
            advantage = advantage / self.scale.update(advantage, probs)
            return extraction.exponential_log_weight(advantage, settings.beta)
        reward = reward / self.reward_scale.update(reward, probs)
        cost = cost / self.cost_scale.update(cost, probs)
        betas = (settings.beta_reward, settings.beta_cost)
        research = self.config.research
        prior = log_prior if research.normalise_gate else None
        judged = research.feasible_only and self.gate is None  # a constant gate is a pure control
        feasible = candidates.q_cost <= self._limit() if judged else None
        return extraction.gated_log_weight(reward, cost, gate, *betas, prior, feasible)

    @torch.no_grad()
    def _gate(self, imagined: Imagined) -> Tensor:
        """Gate ``p`` of the imagined states but the last, ``(N, H)``."""
        if self.gate is not None:
            return torch.full_like(imagined.reward, self.gate)
        steps = self.config.improvement.gate_lookahead
        return extraction.lookahead_gate(imagined.safety_score, imagined.cont, steps)

    def _state_weight(self, dream: Dream) -> Tensor:
        """Weight ``(N, H)`` of each state in the actor's loss; sums to 1 over recorded and rest."""
        share = self.config.research.data_share
        recorded, imagined = dream.weight[:, :1], dream.weight[:, 1:]
        return torch.cat(
            [
                share * recorded / recorded.sum(),
                (1 - share) * imagined / imagined.sum().clamp_min(1e-6),
            ],
            1,
        )

    @torch.no_grad()
    def _entropy(self, candidates: Candidates, feat: Tensor) -> Tensor:
        """Mean entropy of the actor [nat]."""
        if isinstance(self.actor, CategoricalHead):
            return extraction.entropy(candidates.log_policy.exp()).mean()
        return self.actor.entropy(feat).mean()

    @torch.no_grad()
    def _kl_to_behaviour(self, candidates: Candidates) -> Tensor:
        """Mean KL of the actor from the prior it is tied to [nat]."""
        log_prior = candidates.log_prior.log_softmax(-1).clamp_min(-20.0)
        return extraction.kl_divergence(candidates.log_policy.softmax(-1), log_prior).mean()

    # --- constraint -----------------------------------------------------------------------------

    def _limit(self) -> float:
        """The cost limit as a discounted sum."""
        limit, gamma = self.multiplier.cost_limit, self.config.imagination.gamma
        return discounted_limit(limit, gamma, self.episode_steps)

    def _update_multiplier(self, dream: Dream) -> None:
        own = (
            dream.first if self.config.multiplier.constraint_states == "first" else ~dream.explored
        )
        if own.any():
            discounted = masked_mean(dream.cost_return[own, 0], dream.start_weight[own]).item()
            gamma = self.config.imagination.gamma
            self.multiplier.update(episode_cost(discounted, gamma, self.episode_steps))

    # --- saving ---------------------------------------------------------------------------------

    def get_extra_state(self) -> dict[str, Tensor]:
        """The multiplier's numbers, for ``state_dict``."""
        return {
            k: torch.tensor(v, dtype=torch.float64) for k, v in self.multiplier.state_dict().items()
        }

    def set_extra_state(self, state: dict[str, Tensor]) -> None:
        self.multiplier.load_state_dict({k: float(v) for k, v in state.items()})
