"""Implicit Q-learning as a Stable-Baselines3 algorithm."""

from __future__ import annotations

from typing import Any, ClassVar, Unpack

import torch as th
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, Schedule

from vlsafe_agents.common.action_critics import (
    CriticsCnnPolicy,
    CriticsMultiInputPolicy,
    CriticsPolicy,
)
from vlsafe_agents.common.recorded_steps import AlgorithmKwargs, LearnsFromSteps
from vlsafe_agents.data.batches import TransitionBatch
from vlsafe_agents.data.dataset import EpisodeDataset
from vlsafe_agents.iql.losses import advantage_weight, expectile_loss
from wrappers.checks import one_number

LEAST_LOG_STD = -5.0  # of a `Box` policy, as in the authors' code


class IQL(LearnsFromSteps):
    """Offline RL that never asks a critic about actions which nobody took; blind to cost.

    Implicit Q-learning (Kostrikov, Nair and Levine 2021, arXiv 2110.06169): V is an upper expectile
    of Q over the recorded actions (equation 5), Q is fitted to r + gamma V(o') (equation 6), and
    the policy imitates the recorded actions weighted by exp(beta (Q - V)) (equation 7). There are
    two critics; the lesser of their slow copies counts.

    Departures: the networks and their optimiser are SB3's (no cosine schedule unless
    `learning_rate` is one); a `Box` policy is a normal variable clipped to the bounds, without the
    authors' tanh around its mean; rewards are taken as recorded, where the authors scale those of
    some tasks: `beta` counts in units of return.

    Args:
        policy: "MlpPolicy", "CnnPolicy", "MultiInputPolicy" or a `CriticsPolicy` class
        env: gives the spaces and serves evaluation callbacks; None takes the data's spaces
        dataset: what to learn from; None only for prediction
        learning_rate: of all networks, a number or SB3 schedule
        batch_size: steps per update
        gamma: discount per step
        expectile: of Q over recorded actions that V is, in (0, 1)
        beta: inverse temperature of the policy [1 / return]; 0 is behaviour cloning
        weight_limit: largest weight of an action
        tau: share by which the slow critics follow in each update
        max_grad_norm: gradients are clipped to this norm; None leaves them
        frame_stack: observations that the policy sees at once
        base_kwargs: `policy_kwargs`, `seed`, `device`, `tensorboard_log`, `verbose` as in SB3

    Raises:
        ValueError: if the data do not fit the environment's spaces
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": CriticsPolicy,
        "CnnPolicy": CriticsCnnPolicy,
        "MultiInputPolicy": CriticsMultiInputPolicy,
    }
    policy: CriticsPolicy

    def __init__(
        self,
        policy: str | type[CriticsPolicy],
        env: GymEnv | str | None,
        dataset: EpisodeDataset | None = None,
        learning_rate: float | Schedule = 3e-4,
        batch_size: int = 256,
        gamma: float = 0.99,
        expectile: float = 0.7,
        beta: float = 3.0,
        weight_limit: float = 100.0,
        tau: float = 0.005,
        max_grad_norm: float | None = None,
        frame_stack: int = 1,
        _init_setup_model: bool = True,
        **base_kwargs: Unpack[AlgorithmKwargs],
    ) -> None:
        self.gamma = one_number(gamma, "gamma", "IQL", 0.0, 1.0)
        self.expectile = one_number(expectile, "expectile", "IQL", 0.0, 1.0)
        self.beta = one_number(beta, "beta", "IQL", low=0.0)
        self.weight_limit = one_number(weight_limit, "weight_limit", "IQL", low=0.0)
        self.tau = one_number(tau, "tau", "IQL", 0.0, 1.0)
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
        # V has a features extractor of its own
        return {"critics": {"reward": 2}, "share_features_extractor": False}

    def _losses(self, batch: TransitionBatch) -> tuple[th.Tensor, dict[str, Any]]:
        policy, obs, actions = self.policy, self._observed(batch.obs), self._acted(batch.action)
        with th.no_grad():
            q = policy.slow_critics["reward"](obs, actions).amin(0)  # (B,)
            next_value = policy.predict_values(self._observed(batch.next_obs)).squeeze(-1)
            ahead = self.gamma * (1.0 - self._column(batch.terminated)) * next_value
            target = self._column(batch.reward) + ahead
        value = policy.predict_values(obs).squeeze(-1)  # (B,)
        value_loss = expectile_loss(q - value, self.expectile)
        critic_loss = (policy.critics["reward"](obs, actions) - target).square().mean(-1).sum()
        advantage = q - value.detach()
        weight = advantage_weight(advantage, self.beta, self.weight_limit)
        log_prob = policy.get_distribution(obs).log_prob(actions)
        actor_loss = -(weight * log_prob).mean()
        logs = {
            "value_loss": value_loss,
            "critic_loss": critic_loss,
            "actor_loss": actor_loss,
            "q": q.mean(),
            "advantage": advantage.mean(),
            "weight": weight.mean(),
        }
        return value_loss + critic_loss + actor_loss, logs

    @th.no_grad()
    def _after_step(self) -> None:
        self.policy.update_slow_critics(self.tau)
        if hasattr(self.policy, "log_std"):
            self.policy.log_std.clamp_(min=LEAST_LOG_STD)
