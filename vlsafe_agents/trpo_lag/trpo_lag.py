"""TRPO under a cost constraint (TRPO-Lagrangian) as a Stable-Baselines3 algorithm."""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np
import torch as th
from sb3_contrib import TRPO
from stable_baselines3.common.type_aliases import GymEnv
from torch import nn
from torch.nn import functional as F

from vlsafe_agents.common.frame_stack import stack_env
from vlsafe_agents.ppo_lag.advantages import lagrangian_advantage
from vlsafe_agents.ppo_lag.arguments import TRPOKwargs, check_lag_arguments
from vlsafe_agents.ppo_lag.policies import CostActorCriticPolicy
from vlsafe_agents.ppo_lag.rollouts import LagrangianRollouts


class TRPOLag(LagrangianRollouts, TRPO):
    """TRPO that maximises return subject to "mean episode cost <= cost_limit".

    TRPO-Lagrangian (Ray, Achiam and Amodei 2019, section 5) on sb3-contrib's TRPO: its trust-region
    step (Schulman et al. 2015, arXiv 1502.05477) goes along (A_r - lambda A_c) / (1 + lambda). Cost
    critic, rollouts, multiplier and what the environment has to report are those of
    :class:`~vlsafe_agents.ppo_lag.PPOLag`. The cost critic is fitted as TRPO's reward critic is,
    after the policy's step and without moving what the policy reads.

    Args:
        policy: "MlpPolicy", "CnnPolicy", "MultiInputPolicy" or a `CostActorCriticPolicy` class
        env: the environment, or its registered id
        cost_limit: highest accepted mean of the undiscounted cost of an episode
        lagrange: "plain" (gradient ascent) or "pid" (Stooke et al. 2020)
        lagrange_kwargs: settings of the multiplier, see `vlsafe_agents.common.lagrange`;
            `{"maximum": 0.0}` gives cost-blind TRPO with the same logs
        cost_gamma: discount of the cost return; None takes `gamma`
        cost_gae_lambda: GAE parameter of the cost advantage; None takes `gae_lambda`
        cost_window: how many finished episodes the mean cost is taken over
        advantage_normalization: "joint" (mixed in their own units) or "separate" (A_r standardised,
            A_c centred before); TRPO itself makes the length of its step independent of the
            mixture's scale
        frame_stack: observations that the policy sees at once, see
            :class:`~vlsafe_agents.common.frame_stack.StacksFrames`
        trpo_kwargs: any argument of sb3-contrib's `TRPO` except the rollout buffer's

    Raises:
        ValueError: on an unknown multiplier or setting, or a policy without cost critic
        KeyError: while learning, if the environment reports no cost
        ValueError: while learning, if what it reports is not finite or not of Gymnasium's form
    """

    _blind = "sb3-contrib's TRPO"
    _actor_params: list[nn.Parameter]  # of the last step

    def __init__(
        self,
        policy: str | type[CostActorCriticPolicy],
        env: GymEnv | str,
        cost_limit: float = 1.0,
        lagrange: str = "plain",
        lagrange_kwargs: dict[str, float] | None = None,
        cost_gamma: float | None = None,
        cost_gae_lambda: float | None = None,
        cost_window: int = 100,
        advantage_normalization: str = "joint",
        frame_stack: int = 1,
        **trpo_kwargs: Unpack[TRPOKwargs],
    ) -> None:
        own = {
            "cost_gamma": cost_gamma,
            "cost_gae_lambda": cost_gae_lambda,
            "cost_window": cost_window,
            "frame_stack": frame_stack,
        }
        check_lag_arguments("TRPOLag", advantage_normalization, own, trpo_kwargs)
        self._take_lagrangian(
            cost_limit,
            lagrange,
            lagrange_kwargs,
            cost_gamma,
            cost_gae_lambda,
            cost_window,
            advantage_normalization,
        )
        self.frame_stack = int(frame_stack)
        super().__init__(policy, stack_env(TRPOLag, env, self.frame_stack), **trpo_kwargs)

    def train(self) -> None:
        """Update lambda once, then policy, reward critic and cost critic on the rollout."""
        self._update_multiplier()
        buffer = self.rollout_buffer
        buffer.advantages = lagrangian_advantage(
            buffer.advantages, buffer.cost_advantages, self.lagrange_multiplier
        )
        super().train()
        losses = self._fit_cost_critic()
        self.logger.record("train/cost_value_loss", float(np.mean(losses)))
        self._record_cost_training()

    def _compute_actor_grad(self, kl_div: th.Tensor, policy_objective: th.Tensor) -> Any:
        """sb3-contrib's; says which parameters the policy depends on."""
        found = super()._compute_actor_grad(kl_div, policy_objective)
        self._actor_params = found[0]
        return found

    def _fit_cost_critic(self) -> list[float]:
        """Regress the cost returns as TRPO does the returns; returns the minibatches' losses."""
        losses = []
        for _ in range(self.n_critic_updates):
            for batch in self.rollout_buffer.get(self.batch_size):
                predicted = self.policy.predict_cost_values(batch.observations).flatten()
                loss = F.mse_loss(batch.cost_returns, predicted)
                losses.append(loss.item())
                self.policy.optimizer.zero_grad()
                loss.backward()
                for parameter in self._actor_params:
                    parameter.grad = None
                self.policy.optimizer.step()
        return losses
