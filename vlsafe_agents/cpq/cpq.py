"""Constraints-penalised Q-learning as a Stable-Baselines3 algorithm."""

from __future__ import annotations

from typing import Any, ClassVar, Unpack

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, PyTorchObs, Schedule

from vlsafe_agents.common.action_critics import ActionCritic
from vlsafe_agents.common.recorded_steps import AlgorithmKwargs, LearnsFromSteps
from vlsafe_agents.common.returns import discounted_limit
from vlsafe_agents.cpq.losses import penalised, unsupported
from vlsafe_agents.cpq.policies import CPQCnnPolicy, CPQMultiInputPolicy, CPQPolicy
from vlsafe_agents.data.batches import TransitionBatch
from vlsafe_agents.data.dataset import EpisodeDataset
from wrappers.checks import one_number, whole_number


class CPQ(LearnsFromSteps):
    """Offline Q-learning in which actions that cost too much, or that nobody took, earn nothing.

    Constraints-penalised Q-learning (Xu, Zhan and Zhu 2022, arXiv 2107.09003). The cost critic is
    fitted to the policy's cost and pushed up on unsupported actions until it says `margin` times
    the threshold there; the reward critic's targets and the policy count
    1(Q_c <= l) Q. The threshold `l` is `cost_limit` discounted over an episode
    of the data's mean length, as in OSRL and OmniSafe. It is kept from every state on, not on
    average: the policy stays below what a constrained MDP's best one earns. Rewards should be at
    least 0, as in the paper: an action that breaks the limit counts as 0, and less would be worse.

    Departures: unsupported actions are those whose density under a clone of the recorded drives is
    below `support` of the state's largest, where the paper asks a conditional VAE; the policy over
    `Discrete` actions is the greedy one, which the paper's actor would learn, and takes the least
    costly action where none keeps the limit; of a `Box` the policy's gradient is that of its
    samples' likelihood (REINFORCE with their mean as baseline), since gradients through 1(Q_c <= l)
    are 0 and would leave a policy beyond the limit where it is; terminal steps have no future cost
    (OSRL's have).

    Args:
        policy: "MlpPolicy", "CnnPolicy", "MultiInputPolicy" or a `CPQPolicy` class
        env: gives the spaces and serves evaluation callbacks; None takes the data's spaces
        dataset: what to learn from, with costs; None only for prediction
        cost_limit: highest accepted cost of an episode, undiscounted, above 0
        learning_rate: of all networks, a number or SB3 schedule
        batch_size: steps per update
        gamma: discount per step, of reward and cost
        tau: share by which the slow critics follow in each update
        support: see above, in (0, 1)
        margin: what Q_c of unsupported actions is pushed up to, in thresholds
        alpha_learning_rate: step of the push's weight [1 / cost]
        alpha_max: largest weight of the push
        samples: actions of a `Box` that are looked at in each state
        max_grad_norm: gradients are clipped to this norm; None leaves them
        frame_stack: observations that the policy sees at once
        base_kwargs: `policy_kwargs`, `seed`, `device`, `tensorboard_log`, `verbose` as in SB3

    Raises:
        ValueError: if the data do not fit the environment's spaces, have no costs, or for actions
            that are neither `Discrete` nor a `Box` with finite bounds
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": CPQPolicy,
        "CnnPolicy": CPQCnnPolicy,
        "MultiInputPolicy": CPQMultiInputPolicy,
    }
    action_spaces = (spaces.Discrete, spaces.Box)
    needs_costs = True
    policy: CPQPolicy

    def __init__(
        self,
        policy: str | type[CPQPolicy],
        env: GymEnv | str | None,
        dataset: EpisodeDataset | None = None,
        cost_limit: float = 1.0,
        learning_rate: float | Schedule = 3e-4,
        batch_size: int = 256,
        gamma: float = 0.99,
        tau: float = 0.005,
        support: float = 0.1,
        margin: float = 1.5,
        alpha_learning_rate: float = 1e-3,
        alpha_max: float = 1.0,
        samples: int = 10,
        max_grad_norm: float | None = None,
        frame_stack: int = 1,
        _init_setup_model: bool = True,
        **base_kwargs: Unpack[AlgorithmKwargs],
    ) -> None:
        self.cost_limit = one_number(cost_limit, "cost_limit", "CPQ", low=0.0)
        self.gamma = one_number(gamma, "gamma", "CPQ", 0.0, 1.0)
        self.tau = one_number(tau, "tau", "CPQ", 0.0, 1.0)
        self.support = one_number(support, "support", "CPQ", 0.0, 1.0)
        self.margin = one_number(margin, "margin", "CPQ", low=0.0)
        self.alpha_learning_rate = one_number(
            alpha_learning_rate, "alpha_learning_rate", "CPQ", low=0.0
        )
        self.alpha_max = one_number(alpha_max, "alpha_max", "CPQ", low=0.0)
        self.samples = whole_number(samples, "samples", "CPQ", low=2)
        self.alpha = 0.0
        super().__init__(
            policy,
            env,
            dataset,
            learning_rate,
            batch_size,
            max_grad_norm,
            frame_stack,
            _init_setup_model,
            **base_kwargs,
        )

    def _policy_arguments(self) -> dict[str, Any]:
        return {"critics": {"reward": 2, "cost": 1}}

    def _take_data(self, dataset: EpisodeDataset) -> None:
        super()._take_data(dataset)
        threshold = discounted_limit(self.cost_limit, self.gamma, dataset.mean_steps)
        self.policy.threshold.fill_(float(threshold))

    def _losses(self, batch: TransitionBatch) -> tuple[th.Tensor, dict[str, Any]]:
        policy, obs, actions = self.policy, self._observed(batch.obs), self._acted(batch.action)
        with th.no_grad():
            next_q, next_cost_q = self._next_values(self._observed(batch.next_obs))
            discount = self.gamma * (1.0 - self._column(batch.terminated))
            ahead = penalised(next_q, next_cost_q, policy.threshold)
            target = self._column(batch.reward) + discount * ahead
            cost_target = self._column(batch.cost) + discount * next_cost_q
        critic_loss = (policy.critics["reward"](obs, actions) - target).square().mean(-1).sum()
        cost_loss = (policy.critics["cost"](obs, actions) - cost_target).square().mean()
        behaviour = policy.get_distribution(obs)
        behaviour_loss = -behaviour.log_prob(actions).mean()
        foreign = self._unsupported_cost(obs, behaviour)
        push = th.zeros(()) if foreign is None else -self.alpha * foreign
        actor_loss = self._actor_loss(obs)
        if foreign is not None:
            self._update_alpha(foreign.item())
        logs = {
            "critic_loss": critic_loss,
            "cost_critic_loss": cost_loss,
            "behaviour_loss": behaviour_loss,
            "actor_loss": actor_loss,
            "alpha": self.alpha,
            "feasible": (next_cost_q <= policy.threshold).float().mean(),
        }
        if foreign is not None:
            logs["unsupported_cost"] = foreign
        return critic_loss + cost_loss + behaviour_loss + push + actor_loss, logs

    def _slow(self, name: str) -> ActionCritic:
        critic = self.policy.slow_critics[name]
        assert isinstance(critic, ActionCritic)
        return critic

    def _next_values(self, obs: PyTorchObs) -> tuple[th.Tensor, th.Tensor]:
        """Slow Q and Q_c (N,) of the policy's action."""
        actor = self.policy.actor
        chosen = self.policy.greedy(obs) if actor is None else actor.sample(obs, 1)[0].squeeze(0)
        q = self._slow("reward")(obs, chosen).amin(0)
        return q, self._slow("cost")(obs, chosen).mean(0)

    def _unsupported_cost(self, obs: PyTorchObs, behaviour: Any) -> th.Tensor | None:
        """Mean Q_c of actions that nobody took, with gradients; None where there are none."""
        critic = self.policy.critics["cost"]
        assert isinstance(critic, ActionCritic)
        if self.policy.actor is None:
            log_density = behaviour.distribution.logits.detach()  # (N, A), normalised
            largest = log_density.amax(-1, keepdim=True)
            values = critic.of_all(obs).mean(0)
        else:
            with th.no_grad():
                taken, _ = self.policy.actor.sample(obs, self.samples)  # (S, N, ...)
                log_density = behaviour.distribution.log_prob(taken.flatten(2)).sum(-1)  # (S, N)
                largest = behaviour.log_prob(behaviour.mode())
            values = critic.of_several(obs, taken).mean(0)
        foreign = unsupported(log_density, largest, self.support)
        return values[foreign].mean() if foreign.any() else None

    def _update_alpha(self, cost: float) -> None:
        """Dual ascent: the push grows while unsupported actions look cheap."""
        lacking = self.margin * float(self.policy.threshold) - cost
        self.alpha = float(
            np.clip(self.alpha + self.alpha_learning_rate * lacking, 0.0, self.alpha_max)
        )

    def _actor_loss(self, obs: PyTorchObs) -> th.Tensor:
        """Minus the penalised value of sampled actions; 0 where the greedy one is taken."""
        if self.policy.actor is None:
            return th.zeros(())
        actions, log_density = self.policy.actor.sample(obs, self.samples)  # (S, N, ...), (S, N)
        with th.no_grad():
            q = self._slow("reward").of_several(obs, actions).amin(0)
            cost_q = self._slow("cost").of_several(obs, actions).mean(0)
            worth = penalised(q, cost_q, self.policy.threshold)
            better = worth - worth.mean(0)
        return -(better * log_density).mean()

    def _after_step(self) -> None:
        self.policy.update_slow_critics(self.tau)

    def _state(self) -> dict[str, Any]:
        return {**super()._state(), "alpha": self.alpha}

    def _restore(self, state: dict[str, Any]) -> None:
        super()._restore(state)
        self.alpha = one_number(state["alpha"], "alpha", "CPQ", low=0.0)
