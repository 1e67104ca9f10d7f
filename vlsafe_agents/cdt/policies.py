"""CDT's policy: a distribution of actions made of the last steps, and a memory of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.distributions import (
    DiagGaussianDistribution,
    Distribution,
    make_proba_distribution,
)
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import (
    BaseFeaturesExtractor,
    FlattenExtractor,
    NatureCNN,
)
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import nn

from vlsafe_agents.cdt.network import HistoryNetwork
from vlsafe_agents.common.action_critics import action_size, action_vector
from vlsafe_agents.common.vehicle_policies import SeesVehicles
from wrappers.checks import one_number, whole_number

_LOG_STD = (-5.0, 2.0)  # of a `Box` policy
_LIMITS = 101


class Memory(NamedTuple):
    """The last K steps of N episodes, the latest behind the others; `predict` passes them on."""

    features: th.Tensor  # (N, K, F), of observations
    actions: th.Tensor  # (N, K, A), vectors
    to_go: th.Tensor  # (N, K, 2), return and cost that were still to be earned and paid
    step: th.Tensor  # (N,) int64, number of the latest step in its episode; -1 before the first


class DecisionTransformerPolicy(BasePolicy):
    """Acts by the last steps and by what is still to be earned and may be paid.

    `returns_within` holds limits, rising, and what good recorded episodes within each have earned.

    Args:
        context: K, steps that are looked at
        width: of the transformer's tokens
        layers: of the transformer
        heads: of its attention
        dropout: share of its activations that are dropped while learning
        acting_limit: cost that an episode may have
        target_return: that an episode is to have; None: by `returns_within`
        others: of SB3's policies
    """

    returns_within: th.Tensor  # (_LIMITS, 2); a file keeps it with the weights

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        context: int = 10,
        width: int = 64,
        layers: int = 2,
        heads: int = 4,
        dropout: float = 0.1,
        acting_limit: float = 0.0,
        target_return: float | None = None,
        features_extractor_class: type[BaseFeaturesExtractor] = FlattenExtractor,
        **others: Any,
    ) -> None:
        super().__init__(
            observation_space,
            action_space,
            features_extractor_class=features_extractor_class,
            **others,
        )
        self.context = whole_number(context, "context", "CDT", low=1)
        self.sizes: dict[str, Any] = {
            "width": whole_number(width, "width", "CDT", low=2),
            "layers": whole_number(layers, "layers", "CDT", low=1),
            "heads": whole_number(heads, "heads", "CDT", low=1),
            "dropout": one_number(dropout, "dropout", "CDT", 0.0, 1.0),
        }
        if width % 2 or width % heads:
            raise ValueError(f"width is {width}; CDT needs an even multiple of its {heads} heads")
        self.acting_limit, self.target_return = acting_limit, target_return
        self.register_buffer("returns_within", th.zeros(_LIMITS, 2))
        self.features_extractor = self.make_features_extractor()
        self.action_dist = make_proba_distribution(action_space)
        self._actions = action_size(action_space)
        self.history = HistoryNetwork(
            int(self.features_extractor.features_dim), self._actions, self.context, **self.sizes
        )
        outputs = 2 if isinstance(self.action_dist, DiagGaussianDistribution) else 1
        self.action_net = nn.Linear(width, outputs * self._actions)
        self.optimizer = self.optimizer_class(
            self.parameters(),
            lr=lr_schedule(1),  # type: ignore[call-arg]  # of all optimisers but their base
            **self.optimizer_kwargs,
        )

    @property
    def acting_limit(self) -> float:
        """The cost that an episode which begins now may have."""
        return self._acting_limit

    @acting_limit.setter
    def acting_limit(self, limit: float) -> None:
        self._acting_limit = one_number(limit, "acting_limit", "CDT", low=0.0)

    @property
    def targets(self) -> tuple[float, float]:
        """Return and cost that an episode which begins now is told to have."""
        if self.target_return is not None:
            return self.target_return, self.acting_limit
        known = self.returns_within.cpu().numpy()  # (_LIMITS, 2)
        # of a shared agent they are rounded to float16
        kept = int((known[:, 0] <= self.acting_limit * (1 + 1e-3)).sum())
        return float(known[max(kept - 1, 0), 1]), self.acting_limit

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            **super()._get_constructor_parameters(),
            **self.sizes,
            "lr_schedule": self._dummy_schedule,
            "context": self.context,
            "acting_limit": self.acting_limit,
            "target_return": self.target_return,
            "optimizer_class": self.optimizer_class,
            "optimizer_kwargs": self.optimizer_kwargs,
            "features_extractor_class": self.features_extractor_class,
            "features_extractor_kwargs": self.features_extractor_kwargs,
        }

    # --- distributions ----------------------------------------------------------------------------

    def features(self, obs: PyTorchObs) -> th.Tensor:
        """Features (N, F) of observations."""
        return super().extract_features(obs, self.features_extractor)

    def vectors(self, actions: th.Tensor) -> th.Tensor:
        """Actions (N, ...), counted from 0, as the network reads them (N, A)."""
        return action_vector(actions, self.action_space)

    def distribution(self, latent: th.Tensor) -> Distribution:
        """Of actions, made of the network's outputs (N, width)."""
        found = self.action_net(latent)
        if isinstance(self.action_dist, DiagGaussianDistribution):
            mean, log_std = found.chunk(2, -1)
            return self.action_dist.proba_distribution(mean, log_std.clamp(*_LOG_STD))
        chosen: Distribution = self.action_dist.proba_distribution(action_logits=found)
        return chosen

    # --- acting -----------------------------------------------------------------------------------

    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """Actions for one observation or a batch of N, and what to remember.

        Args:
            state: from the last call; None at the start of an episode
            episode_start: (N,); where true, what was before is forgotten
            deterministic: most likely actions instead of samples
        """
        self.set_training_mode(False)
        obs, is_batch = self.obs_to_tensor(observation)
        with th.no_grad():
            features = self.features(obs)
            memory = self._recalled(state, episode_start, len(features))
            memory = self._with(memory, features)
            actions = self._chosen(memory, deterministic)
            place = memory.step.clamp_max(self.context - 1)
            memory.actions[th.arange(len(place)), place] = self.vectors(actions)
        taken = actions.cpu().numpy().reshape(-1, *(self.action_space.shape or ()))
        if isinstance(self.action_space, spaces.Box):
            taken = np.clip(taken, self.action_space.low, self.action_space.high)
        kept = tuple(part.cpu().numpy() for part in memory)
        return (taken if is_batch else taken.squeeze(0)), kept

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        features = self.features(observation)
        memory = self._with(self._recalled(None, None, len(features)), features)
        return self._chosen(memory, deterministic)

    def _recalled(
        self, state: tuple[np.ndarray, ...] | None, starts: np.ndarray | None, count: int
    ) -> Memory:
        """What is remembered of so many episodes, nothing of those that begin."""
        size = int(self.features_extractor.features_dim)
        if state is None:
            features, actions, to_go = (
                th.zeros(count, self.context, n, device=self.device)
                for n in (size, self._actions, 2)
            )
            before = th.full((count,), -1, device=self.device)
            return Memory(features, actions, to_go, before)
        # copies: a caller may ask twice from one state
        memory = Memory(*(th.tensor(part, device=self.device) for part in state))
        if starts is not None:
            memory.step[th.as_tensor(np.asarray(starts, bool), device=self.device)] = -1
        return memory

    def _with(self, memory: Memory, features: th.Tensor) -> Memory:
        """The memory and the step that begins with these features; its action is not known yet."""
        rows, last = th.arange(len(features)), self.context - 1
        before = memory.step.clamp(0, last)
        at_first = th.tensor(self.targets, device=features.device)
        came = self.history.outcomes(
            memory.features[rows, before], memory.actions[rows, before], features
        )  # (N, 2), what the step before has earned and cost, as far as observations tell
        came[:, 1].clamp_min_(0.0)
        left = memory.to_go[rows, before] - came
        left[:, 1].clamp_min_(0.0)
        begins = (memory.step < 0)[:, None]
        full = memory.step >= last
        for part in memory[:3]:
            part[full] = part[full].roll(-1, 1)
        step = memory.step + 1
        place = step.clamp_max(last)
        memory.features[rows, place] = features
        memory.actions[rows, place] = 0.0
        memory.to_go[rows, place] = th.where(begins, at_first, left)
        return memory._replace(step=step)

    def _chosen(self, memory: Memory, deterministic: bool) -> th.Tensor:
        """Actions (N, ...) of the latest step, counted from 0."""
        place = memory.step.clamp_max(self.context - 1)
        first = (memory.step - place)[:, None]
        steps = first + th.arange(self.context, device=first.device)  # (N, K)
        latent = self.history(memory.features, memory.actions, memory.to_go, steps)
        chosen = latent[th.arange(len(place)), place]
        return self.distribution(chosen).get_actions(deterministic)


class DecisionTransformerCnnPolicy(DecisionTransformerPolicy):
    """The same for image observations, by SB3's NatureCNN."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("features_extractor_class", NatureCNN)
        super().__init__(*args, **kwargs)


class DecisionTransformerMultiInputPolicy(SeesVehicles, DecisionTransformerPolicy):
    """The same for Dict observations, and sets of vehicles."""
