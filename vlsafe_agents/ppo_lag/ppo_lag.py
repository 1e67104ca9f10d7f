"""PPO under a cost constraint (PPO-Lagrangian) as a Stable-Baselines3 algorithm."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, ClassVar, Unpack, cast

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.utils import explained_variance, obs_as_tensor
from stable_baselines3.common.vec_env import VecEnv

from vlsafe_agents.common.checked_steps import count_collisions
from vlsafe_agents.common.cost_stream import EpisodeCosts, read_costs
from vlsafe_agents.common.driving import DrivingAlgorithm
from vlsafe_agents.common.frame_stack import StacksFrames, stack_env
from vlsafe_agents.common.lagrange import make_multiplier
from vlsafe_agents.ppo_lag.advantages import lagrangian_advantage
from vlsafe_agents.ppo_lag.arguments import PPOKwargs, check_lag_arguments
from vlsafe_agents.ppo_lag.buffers import (
    CostDictRolloutBuffer,
    CostRolloutBuffer,
    CostRolloutBufferSamples,
)
from vlsafe_agents.ppo_lag.losses import (
    clipped_policy_loss,
    clipped_share,
    kl_estimate,
    value_loss,
)
from vlsafe_agents.ppo_lag.policies import (
    CostActorCriticCnnPolicy,
    CostActorCriticPolicy,
    CostMultiInputActorCriticPolicy,
)
from wrappers.checks import one_number, whole_number


class PPOLag(StacksFrames, DrivingAlgorithm, PPO):
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
        check_lag_arguments(advantage_normalization, own, ppo_kwargs)
        make_multiplier(lagrange, cost_limit, **(lagrange_kwargs or {}))  # refuses wrong settings
        self.cost_limit = cost_limit
        self.lagrange = lagrange
        self.lagrange_kwargs = dict(lagrange_kwargs or {})
        self.cost_gamma = cost_gamma
        self.cost_gae_lambda = cost_gae_lambda
        self.cost_vf_coef = cost_vf_coef
        self.cost_window = cost_window
        self.advantage_normalization = advantage_normalization
        self.frame_stack = int(frame_stack)
        self.collisions_caused: int | None = None
        self._caused_before = 0  # before the present rollout
        super().__init__(policy, stack_env(PPOLag, env, self.frame_stack), **ppo_kwargs)

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
        self.multiplier = make_multiplier(self.lagrange, self.cost_limit, **self.lagrange_kwargs)
        self._forget_episodes()

    def _maybe_recommend_cpu(self, mlp_class_name: str = "CostActorCriticPolicy") -> None:
        """SB3's advice against a GPU for small networks, which knows its own policy by name."""
        super()._maybe_recommend_cpu(mlp_class_name)

    def _buffer_arguments(self) -> dict[str, Any]:
        """What the rollout buffer takes beyond SB3's arguments."""
        return {
            "cost_gamma": self.gamma if self.cost_gamma is None else self.cost_gamma,
            "cost_gae_lambda": (
                self.gae_lambda if self.cost_gae_lambda is None else self.cost_gae_lambda
            ),
        }

    def _forget_episodes(self, recent: Iterable[float] = ()) -> None:
        """Begin to sum up costs anew, with the sums of `recent` finished episodes known."""
        kept = max(self.cost_window, self._stats_window_size)
        self._episode_costs = EpisodeCosts(self.n_envs, kept, recent)

    @property
    def lagrange_multiplier(self) -> float:
        """The current price of one unit of episode cost, in units of return."""
        return self.multiplier.value

    def _begin_episodes(self, afresh: bool) -> None:
        super()._begin_episodes(afresh)
        self._forget_episodes(() if afresh else self._episode_costs.recent)

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
        self._episode_costs.start_rollout()
        self._caused_before = self.collisions_caused or 0
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
            costs = read_costs(infos, steps)
            self.num_timesteps += env.num_envs
            self._episode_costs.add(costs, dones)
            collisions = count_collisions(dones, infos)
            if collisions is not None:
                self.collisions_caused = (self.collisions_caused or 0) + collisions

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

    def _evaluate(
        self, batch: Any, actions: th.Tensor
    ) -> tuple[th.Tensor, th.Tensor, th.Tensor, th.Tensor | None]:
        """Value, cost value, log-probability and entropy under the present policy."""
        return self.policy.evaluate_actions_with_cost(batch.observations, actions)

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

    def _record_rollout(self) -> None:
        episodes = self._episode_costs
        if episodes.recent:
            self.logger.record("rollout/ep_cost_mean", episodes.mean(self._stats_window_size))
        if self.collisions_caused is not None:
            self.logger.record("rollout/collisions", self.collisions_caused - self._caused_before)
            self.logger.record("rollout/collisions_caused", self.collisions_caused)

    def train(self) -> None:
        """Update lambda once, then actor and both critics for `n_epochs` over the rollout."""
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        progress = self._current_progress_remaining
        clip_range = self.clip_range(progress)  # type: ignore[operator]
        clip_range_vf = None if self.clip_range_vf is None else self.clip_range_vf(progress)  # type: ignore[operator]

        if self._episode_costs.ended:
            self.multiplier.update(self._episode_costs.mean(self.cost_window))
        if self.advantage_normalization == "separate":
            self.rollout_buffer.normalise_separately()

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
        for prefix, predicted, target in (
            ("", buffer.values, buffer.returns),
            ("cost_", buffer.cost_values, buffer.cost_returns),
        ):
            explained = explained_variance(predicted.flatten(), target.flatten())
            self.logger.record(f"train/{prefix}explained_variance", explained)
        if hasattr(self.policy, "log_std"):
            self.logger.record("train/std", th.exp(self.policy.log_std).mean().item())
        self.logger.record("train/lagrange_multiplier", self.lagrange_multiplier)
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/clip_range", clip_range)

    def _state(self) -> dict[str, Any]:
        own = {
            "collisions_caused": self.collisions_caused,
            "episode_costs": list(self._episode_costs.recent),
        }
        return {**super()._state(), **own, "multiplier": self.multiplier.state_dict()}

    def _restore(self, state: dict[str, Any]) -> None:
        super()._restore(state)
        caused = state["collisions_caused"]
        self.collisions_caused = (
            None if caused is None else whole_number(caused, "collisions_caused")
        )
        self.multiplier.load_state_dict(state["multiplier"])
        sums = state.get("episode_costs", [])  # not in files of before the window
        self._forget_episodes(one_number(cost, "a cost", "episode_costs", low=0.0) for cost in sums)

    def _running(self) -> dict[str, Any]:
        own = {"collisions_caused": self.collisions_caused}
        return {**super()._running(), **own, "episode_costs": self._episode_costs.state_dict()}

    def _go_on(self, running: dict[str, Any]) -> None:
        super()._go_on(running)
        self.collisions_caused = running["collisions_caused"]
        costs = running["episode_costs"]
        if running.get("new_episodes"):
            costs = {**costs, "running": np.zeros(self.n_envs)}
        self._episode_costs.load_state_dict(costs)
