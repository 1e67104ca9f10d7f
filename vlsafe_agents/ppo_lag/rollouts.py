"""What PPO-Lag and TRPO-Lag share: rollouts with a cost stream, and the multiplier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.utils import explained_variance, obs_as_tensor
from stable_baselines3.common.vec_env import VecEnv

from vlsafe_agents.common.cost_limit import KeepsLimit
from vlsafe_agents.common.frame_stack import StacksFrames
from vlsafe_agents.ppo_lag.buffers import CostDictRolloutBuffer, CostRolloutBuffer
from vlsafe_agents.ppo_lag.policies import (
    CostActorCriticCnnPolicy,
    CostActorCriticPolicy,
    CostMultiInputActorCriticPolicy,
)


class LagrangianRollouts(StacksFrames, KeepsLimit, OnPolicyAlgorithm):
    """Mixin, to be named before SB3's on-policy class: costs beside rewards, and their price.

    The constructor calls :meth:`_take_lagrangian`; `train` calls :meth:`_update_multiplier` first.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": CostActorCriticPolicy,
        "CnnPolicy": CostActorCriticCnnPolicy,
        "MultiInputPolicy": CostMultiInputActorCriticPolicy,
    }
    _not_shared: ClassVar[tuple[str, ...]] = ("cost_",)  # the cost critic: learning begins it anew
    policy: CostActorCriticPolicy
    rollout_buffer: CostRolloutBuffer | CostDictRolloutBuffer
    _buffers: ClassVar[tuple[type[RolloutBuffer], type[RolloutBuffer]]] = (
        CostRolloutBuffer,
        CostDictRolloutBuffer,
    )

    def _take_lagrangian(
        self,
        cost_limit: float,
        lagrange: str,
        lagrange_kwargs: Mapping[str, float] | None,
        cost_gamma: float | None,
        cost_gae_lambda: float | None,
        cost_window: int,
        advantage_normalization: str,
    ) -> None:
        """Keep what is given of the constraint.

        Raises:
            ValueError: on an unknown multiplier or setting
        """
        self._take_limit(cost_limit, lagrange, lagrange_kwargs, cost_window)
        self.cost_gamma, self.cost_gae_lambda = cost_gamma, cost_gae_lambda
        self.advantage_normalization = advantage_normalization

    def _setup_model(self) -> None:
        if not issubclass(self.policy_class, CostActorCriticPolicy):
            raise ValueError(
                f"{self.policy_class.__name__} has no cost critic; derive it from "
                "vlsafe_agents.ppo_lag.CostActorCriticPolicy."
            )
        is_dict = isinstance(self.observation_space, spaces.Dict)
        self.rollout_buffer_class = self._buffers[is_dict]
        self.rollout_buffer_kwargs = self._buffer_arguments()
        super()._setup_model()
        self._setup_limit()

    def _buffer_arguments(self) -> dict[str, Any]:
        """What the rollout buffer takes beyond SB3's arguments."""
        return {
            "cost_gamma": self.gamma if self.cost_gamma is None else self.cost_gamma,
            "cost_gae_lambda": (
                self.gae_lambda if self.cost_gae_lambda is None else self.cost_gae_lambda
            ),
        }

    def collect_rollouts(
        self,
        env: VecEnv,
        callback: BaseCallback,
        rollout_buffer: RolloutBuffer,
        n_rollout_steps: int,
    ) -> bool:
        """SB3's loop; it differs only in the cost stream that runs beside the reward stream."""
        assert self._last_obs is not None, "No previous observation was provided"
        steps = self._begin_rollout(env)
        rollout_buffer = cast(CostRolloutBuffer, rollout_buffer)
        self.policy.set_training_mode(False)
        rollout_buffer.reset()
        self._start_counting()
        if self.use_sde:
            self.policy.reset_noise(env.num_envs)
        callback.on_rollout_start()

        for n_steps in range(n_rollout_steps):
            if self.use_sde and self.sde_sample_freq > 0 and n_steps % self.sde_sample_freq == 0:
                self.policy.reset_noise(env.num_envs)
            with th.no_grad():
                obs_tensor = obs_as_tensor(self._last_obs, self.device)  # type: ignore[arg-type]
                action_tensor, values, cost_values, log_probs = self._act(obs_tensor)
            actions = action_tensor.cpu().numpy()
            clipped_actions = self._env_actions(actions)
            new_obs, rewards, dones, infos = steps.step(clipped_actions)
            costs = self._count(steps, dones, infos)
            self.num_timesteps += env.num_envs

            callback.update_locals(locals())
            if not callback.on_step():
                return False

            self._update_info_buffer(infos, dones)
            if isinstance(self.action_space, spaces.Discrete):
                actions = actions.reshape(-1, 1)
            self._bootstrap_timeouts(rewards, costs, dones, infos)
            rollout_buffer.add_cost(costs, cost_values)
            rollout_buffer.add(
                self._last_obs,  # type: ignore[arg-type]
                actions,
                rewards,
                self._last_episode_starts,  # type: ignore[arg-type]
                values,
                log_probs,
                **self._memory(),
            )
            self._last_obs = new_obs  # type: ignore[assignment]
            self._last_episode_starts = dones

        self._finish_returns(rollout_buffer, new_obs, dones)
        self._record_rollout()
        callback.update_locals(locals())
        callback.on_rollout_end()
        return True

    def _act(self, obs: Any) -> tuple[th.Tensor, th.Tensor, th.Tensor, th.Tensor]:
        """Action, value, cost value and log-probability, (N, ...) each."""
        return self.policy.forward_with_cost(obs)

    def _memory(self) -> dict[str, Any]:
        """What the rollout buffer keeps beyond SB3's."""
        return {}

    def _values(self, obs: Any, starts: np.ndarray, rows: slice) -> tuple[th.Tensor, th.Tensor]:
        """Value and cost value (N, 1) of what the environments ``rows`` show.

        Args:
            starts: where an episode begins (N,)
        """
        return self.policy.predict_values(obs), self.policy.predict_cost_values(obs)

    def _finish_returns(self, buffer: CostRolloutBuffer, last_obs: Any, dones: np.ndarray) -> None:
        """Compute returns and advantages of both streams, bootstrapped from `last_obs`."""
        with th.no_grad():
            obs = obs_as_tensor(last_obs, self.device)
            values, cost_values = self._values(obs, dones, slice(None))
        buffer.compute_returns_and_advantage(last_values=values, dones=dones)
        buffer.compute_cost_returns_and_advantage(cost_values, dones)

    def _env_actions(self, actions: np.ndarray) -> np.ndarray:
        """Actions as the environment wants them: clipped, or unscaled where gSDE squashes."""
        if not isinstance(self.action_space, spaces.Box):
            return actions
        if self.policy.squash_output:
            return self.policy.unscale_action(actions)
        return np.clip(actions, self.action_space.low, self.action_space.high)

    def _bootstrap_timeouts(
        self,
        rewards: np.ndarray,
        costs: np.ndarray,
        dones: np.ndarray,
        infos: list[dict[str, Any]],
    ) -> None:
        """Add the discounted value of the last state where an episode was cut, not ended."""
        cost_gamma = self.rollout_buffer.cost_gamma
        for index in np.flatnonzero(dones).tolist():
            terminal = infos[index].get("terminal_observation")
            if terminal is None or not infos[index].get("TimeLimit.truncated", False):
                continue
            with th.no_grad():
                obs = self.policy.obs_to_tensor(terminal)[0]
                value, cost_value = self._values(obs, np.zeros(1), slice(index, index + 1))
                rewards[index] += self.gamma * float(value)
                costs[index] += cost_gamma * float(cost_value)

    def _update_multiplier(self) -> None:
        """One step for the episodes that have ended; advantages in the form that is asked for."""
        self._pay()
        if self.advantage_normalization == "separate":
            self.rollout_buffer.normalise_separately()

    def _record_cost_training(self) -> None:
        """What the log says of the cost critic and the multiplier."""
        buffer = self.rollout_buffer
        predicted, target = buffer.cost_values.flatten(), buffer.cost_returns.flatten()
        explained = explained_variance(predicted, target)
        self.logger.record("train/cost_explained_variance", explained)
        self.logger.record("train/lagrange_multiplier", self.lagrange_multiplier)
