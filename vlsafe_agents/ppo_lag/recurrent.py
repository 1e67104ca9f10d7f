"""PPO-Lag with a memory: sb3-contrib's LSTM policies and rollout buffers, with a cost critic."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch as th
from sb3_contrib.common.recurrent.buffers import (
    RecurrentDictRolloutBuffer,
    RecurrentRolloutBuffer,
)
from sb3_contrib.common.recurrent.policies import (
    RecurrentActorCriticCnnPolicy,
    RecurrentActorCriticPolicy,
    RecurrentMultiInputActorCriticPolicy,
)
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import PyTorchObs

from vlsafe_agents.common.running import to_arrays
from vlsafe_agents.common.vehicle_policies import SeesVehicles
from vlsafe_agents.ppo_lag.buffers import CostStorage
from vlsafe_agents.ppo_lag.policies import CostActorCriticPolicy
from vlsafe_agents.ppo_lag.ppo_lag import PPOLag


class RecurrentSamples(NamedTuple):
    """N steps; the first four are padded to S sequences of one length L, flat (S * L, ...)."""

    observations: PyTorchObs
    actions: th.Tensor
    episode_starts: th.Tensor
    mask: th.Tensor  # bool, False where padded: N are True, in the order of the others
    lstm_states: RNNStates  # before each sequence
    old_values: th.Tensor  # (N,), as all that follow
    old_log_prob: th.Tensor
    advantages: th.Tensor
    returns: th.Tensor
    old_cost_values: th.Tensor
    cost_advantages: th.Tensor
    cost_returns: th.Tensor


class _RecurrentStorage(CostStorage):
    """The cost half, mixed into both of sb3-contrib's buffers."""

    _kept = ("values", "log_probs", "advantages", "returns", *CostStorage._cost_arrays)

    def _get_samples(self, batch_inds: np.ndarray, env_change: Any = None) -> Any:
        padded: Any = super(CostStorage, self)._get_samples(batch_inds, env_change)
        kept = (self.to_torch(getattr(self, name)[batch_inds].flatten()) for name in self._kept)
        return RecurrentSamples(
            padded.observations,
            padded.actions.float(),  # as SB3's buffers, for distributions of MultiBinary actions
            padded.episode_starts,
            padded.mask > 0.5,
            padded.lstm_states,
            *kept,
        )


class RecurrentCostBuffer(_RecurrentStorage, RecurrentRolloutBuffer):  # type: ignore[misc]
    """`RecurrentRolloutBuffer` with costs, see `CostRolloutBuffer`."""


class RecurrentCostDictBuffer(_RecurrentStorage, RecurrentDictRolloutBuffer):  # type: ignore[misc]
    """The same for Dict observations."""


