"""Conservative Q-learning for discrete actions as a Stable-Baselines3 algorithm."""

from __future__ import annotations

from typing import Any, ClassVar, Unpack

import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from stable_baselines3.common.utils import polyak_update
from stable_baselines3.dqn.policies import CnnPolicy, DQNPolicy, MlpPolicy, MultiInputPolicy

from vlsafe_agents.common.recorded_steps import AlgorithmKwargs, LearnsFromSteps
from vlsafe_agents.common.vehicle_policies import SeesVehicles
from vlsafe_agents.data.batches import TransitionBatch
from vlsafe_agents.data.dataset import EpisodeDataset
from wrappers.checks import one_number


class VehiclesQPolicy(SeesVehicles, MultiInputPolicy):
    """SB3's Q-network for Dict observations; sets of vehicles are seen as such."""


def conservative_penalty(q: th.Tensor, actions: th.Tensor) -> th.Tensor:
    """Mean of log sum_a exp Q(o, a) - Q(o, recorded a), at least 0 (CQL(H), equation 4).

    Args:
        q: values of all actions (B, A)
        actions: recorded ones (B,), counted from 0
    """
    return (q.logsumexp(-1) - q.gather(-1, actions.unsqueeze(-1)).squeeze(-1)).mean()


class CQL(LearnsFromSteps):
    """Offline Q-learning that values unrecorded actions below recorded ones; blind to cost.

    Conservative Q-learning, CQL(H) (Kumar, Zhou, Tucker and Levine 2020, arXiv 2006.04779, equation
    4): half the squared temporal difference plus `alpha` times
    `log sum_a exp Q(o, a) - Q(o, recorded a)`, on SB3's DQN networks. Targets are those of double
    Q-learning (van Hasselt et al. 2016), as in d3rlpy's `DiscreteCQL`; the authors used QR-DQN for
    discrete actions. The greedy action is taken, whether `deterministic` or not.

    Args:
        policy: "MlpPolicy", "CnnPolicy", "MultiInputPolicy" or a `DQNPolicy` class
        env: gives the spaces and serves evaluation callbacks; None takes the data's spaces
        dataset: what to learn from, with `Discrete` actions; None only for prediction
        learning_rate: a number or SB3 schedule
        batch_size: steps per update
        gamma: discount per step
        alpha: weight of the penalty [return]; 0 is double DQN on recorded steps
        tau: share by which the slow network follows in each update
        max_grad_norm: gradients are clipped to this norm; None leaves them
        frame_stack: observations that the policy sees at once
        base_kwargs: `policy_kwargs`, `seed`, `device`, `tensorboard_log`, `verbose` as in SB3

    Raises:
        ValueError: if the data do not fit the environment's spaces, or for other actions
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": MlpPolicy,
        "CnnPolicy": CnnPolicy,
        "MultiInputPolicy": VehiclesQPolicy,
    }
    action_spaces = (spaces.Discrete,)
    policy: DQNPolicy

    def __init__(
        self,
        policy: str | type[DQNPolicy],
        env: GymEnv | str | None,
        dataset: EpisodeDataset | None = None,
        learning_rate: float | Schedule = 3e-4,
        batch_size: int = 256,
        gamma: float = 0.99,
        alpha: float = 1.0,
        tau: float = 0.005,
        max_grad_norm: float | None = None,
        frame_stack: int = 1,
        _init_setup_model: bool = True,
        **base_kwargs: Unpack[AlgorithmKwargs],
    ) -> None:
        self.gamma = one_number(gamma, "gamma", "CQL", 0.0, 1.0)
        self.alpha = one_number(alpha, "alpha", "CQL", low=0.0)
        self.tau = one_number(tau, "tau", "CQL", 0.0, 1.0)
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

    def _losses(self, batch: TransitionBatch) -> tuple[th.Tensor, dict[str, Any]]:
        net, slow = self.policy.q_net, self.policy.q_net_target
        actions = self._acted(batch.action)  # (B,)
        with th.no_grad():
            next_obs = self._observed(batch.next_obs)
            best = net(next_obs).argmax(-1, keepdim=True)
            next_value = slow(next_obs).gather(-1, best).squeeze(-1)
            ahead = self.gamma * (1.0 - self._column(batch.terminated)) * next_value
            target = self._column(batch.reward) + ahead
        q = net(self._observed(batch.obs))  # (B, A)
        taken = q.gather(-1, actions.unsqueeze(-1)).squeeze(-1)
        critic_loss = 0.5 * (taken - target).square().mean()
        penalty = conservative_penalty(q, actions)
        logs = {"critic_loss": critic_loss, "penalty": penalty, "q": taken.mean()}
        return critic_loss + self.alpha * penalty, logs

    def _after_step(self) -> None:
        fast, slow = self.policy.q_net, self.policy.q_net_target
        polyak_update(fast.parameters(), slow.parameters(), self.tau)
