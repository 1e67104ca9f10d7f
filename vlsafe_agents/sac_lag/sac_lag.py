"""SAC under a cost constraint (SAC-Lagrangian) as a Stable-Baselines3 algorithm."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, ClassVar, TypedDict, Unpack

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from stable_baselines3.common.utils import polyak_update
from torch.nn import functional as F

from vlsafe_agents.common.cost_limit import KeepsLimit
from vlsafe_agents.common.frame_stack import StacksFrames, stack_env
from vlsafe_agents.common.off_policy import DrivesSAC, check_off_policy
from vlsafe_agents.sac_lag.buffers import BUFFERS, CostKeeping, CostReplaySamples
from vlsafe_agents.sac_lag.policies import (
    CostSACCnnPolicy,
    CostSACMultiInputPolicy,
    CostSACPolicy,
)
from wrappers.checks import whole_number


class SACKwargs(TypedDict, total=False):
    """Arguments of SB3's `SAC` that `SACLag` passes on unchanged; see there for their meaning."""

    learning_rate: float | Schedule
    learning_starts: int
    batch_size: int
    tau: float
    gamma: float
    train_freq: int
    gradient_steps: int
    ent_coef: str | float
    target_update_interval: int
    target_entropy: str | float
    use_sde: bool
    sde_sample_freq: int
    use_sde_at_warmup: bool
    stats_window_size: int
    tensorboard_log: str | None
    policy_kwargs: dict[str, Any] | None
    verbose: int
    seed: int | None
    device: th.device | str
    _init_setup_model: bool


def actor_loss(
    q: th.Tensor, cost_q: th.Tensor, log_prob: th.Tensor, ent_coef: th.Tensor, multiplier: float
) -> th.Tensor:
    """Mean of alpha log pi - (Q - lambda Q_c) / (1 + lambda), of tensors (B, 1), a scalar."""
    return (ent_coef * log_prob - (q - multiplier * cost_q) / (1.0 + multiplier)).mean()


