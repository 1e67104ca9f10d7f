"""PPO under a cost constraint (PPO-Lagrangian) as a Stable-Baselines3 algorithm."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Unpack

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.utils import explained_variance

from vlsafe_agents.common.frame_stack import stack_env
from vlsafe_agents.ppo_lag.advantages import lagrangian_advantage
from vlsafe_agents.ppo_lag.arguments import PPOKwargs, check_lag_arguments
from vlsafe_agents.ppo_lag.buffers import CostRolloutBufferSamples
from vlsafe_agents.ppo_lag.losses import (
    clipped_policy_loss,
    clipped_share,
    kl_estimate,
    value_loss,
)
from vlsafe_agents.ppo_lag.policies import CostActorCriticPolicy
from vlsafe_agents.ppo_lag.rollouts import LagrangianRollouts


class PPOLag(LagrangianRollouts, PPO):
    """PPO that maximises return subject to "mean episode cost <= cost_limit".

    PPO-Lagrangian (Ray, Achiam and Amodei 2019, section 5) on SB3's PPO: a second critic learns
    the discounted cost return, the clipped objective gets (A_r - lambda A_c) / (1 + lambda), and
    lambda follows the undiscounted mean cost of the last `cost_window` episodes, as in OmniSafe (Ji
    et al. 2024). In a rollout in which none ended, lambda rests: nothing new is known, and a step
    for the same old episodes would make lambda depend on how short rollouts are.

    Departure from common implementations: A_r and A_c are mixed in their own units and normalised
    together (if `normalize_advantage`), so that lambda is the price of one unit of cost in units of
    return. `advantage_normalization="separate"` is OmniSafe's way: A_r standardised, A_c centred
    over the rollout, and mixed then; lambda is a price in standard deviations of A_r, which shrink
    as the policy settles.

    The environment must put a finite `cost` >= 0 into `info` at every step. `info["collision"]`,
    where present, is counted on the last step of each episode: `collisions_caused` is the number
    of collisions that learning itself caused in the environment, over the life of the model; None
    where none has ever been reported, nor that there was none.

    Args:
        policy: "MlpPolicy", "CnnPolicy", "MultiInputPolicy" or a `CostActorCriticPolicy` class
        env: the environment, or its registered id
        cost_limit: highest accepted mean of the undiscounted cost of an episode
        cost_window: how many finished episodes that mean is taken over; more make lambda steadier
            and later
        lagrange: "plain" (gradient ascent) or "pid" (Stooke et al. 2020)
        lagrange_kwargs: settings of the multiplier, see `vlsafe_agents.common.lagrange`;
            `{"maximum": 0.0}` gives cost-blind PPO with the same logs
        cost_gamma: discount of the cost return; None takes `gamma`
        cost_gae_lambda: GAE parameter of the cost advantage; None takes `gae_lambda`
        cost_vf_coef: weight of the cost critic's loss
        advantage_normalization: "joint" (after mixing, over each minibatch) or "separate" (before,
            over the rollout, as OmniSafe)
        frame_stack: observations that the policy sees at once, see
            :class:`~vlsafe_agents.common.frame_stack.StacksFrames`
        ppo_kwargs: any argument of SB3's `PPO` except the rollout buffer's

    Raises:
        ValueError: on an unknown multiplier or setting, or a policy without cost critic
        KeyError: while learning, if the environment reports no cost
        ValueError: while learning, if what it reports is not finite or not of Gymnasium's form
    """

    _blind = "SB3's PPO"

    def __init__(
        self,
        policy: str | type[CostActorCriticPolicy],
        env: GymEnv | str,
        cost_limit: float = 1.0,
        lagrange: str = "plain",
        lagrange_kwargs: dict[str, float] | None = None,
        cost_gamma: float | None = None,
        cost_gae_lambda: float | None = None,
        cost_vf_coef: float = 0.5,
        cost_window: int = 100,
        advantage_normalization: str = "joint",
        frame_stack: int = 1,
        **ppo_kwargs: Unpack[PPOKwargs],
    ) -> None:
        own = {
            "cost_gamma": cost_gamma,
            "cost_gae_lambda": cost_gae_lambda,
            "cost_vf_coef": cost_vf_coef,
            "cost_window": cost_window,
            "frame_stack": frame_stack,
        }
        check_lag_arguments("PPOLag", advantage_normalization, own, ppo_kwargs)
        self._take_lagrangian(
            cost_limit,
            lagrange,
            lagrange_kwargs,
            cost_gamma,
            cost_gae_lambda,
            cost_window,
            advantage_normalization,
        )
        self.cost_vf_coef = cost_vf_coef
        self.frame_stack = int(frame_stack)
        super().__init__(policy, stack_env(PPOLag, env, self.frame_stack), **ppo_kwargs)

    def _maybe_recommend_cpu(self, mlp_class_name: str = "CostActorCriticPolicy") -> None:
        """SB3's advice against a GPU for small networks, which knows its own policy by name."""
        super()._maybe_recommend_cpu(mlp_class_name)

    def _evaluate(
        self, batch: Any, actions: th.Tensor
    ) -> tuple[th.Tensor, th.Tensor, th.Tensor, th.Tensor | None]:
        """Value, cost value, log-probability and entropy under the present policy."""
        return self.policy.evaluate_actions_with_cost(batch.observations, actions)

    def train(self) -> None:
        """Update lambda once, then actor and both critics for `n_epochs` over the rollout."""
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        progress = self._current_progress_remaining
        clip_range = self.clip_range(progress)  # type: ignore[operator]
        clip_range_vf = None if self.clip_range_vf is None else self.clip_range_vf(progress)  # type: ignore[operator]
        self._update_multiplier()
        logs: dict[str, list[float]] = defaultdict(list)
        for epoch in range(self.n_epochs):
            logs["train/approx_kl"].clear()  # as SB3: the mean over the last epoch
            stop = self._train_epoch(clip_range, clip_range_vf, logs)
            self._n_updates += 1
            if stop:
                if self.verbose >= 1:
                    print(f"Early stopping at epoch {epoch}: KL {logs['train/approx_kl'][-1]:.3f}")
                break
        self._record_training(logs, clip_range)

    def _train_epoch(
        self, clip_range: float, clip_range_vf: float | None, logs: dict[str, list[float]]
    ) -> bool:
        """One pass over the rollout; True if the KL limit was reached."""
        for batch in self.rollout_buffer.get(self.batch_size):
            loss, approx_kl = self._loss(batch, clip_range, clip_range_vf, logs)
            if self.target_kl is not None and approx_kl > 1.5 * self.target_kl:
                return True
            self.policy.optimizer.zero_grad()
            loss.backward()
            th.nn.utils.clip_grad_norm_(self.policy.parameters(), self.max_grad_norm)
            self.policy.optimizer.step()
        return False

    def _loss(
        self,
        batch: CostRolloutBufferSamples,
        clip_range: float,
        clip_range_vf: float | None,
        logs: dict[str, list[float]],
    ) -> tuple[th.Tensor, float]:
        """Total loss of a minibatch and the approximate KL divergence since the rollout."""
        actions = batch.actions
        if isinstance(self.action_space, spaces.Discrete):
            actions = actions.long().flatten()  # (N, 1) -> (N,)
        values, cost_values, log_prob, entropy = self._evaluate(batch, actions)
        log_ratio = log_prob - batch.old_log_prob
        policy_loss = clipped_policy_loss(self._mixed_advantage(batch), log_ratio, clip_range)
        reward_value_loss = value_loss(values, batch.old_values, batch.returns, clip_range_vf)
        cost_value_loss = value_loss(
            cost_values, batch.old_cost_values, batch.cost_returns, clip_range_vf
        )
        # -log_prob stands in where the distribution's entropy has no closed form.
        entropy_loss = -th.mean(-log_prob if entropy is None else entropy)
        loss = (
            policy_loss
            + self.ent_coef * entropy_loss
            + self.vf_coef * reward_value_loss
            + self.cost_vf_coef * cost_value_loss
        )
        approx_kl = kl_estimate(log_ratio)
        logs["train/policy_gradient_loss"].append(policy_loss.item())
        logs["train/value_loss"].append(reward_value_loss.item())
        logs["train/cost_value_loss"].append(cost_value_loss.item())
        logs["train/entropy_loss"].append(entropy_loss.item())
        logs["train/loss"].append(loss.item())
        logs["train/clip_fraction"].append(clipped_share(log_ratio, clip_range))
        logs["train/approx_kl"].append(approx_kl)
        return loss, approx_kl

    def _mixed_advantage(self, batch: CostRolloutBufferSamples) -> th.Tensor:
        """(A_r - lambda A_c) / (1 + lambda), normalised over the minibatch if asked for."""
        advantages = lagrangian_advantage(
            batch.advantages, batch.cost_advantages, self.lagrange_multiplier
        )
        if self.advantage_normalization == "separate":
            return advantages
        if self.normalize_advantage and len(advantages) > 1:
            advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        return advantages

    def _record_training(self, logs: dict[str, list[float]], clip_range: float) -> None:
        for key, entries in logs.items():
            self.logger.record(key, float(np.mean(entries)))
        buffer = self.rollout_buffer
        explained = explained_variance(buffer.values.flatten(), buffer.returns.flatten())
        self.logger.record("train/explained_variance", explained)
        self._record_cost_training()
        if hasattr(self.policy, "log_std"):
            self.logger.record("train/std", th.exp(self.policy.log_std).mean().item())
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/clip_range", clip_range)