class CostLstmPolicy(CostActorCriticPolicy, RecurrentActorCriticPolicy):
    """sb3-contrib's LSTM policy; the cost critic has its own hidden layers on the critic's LSTM."""

    def make_features_extractor(self) -> BaseFeaturesExtractor:
        """SB3's; of counted observations its size is NumPy's integer, which no LSTM takes."""
        extractor = super().make_features_extractor()
        extractor._features_dim = int(extractor.features_dim)
        return extractor

    def _cost_extractor(self) -> BaseFeaturesExtractor:
        return self.vf_features_extractor

    def _latent_dim(self) -> int:
        return self.lstm_output_dim

    def forward_with_memory(
        self, obs: PyTorchObs, states: RNNStates, starts: th.Tensor
    ) -> tuple[th.Tensor, th.Tensor, th.Tensor, th.Tensor, RNNStates]:
        """Sampled action, value, cost value, log-probability, and the states behind them.

        Args:
            states: hidden and cell states (layers, N, units) of actor and critic
            starts: 1 where an episode begins (N,)
        """
        latent_pi, latent_vf, states = self._latents(obs, states, starts)
        distribution = self._get_action_dist_from_latent(
            self.mlp_extractor.forward_actor(latent_pi)
        )
        actions = distribution.get_actions()
        log_prob = distribution.log_prob(actions)
        shape = self.action_space.shape or ()
        return actions.reshape((-1, *shape)), *self._both_values(latent_vf), log_prob, states

    def evaluate_with_memory(
        self, obs: PyTorchObs, actions: th.Tensor, states: RNNStates, starts: th.Tensor
    ) -> tuple[th.Tensor, th.Tensor, th.Tensor, th.Tensor | None]:
        """Value, cost value, log-probability, entropy of sequences, flat (S * L,)."""
        latent_pi, latent_vf, _ = self._latents(obs, states, starts)
        distribution = self._get_action_dist_from_latent(
            self.mlp_extractor.forward_actor(latent_pi)
        )
        log_prob, entropy = distribution.log_prob(actions), distribution.entropy()
        return *self._both_values(latent_vf), log_prob, entropy

    def values_with_memory(
        self, obs: PyTorchObs, states: RNNStates, starts: th.Tensor
    ) -> tuple[th.Tensor, th.Tensor]:
        """Value and cost value (N, 1)."""
        return self._both_values(self._latents(obs, states, starts)[1])

    def _latents(
        self, obs: PyTorchObs, states: RNNStates, starts: th.Tensor
    ) -> tuple[th.Tensor, th.Tensor, RNNStates]:
        features: Any = self.extract_features(obs)
        pi, vf = (features, features) if self.share_features_extractor else features
        latent_pi, after_pi = self._process_sequence(pi, states.pi, starts, self.lstm_actor)  # type: ignore[arg-type]
        after: Any = after_pi
        if self.lstm_critic is not None:
            latent_vf, after = self._process_sequence(vf, states.vf, starts, self.lstm_critic)  # type: ignore[arg-type]
        elif self.shared_lstm:
            latent_vf = latent_pi.detach()
        else:
            assert self.critic is not None
            latent_vf = self.critic(vf)
        return latent_pi, latent_vf, RNNStates(after_pi, after)  # type: ignore[arg-type]

    def _both_values(self, latent: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        return (
            self.value_net(self.mlp_extractor.forward_critic(latent)),
            self.cost_value_net(self.cost_mlp.forward_critic(latent)),
        )


class CostCnnLstmPolicy(CostLstmPolicy, RecurrentActorCriticCnnPolicy):
    """The same for image observations."""


class CostMultiInputLstmPolicy(SeesVehicles, CostLstmPolicy, RecurrentMultiInputActorCriticPolicy):
    """The same for Dict observations."""


class RecurrentPPOLag(PPOLag):
    """`PPOLag` whose policy and critics remember, as sb3-contrib's `RecurrentPPO`.

    Takes the arguments of `PPOLag` but `frame_stack`, and in `policy_kwargs` those of sb3-contrib's
    LSTM policies (`lstm_hidden_size`, `n_lstm_layers`, ...). Pass on what `predict` returns.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": CostLstmPolicy,
        "CnnPolicy": CostCnnLstmPolicy,
        "MultiInputPolicy": CostMultiInputLstmPolicy,
        "MlpLstmPolicy": CostLstmPolicy,
        "CnnLstmPolicy": CostCnnLstmPolicy,
        "MultiInputLstmPolicy": CostMultiInputLstmPolicy,
    }
    policy: CostLstmPolicy
    _buffers = (RecurrentCostBuffer, RecurrentCostDictBuffer)

    def _setup_model(self) -> None:
        if self.frame_stack != 1:
            raise ValueError("RecurrentPPOLag remembers by itself; leave frame_stack out.")
        if not issubclass(self.policy_class, CostLstmPolicy):
            raise ValueError(
                f"{self.policy_class.__name__} has no memory with a cost critic; derive it from "
                "vlsafe_agents.ppo_lag.recurrent.CostLstmPolicy."
            )
        super()._setup_model()

    def _buffer_arguments(self) -> dict[str, Any]:
        layers = int(self.policy_kwargs.get("n_lstm_layers", 1))
        units = int(self.policy_kwargs.get("lstm_hidden_size", 256))
        shape = (self.n_steps, layers, self.n_envs, units)
        return {**super()._buffer_arguments(), "hidden_state_shape": shape}

    def _forget_episodes(self, recent: Iterable[float] = ()) -> None:
        super()._forget_episodes(recent)
        lstm = self.policy.lstm_actor
        shape = (lstm.num_layers, self.n_envs, lstm.hidden_size)
        blank = th.zeros(shape, device=self.device)
        self._states = self._states_before = RNNStates((blank, blank), (blank, blank))

    def _running(self) -> dict[str, Any]:
        states = [[x.cpu().numpy().copy() for x in part] for part in self._states]
        return {**super()._running(), "lstm_states": states}

    def _go_on(self, running: dict[str, Any]) -> None:
        super()._go_on(running)
        if not running.get("new_episodes"):
            pi, vf = to_arrays(running["lstm_states"])
            both = (tuple(th.as_tensor(x, device=self.device) for x in part) for part in (pi, vf))
            self._states = RNNStates(*both)

    def _act(self, obs: Any) -> tuple[th.Tensor, th.Tensor, th.Tensor, th.Tensor]:
        starts = th.as_tensor(self._last_episode_starts, dtype=th.float32, device=self.device)
        self._states_before = self._states
        *rest, self._states = self.policy.forward_with_memory(obs, self._states, starts)
        return tuple(rest)  # type: ignore[return-value]

    def _memory(self) -> dict[str, Any]:
        return {"lstm_states": self._states_before}

    def _values(self, obs: Any, starts: np.ndarray, rows: slice) -> tuple[th.Tensor, th.Tensor]:
        chosen = RNNStates(*(tuple(x[:, rows].contiguous() for x in part) for part in self._states))
        begins = th.as_tensor(starts, dtype=th.float32, device=self.device)
        return self.policy.values_with_memory(obs, chosen, begins)

    def _evaluate(
        self, batch: Any, actions: th.Tensor
    ) -> tuple[th.Tensor, th.Tensor, th.Tensor, th.Tensor | None]:
        values, cost_values, log_prob, entropy = self.policy.evaluate_with_memory(
            batch.observations, actions, batch.lstm_states, batch.episode_starts
        )
        mask = batch.mask
        known = None if entropy is None else entropy[mask]
        return values.flatten()[mask], cost_values.flatten()[mask], log_prob[mask], known