class SACLag(StacksFrames, KeepsLimit, DrivesSAC):
    """SAC that maximises return subject to "mean episode cost <= cost_limit", for `Box` actions.

    SAC-Lagrangian (Ha et al. 2020, arXiv 2002.08550) on SB3's SAC (Haarnoja et al. 2018): one
    further critic learns the discounted cost return, without entropy; the actor descends
    alpha log pi - (Q - lambda Q_c) / (1 + lambda), as OmniSafe's SACLag (Ji et al. 2024). The
    multiplier is that of :class:`~vlsafe_agents.ppo_lag.PPOLag`: it follows the undiscounted mean
    cost of the last `cost_window` episodes, with one step every `multiplier_interval` environment
    steps in which an episode has ended, from `learning_starts` on. Departure from Ha et al.: their
    constraint is on the critic's estimate.

    The environment must put a finite `cost` >= 0 into `info` at every step; `info["collision"]`
    is counted as by `PPOLag`.

    Args:
        policy: "MlpPolicy", "CnnPolicy", "MultiInputPolicy" or a `CostSACPolicy` class
        env: the environment, or its registered id
        cost_limit: highest accepted mean of the undiscounted cost of an episode
        lagrange: "plain" (gradient ascent) or "pid" (Stooke et al. 2020)
        lagrange_kwargs: settings of the multiplier, see `vlsafe_agents.common.lagrange`;
            `{"maximum": 0.0}` gives cost-blind SAC with the same logs
        cost_gamma: discount of the cost return; None takes `gamma`
        cost_window: how many finished episodes the mean cost is taken over
        multiplier_interval: environment steps between two steps of the multiplier
        buffer_size: steps that the replay holds
        frame_stack: observations that the policy sees at once, see
            :class:`~vlsafe_agents.common.frame_stack.StacksFrames`
        sac_kwargs: any argument of SB3's `SAC` but the replay buffer's, `n_steps`, `action_noise`
            and frequencies in episodes

    Raises:
        ValueError: on an unknown multiplier or setting, or a policy without cost critic
        KeyError: while learning, if the environment reports no cost
        ValueError: while learning, if what it reports is not finite or not of Gymnasium's form
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": CostSACPolicy,
        "CnnPolicy": CostSACCnnPolicy,
        "MultiInputPolicy": CostSACMultiInputPolicy,
    }
    policy: CostSACPolicy
    replay_buffer: CostKeeping | None
    _blind = "SB3's SAC"
    _buffers = BUFFERS

    def __init__(
        self,
        policy: str | type[CostSACPolicy],
        env: GymEnv | str,
        cost_limit: float = 1.0,
        lagrange: str = "plain",
        lagrange_kwargs: dict[str, float] | None = None,
        cost_gamma: float | None = None,
        cost_window: int = 20,
        multiplier_interval: int = 1_000,
        buffer_size: int = 100_000,
        frame_stack: int = 1,
        **sac_kwargs: Unpack[SACKwargs],
    ) -> None:
        own = {
            "cost_gamma": cost_gamma,
            "cost_window": cost_window,
            "multiplier_interval": multiplier_interval,
            "buffer_size": buffer_size,
            "frame_stack": frame_stack,
        }
        check_off_policy("SACLag", {**sac_kwargs, **own})
        self._take_limit(cost_limit, lagrange, lagrange_kwargs, cost_window)
        self.cost_gamma = cost_gamma
        self.multiplier_interval = multiplier_interval
        self._next_price = multiplier_interval  # timesteps at the multiplier's next step
        self.frame_stack = int(frame_stack)
        space = getattr(env, "action_space", None)  # an id has none yet
        if space is not None and not isinstance(space, spaces.Box):
            raise ValueError(
                f"SACLag learns Box actions, not {space}; make the environment with continuous "
                "ones, or take PPOLag or TRPOLag"
            )
        super().__init__(
            policy, stack_env(SACLag, env, self.frame_stack), buffer_size=buffer_size, **sac_kwargs
        )

    def _setup_model(self) -> None:
        if not issubclass(self.policy_class, CostSACPolicy):
            raise ValueError(
                f"{self.policy_class.__name__} has no cost critic; derive it from "
                "vlsafe_agents.sac_lag.CostSACPolicy."
            )
        super()._setup_model()
        self._setup_limit()

    def _create_aliases(self) -> None:
        super()._create_aliases()
        self.cost_critic = self.policy.cost_critic
        self.cost_critic_target = self.policy.cost_critic_target

    def _begin_episodes(self, afresh: bool) -> None:
        super()._begin_episodes(afresh)
        if afresh:
            self._next_price = self.multiplier_interval

    def _store_transition(
        self,
        replay_buffer: ReplayBuffer,
        buffer_action: np.ndarray,
        new_obs: Any,
        reward: np.ndarray,
        dones: np.ndarray,
        infos: list[dict[str, Any]],
    ) -> None:
        assert isinstance(replay_buffer, CostKeeping)
        replay_buffer.add_cost(self._count(self._checked_steps(), dones, infos))
        super()._store_transition(replay_buffer, buffer_action, new_obs, reward, dones, infos)
        if self.num_timesteps >= self._next_price:
            self._next_price += self.multiplier_interval
            if self.num_timesteps > self.learning_starts:
                self._pay()
            self._record_rollout()
            self._start_counting()

    def train(self, gradient_steps: int, batch_size: int = 64) -> None:
        """Updates of temperature, critics and actor, in SB3's order."""
        self.policy.set_training_mode(True)
        optimizers = [part.optimizer for part in (self.actor, self.critic, self.cost_critic)]
        if self.ent_coef_optimizer is not None:
            optimizers.append(self.ent_coef_optimizer)
        self._update_learning_rate(optimizers)
        assert self.replay_buffer is not None
        logs: dict[str, list[float]] = defaultdict(list)
        for step in range(gradient_steps):
            batch: Any = self.replay_buffer.sample(batch_size)
            self._update(batch, logs)
            if step % self.target_update_interval == 0:
                for fast, slow in (
                    (self.critic, self.critic_target),
                    (self.cost_critic, self.cost_critic_target),
                ):
                    polyak_update(fast.parameters(), slow.parameters(), self.tau)
                polyak_update(self.batch_norm_stats, self.batch_norm_stats_target, 1.0)
        self._n_updates += gradient_steps
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/lagrange_multiplier", self.lagrange_multiplier)
        for name, values in logs.items():
            self.logger.record(f"train/{name}", float(np.mean(values)))

    def _update(self, batch: CostReplaySamples, logs: dict[str, list[float]]) -> None:
        """One gradient step of everything."""
        obs = batch.observations
        if self.use_sde:
            self.actor.reset_noise()
        actions, log_prob = self.actor.action_log_prob(obs)
        log_prob = log_prob.reshape(-1, 1)
        ent_coef = self._update_temperature(log_prob, logs)
        target, cost_target = self._targets(batch, ent_coef)
        known = self.critic(obs, batch.actions)
        critic_loss = 0.5 * th.stack([F.mse_loss(q, target) for q in known]).sum()
        _descend(self.critic.optimizer, critic_loss)
        [cost_q] = self.cost_critic(obs, batch.actions)
        cost_loss = 0.5 * F.mse_loss(cost_q, cost_target)
        _descend(self.cost_critic.optimizer, cost_loss)
        q = th.cat(self.critic(obs, actions), 1).amin(1, keepdim=True)
        [cost_q] = self.cost_critic(obs, actions)
        loss = actor_loss(q, cost_q, log_prob, ent_coef, self.lagrange_multiplier)
        _descend(self.actor.optimizer, loss)
        logs["critic_loss"].append(critic_loss.item())
        logs["cost_critic_loss"].append(cost_loss.item())
        logs["actor_loss"].append(loss.item())

    def _update_temperature(self, log_prob: th.Tensor, logs: dict[str, list[float]]) -> th.Tensor:
        """SB3's step of the entropy's weight; returns the weight from before it."""
        if self.ent_coef_optimizer is None or self.log_ent_coef is None:
            return self.ent_coef_tensor
        ent_coef = self.log_ent_coef.detach().exp()
        wanted = (log_prob + float(self.target_entropy)).detach()
        loss = -(self.log_ent_coef * wanted).mean()
        _descend(self.ent_coef_optimizer, loss)
        logs["ent_coef"].append(ent_coef.item())
        logs["ent_coef_loss"].append(loss.item())
        return ent_coef

    @th.no_grad()
    def _targets(
        self, batch: CostReplaySamples, ent_coef: th.Tensor
    ) -> tuple[th.Tensor, th.Tensor]:
        """What Q and Q_c of the batch should be, (B, 1); only the reward's has an entropy bonus."""
        after: Any = batch.next_observations
        actions, log_prob = self.actor.action_log_prob(after)
        q = th.cat(self.critic_target(after, actions), 1).amin(1, keepdim=True)
        [cost_q] = self.cost_critic_target(after, actions)
        alive = 1.0 - batch.dones
        cost_gamma = self.gamma if self.cost_gamma is None else self.cost_gamma
        bonus = ent_coef * log_prob.reshape(-1, 1)
        target = batch.rewards + alive * self.gamma * (q - bonus)
        return target, batch.costs + alive * cost_gamma * cost_q

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        state_dicts, variables = super()._get_torch_save_params()
        return [*state_dicts, "cost_critic.optimizer"], variables

    def _state(self) -> dict[str, Any]:
        return {**super()._state(), "next_price": self._next_price}

    def _restore(self, state: dict[str, Any]) -> None:
        super()._restore(state)
        self._next_price = whole_number(state["next_price"], "next_price", low=0)

    def _running(self) -> dict[str, Any]:
        own = {"next_price": self._next_price, "ended": self._episode_costs.ended}
        return {**super()._running(), **own, "caused_before": self._caused_before}

    def _go_on(self, running: dict[str, Any]) -> None:
        super()._go_on(running)
        self._next_price = int(running["next_price"])
        self._episode_costs.ended = int(running["ended"])
        self._caused_before = int(running["caused_before"])


def _descend(optimizer: th.optim.Optimizer, loss: th.Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
