"""What SB3 algorithms that learn from single recorded steps share."""

from __future__ import annotations

from typing import Any, ClassVar, Self, TypedDict, Unpack

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.preprocessing import is_image_space, is_image_space_channels_first
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, PyTorchObs, Schedule
from stable_baselines3.common.vec_env import VecTransposeImage

from vlsafe_agents.common.border import first_action
from vlsafe_agents.common.frame_stack import StacksFrames, single_space, stack_env, stacked_space
from vlsafe_agents.common.offline import OfflineAlgorithm
from vlsafe_agents.common.space_actions import ActsInSpace
from vlsafe_agents.data.accepted import check_dataset
from vlsafe_agents.data.dataset import EpisodeDataset
from wrappers.checks import one_number, whole_number


class AlgorithmKwargs(TypedDict, total=False):
    """Arguments of SB3's `BaseAlgorithm` that are passed on unchanged."""

    policy_kwargs: dict[str, Any] | None
    stats_window_size: int
    tensorboard_log: str | None
    verbose: int
    seed: int | None
    device: th.device | str


class LearnsFromSteps(StacksFrames, ActsInSpace, OfflineAlgorithm):
    """Learns from recorded steps drawn uniformly; one timestep = one gradient update.

    The environment is never stepped. A class adds its networks (`policy_aliases`,
    `_policy_arguments`) and its losses (`_losses`), whose sum one optimiser descends.

    Args:
        policy: SB3's name of a policy, or a class
        env: gives the spaces and serves evaluation callbacks; None takes the data's spaces
        dataset: what to learn from; None only for prediction
        learning_rate: of the optimiser, a number or SB3 schedule
        batch_size: steps per update
        max_grad_norm: gradients are clipped to this norm; None leaves them
        frame_stack: observations that the policy sees at once; the data's are stacked as an
            environment's, see :class:`~vlsafe_agents.common.frame_stack.StacksFrames`
        base_kwargs: `policy_kwargs`, `seed`, `device`, `tensorboard_log`, `verbose` as in SB3

    Raises:
        ValueError: if the data do not fit the environment's spaces, or for another action space
            than `action_spaces`
    """

    action_spaces: ClassVar[tuple[type[spaces.Space[Any]], ...]] = (
        spaces.Box,
        spaces.Discrete,
        spaces.MultiDiscrete,
        spaces.MultiBinary,
    )
    needs_costs: ClassVar[bool] = False
    _training_data: EpisodeDataset | None = None

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None,
        dataset: EpisodeDataset | None = None,
        learning_rate: float | Schedule = 3e-4,
        batch_size: int = 256,
        max_grad_norm: float | None = None,
        frame_stack: int = 1,
        _init_setup_model: bool = True,
        **base_kwargs: Unpack[AlgorithmKwargs],
    ) -> None:
        who = type(self).__name__
        self.frame_stack = whole_number(frame_stack, "frame_stack", who, low=1)
        if not callable(learning_rate):
            one_number(learning_rate, "learning_rate", who, low=0.0)
        self.batch_size = whole_number(batch_size, "batch_size", who, low=1)
        self.max_grad_norm = (
            None if max_grad_norm is None else one_number(max_grad_norm, "max_grad_norm", who, 0.0)
        )
        super().__init__(
            policy,
            stack_env(type(self), env, self.frame_stack),
            learning_rate,
            support_multi_env=True,
            **base_kwargs,
        )
        if env is None and dataset is not None:
            self._take_spaces(dataset)
        if _init_setup_model:
            self._setup_model()
        if dataset is not None:
            self.set_dataset(check_dataset(dataset))

    def _take_spaces(self, dataset: Any) -> None:
        super()._take_spaces(dataset)
        seen = _channels_first(self.observation_space)
        self.observation_space = stacked_space(seen, self.frame_stack)

    def _setup_model(self) -> None:
        if not isinstance(self.action_space, self.action_spaces):
            known = ", ".join(kind.__name__ for kind in self.action_spaces)
            raise ValueError(
                f"{type(self).__name__} learns actions of {known}, not of {self.action_space}; "
                "BC, IQL and VLSafe learn others"
            )
        self._setup_lr_schedule()
        self.set_random_seed(self.seed)
        self._rng = np.random.default_rng(self.seed)
        arguments = {**self._policy_arguments(), **self.policy_kwargs}
        self.policy = self.policy_class(
            self.observation_space, self.action_space, self.lr_schedule, **arguments
        ).to(self.device)

    def _policy_arguments(self) -> dict[str, Any]:
        """What the policy's constructor takes beyond SB3's and the user's arguments."""
        return {}

    def set_dataset(self, dataset: EpisodeDataset) -> None:
        """Learn from `dataset` from now on (a loaded model has none).

        Warns of an environment with another id than the one that was recorded.

        Raises:
            ValueError: if its spaces are not the model's, if it has no costs where they are needed,
                or if the environment's observations are changed on their way (`VecNormalize`)
            TypeError: if it is no data set
        """
        dataset, who = self._accept_data(dataset), type(self).__name__
        if dataset.num_branches:
            raise ValueError(
                f"{dataset.num_branches} of the episodes branch from recorded ones: their actions "
                f"are no driver's choice, which {who} would copy; give the recorded drives alone"
            )
        if dataset.action_space != self.action_space:
            raise ValueError(
                f"The data's actions are {dataset.action_space}, the model's are "
                f"{self.action_space}; make the environment with the data's `action`."
            )
        if self.needs_costs:
            dataset.require_cost(who)
        seen = single_space(self.observation_space, self.frame_stack)
        self._take_data(dataset.select(_channels_last(seen)))

    def _take_data(self, dataset: EpisodeDataset) -> None:
        """Data that fit, as the agent sees them."""
        self._training_data = dataset

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 100,
        tb_log_name: str | None = None,
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Make `total_timesteps` gradient updates.

        Another call starts the learning rate afresh from the weights as they are; with
        `reset_num_timesteps=False` it goes on where it was.

        Raises:
            ValueError: without a data set, or for a negative number of updates
        """
        who = type(self).__name__
        if self._training_data is None:
            raise ValueError(f"{who} has no data set; pass dataset= or call set_dataset() first.")
        total_timesteps, callback = self._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name or who, progress_bar
        )
        callback.on_training_start(locals(), globals())
        self._begin_updates(reset_num_timesteps)
        while self.num_timesteps < total_timesteps and not self._is_over():
            self._update_current_progress_remaining(self.num_timesteps, total_timesteps)
            self.train()
            self.num_timesteps += 1
            self._after_update()  # before callbacks, which may save what it found
            callback.update_locals(locals())
            if not callback.on_step():
                break
            if log_interval is not None and self.num_timesteps % log_interval == 0:
                self.dump_logs()
        self._end_updates()
        callback.on_training_end()
        return self

    def _begin_updates(self, afresh: bool) -> None:
        """Called before the first update of each `learn`."""

    def _is_over(self) -> bool:
        """Whether no further update is to be made."""
        return False

    def _after_update(self) -> None:
        """Called after each update."""

    def _end_updates(self) -> None:
        """Called after the last update of each `learn`."""

    def train(self) -> None:
        """One gradient update."""
        self.policy.set_training_mode(True)
        optimizer = self.policy.optimizer
        self._update_learning_rate(optimizer)
        loss, logs = self._losses(self._sample())
        optimizer.zero_grad()
        loss.backward()
        if self.max_grad_norm is not None:
            th.nn.utils.clip_grad_norm_(self.policy.parameters(), self.max_grad_norm)
        optimizer.step()
        self._after_step()
        self._n_updates += 1
        self.policy.set_training_mode(False)  # callbacks may evaluate
        self.logger.record_mean("train/loss", loss.item())
        for name, value in logs.items():
            single = value.item() if isinstance(value, th.Tensor) else value
            self.logger.record_mean(f"train/{name}", single)

    def _sample(self) -> Any:
        """The batch of an update: single steps, where a class draws nothing else."""
        assert self._training_data is not None
        return self._training_data.sample_transitions(self.batch_size, self._rng, self.frame_stack)

    def _losses(self, batch: Any) -> tuple[th.Tensor, dict[str, Any]]:
        """The loss of a batch and what is logged of it, by name."""
        raise NotImplementedError

    def _after_step(self) -> None:
        """What follows a gradient step: slow copies of networks, say."""

    def _observed(self, obs: dict[str, np.ndarray]) -> PyTorchObs:
        """Recorded observations (B, ...) by name, as the policy's networks take them."""
        wants_dict = isinstance(self.observation_space, spaces.Dict)
        return self.policy.obs_to_tensor(obs if wants_dict else next(iter(obs.values())))[0]

    def _acted(self, action: np.ndarray) -> th.Tensor:
        """Recorded actions (B, ...) counted from 0, as SB3's distributions take them."""
        actions = th.as_tensor(action - first_action(self.action_space), device=self.device)
        if isinstance(self.action_space, spaces.MultiBinary):
            return actions.float()
        return actions.flatten(1) if isinstance(self.action_space, spaces.Box) else actions

    def _column(self, values: np.ndarray) -> th.Tensor:
        """Rewards, costs or flags (B,) as float32."""
        return th.as_tensor(values, dtype=th.float32, device=self.device)

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "policy.optimizer"], []

    def _state(self) -> dict[str, Any]:
        return {**super()._state(), "sampler": self._rng.bit_generator.state}

    def _restore(self, state: dict[str, Any]) -> None:
        super()._restore(state)
        self._rng.bit_generator.state = state["sampler"]


def _channels_last(space: spaces.Space[Any]) -> spaces.Space[Any]:
    """The space as the data store it: undoes SB3's transposition of images."""
    if isinstance(space, spaces.Dict):
        return spaces.Dict({key: _channels_last(part) for key, part in space.spaces.items()})
    if is_image_space(space) and is_image_space_channels_first(space):  # type: ignore[arg-type]
        channels, height, width = space.shape  # type: ignore[misc]
        return spaces.Box(0, 255, (height, width, channels), space.dtype)  # type: ignore[arg-type]
    return space


def _channels_first(space: spaces.Space[Any]) -> spaces.Space[Any]:
    """The space as SB3's networks want it."""
    if isinstance(space, spaces.Dict):
        return spaces.Dict({key: _channels_first(part) for key, part in space.spaces.items()})
    if is_image_space(space) and not is_image_space_channels_first(space):  # type: ignore[arg-type]
        return VecTransposeImage.transpose_space(space)  # type: ignore[arg-type]
    return space
