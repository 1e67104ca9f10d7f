"""Behaviour cloning as a Stable-Baselines3 algorithm."""

from __future__ import annotations

from typing import Any, ClassVar, Self, TypedDict, Unpack

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import (
    ActorCriticCnnPolicy,
    ActorCriticPolicy,
    BasePolicy,
)
from stable_baselines3.common.preprocessing import is_image_space, is_image_space_channels_first
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule
from stable_baselines3.common.vec_env import VecTransposeImage

from vlsafe_agents.bc.validation import EarlyStopping
from vlsafe_agents.common.border import first_action
from vlsafe_agents.common.frame_stack import StacksFrames, single_space, stack_env, stacked_space
from vlsafe_agents.common.offline import OfflineAlgorithm
from vlsafe_agents.common.space_actions import ActsInSpace
from vlsafe_agents.common.vehicle_policies import MultiInputPolicy
from vlsafe_agents.data.accepted import check_dataset
from vlsafe_agents.data.dataset import EpisodeDataset, TransitionBatch
from wrappers.checks import one_number, whole_number


class AlgorithmKwargs(TypedDict, total=False):
    """Arguments of SB3's `BaseAlgorithm` that `BC` passes on unchanged."""

    policy_kwargs: dict[str, Any] | None
    stats_window_size: int
    tensorboard_log: str | None
    verbose: int
    seed: int | None
    device: th.device | str


class BC(StacksFrames, ActsInSpace, OfflineAlgorithm):
    """Imitates recorded drives; one timestep = one gradient update, the env is never stepped.

    Maximum likelihood (Pomerleau 1991): the loss is -mean(log pi(a | o)) minus `ent_coef` times
    the policy's entropy, over transitions drawn uniformly from the data. The networks are SB3's
    feed-forward actor-critic policies; their value head stays untrained.

    Args:
        policy: "MlpPolicy", "CnnPolicy", "MultiInputPolicy" or an `ActorCriticPolicy` class
        env: gives the spaces and serves evaluation callbacks; None takes the data's spaces
        dataset: what to imitate; None only for prediction
        learning_rate: of the policy's optimiser, a number or SB3 schedule
        batch_size: transitions per update
        ent_coef: weight of the entropy bonus
        max_grad_norm: gradients are clipped to this norm
        validation_share: share of the episodes held out, in [0, 1); their loss is logged as
            `validation/loss`
        validation_interval: updates between two validation checks
        patience: stop after so many checks without improvement and keep the best parameters; None
            never stops; needs a `validation_share`
        frame_stack: observations that the policy sees at once; the data's are stacked as an
            environment's, see :class:`~vlsafe_agents.common.frame_stack.StacksFrames`
        base_kwargs: `policy_kwargs`, `seed`, `device`, `tensorboard_log`, `verbose` as in SB3

    Raises:
        ValueError: if the data do not fit the environment's spaces, or `patience` is set without
            held-out episodes
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": ActorCriticPolicy,
        "CnnPolicy": ActorCriticCnnPolicy,
        "MultiInputPolicy": MultiInputPolicy,
    }
    policy: ActorCriticPolicy

    def __init__(
        self,
        policy: str | type[ActorCriticPolicy],
        env: GymEnv | str | None,
        dataset: EpisodeDataset | None = None,
        learning_rate: float | Schedule = 1e-3,
        batch_size: int = 256,
        ent_coef: float = 1e-3,
        max_grad_norm: float = 1.0,
        validation_share: float = 0.0,
        validation_interval: int = 250,
        patience: int | None = None,
        frame_stack: int = 1,
        _init_setup_model: bool = True,
        **base_kwargs: Unpack[AlgorithmKwargs],
    ) -> None:
        self.frame_stack = whole_number(frame_stack, "frame_stack", "BC", low=1)
        super().__init__(
            policy,
            stack_env(BC, env, self.frame_stack),
            learning_rate,
            support_multi_env=True,
            supported_action_spaces=(spaces.Box, spaces.Discrete),
            **base_kwargs,
        )
        if dataset is not None:
            check_dataset(dataset)
        if env is None and dataset is not None:
            self.observation_space = stacked_space(
                _channels_first(dataset.observation_space), self.frame_stack
            )
            self.action_space = dataset.action_space
            self.n_envs = 1
        if not callable(learning_rate):
            one_number(learning_rate, "learning_rate", "BC", low=0.0)
        self.batch_size = whole_number(batch_size, "batch_size", "BC", low=1)
        self.ent_coef = one_number(ent_coef, "ent_coef", "BC", low=0.0)
        self.max_grad_norm = one_number(max_grad_norm, "max_grad_norm", "BC", low=0.0)
        self.validation_share = one_number(validation_share, "validation_share", "BC", 0.0, 1.0)
        self.validation_interval = whole_number(
            validation_interval, "validation_interval", "BC", low=1
        )
        self.patience = patience
        self._stopping = EarlyStopping(patience)
        if patience is not None and self.validation_share == 0.0:
            raise ValueError("Early stopping (patience) needs a validation_share > 0.")
        self._training_data: EpisodeDataset | None = None
        self._validation_data: EpisodeDataset | None = None
        if _init_setup_model:
            self._setup_model()
        if dataset is not None:
            self.set_dataset(dataset)

    def _setup_model(self) -> None:
        self._setup_lr_schedule()
        self.set_random_seed(self.seed)
        self._rng = np.random.default_rng(self.seed)
        self.policy = self.policy_class(  # type: ignore[assignment]
            self.observation_space, self.action_space, self.lr_schedule, **self.policy_kwargs
        )
        self.policy = self.policy.to(self.device)

    def set_dataset(self, dataset: EpisodeDataset) -> None:
        """Imitate `dataset` from now on (a loaded model has none).

        Warns of an environment with another id than the one that was recorded.

        Raises:
            ValueError: if its spaces are not the model's, or if the environment's observations are
                changed on their way (`VecNormalize`)
            TypeError: if it is no data set
        """
        dataset = self._accept_data(dataset)
        if dataset.num_branches:
            raise ValueError(
                f"{dataset.num_branches} of the episodes branch from recorded ones: their actions "
                "are no driver's choice, which BC would copy; give the recorded drives alone"
            )
        if dataset.action_space != self.action_space:
            raise ValueError(
                f"The data's actions are {dataset.action_space}, the model's are "
                f"{self.action_space}; make the environment with the data's `action`."
            )
        seen = single_space(self.observation_space, self.frame_stack)
        dataset = dataset.select(_channels_last(seen))
        self._training_data, self._validation_data = dataset, None
        if self.validation_share > 0.0:
            self._training_data, self._validation_data = dataset.split(
                self.validation_share, seed=self.seed or 0
            )

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 100,
        tb_log_name: str = "BC",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Make `total_timesteps` gradient updates, fewer if validation stops improving.

        Another call starts learning rate and early stopping afresh from the weights as they are;
        with `reset_num_timesteps=False` both go on where they were, with the weights of the last
        update rather than the best ones. Where early stopping has ended the training, nothing is
        left to go on with.

        Raises:
            ValueError: without a data set, or for a negative number of updates
        """
        if self._training_data is None:
            raise ValueError("BC has no data set; pass dataset= or call set_dataset() first.")
        total_timesteps, callback = self._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
        )
        callback.on_training_start(locals(), globals())
        if reset_num_timesteps:
            self._stopping = EarlyStopping(self.patience)
        self._stopping.restore_latest(self.policy)
        while self.num_timesteps < total_timesteps and not self._stopping.over:
            self._update_current_progress_remaining(self.num_timesteps, total_timesteps)
            self.train()
            self.num_timesteps += 1
            self._validate()  # before callbacks, which may save what it found
            callback.update_locals(locals())
            if not callback.on_step():
                break
            if log_interval is not None and self.num_timesteps % log_interval == 0:
                self.dump_logs()
        self._stopping.restore_best(self.policy)
        callback.on_training_end()
        return self

    def train(self) -> None:
        """One gradient update."""
        assert self._training_data is not None
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        batch = self._training_data.sample_transitions(self.batch_size, self._rng, self.frame_stack)
        terms = self._loss_terms(batch)
        loss = terms["neglogp"] - self.ent_coef * terms["entropy"]
        self.policy.optimizer.zero_grad()
        loss.backward()
        th.nn.utils.clip_grad_norm_(self.policy.parameters(), self.max_grad_norm)
        self.policy.optimizer.step()
        self._n_updates += 1
        self.policy.set_training_mode(False)  # callbacks may evaluate
        self.logger.record_mean("train/loss", loss.item())
        for name, value in terms.items():
            self.logger.record_mean(f"train/{name}", value.item())

    def _loss_terms(self, batch: TransitionBatch) -> dict[str, th.Tensor]:
        """Negative log-likelihood, entropy, and how well the most likely action fits."""
        wants_dict = isinstance(self.observation_space, spaces.Dict)
        observations = batch.obs if wants_dict else next(iter(batch.obs.values()))
        obs_tensor, _ = self.policy.obs_to_tensor(observations)
        first = first_action(self.action_space)
        actions = th.as_tensor(batch.action - first, device=self.device)  # (B,) or (B, A)
        distribution = self.policy.get_distribution(obs_tensor)
        log_prob, entropy = distribution.log_prob(actions), distribution.entropy()
        terms = {
            "neglogp": -log_prob.mean(),
            "entropy": (-log_prob if entropy is None else entropy).mean(),
        }
        with th.no_grad():
            guess = distribution.mode()
            if isinstance(self.action_space, spaces.Discrete):
                terms["accuracy"] = (guess == actions).float().mean()
            else:
                terms["absolute_error"] = (guess - actions).abs().mean()
        return terms

    def _validate(self) -> None:
        """Let early stopping see the held-out loss, if it is time to."""
        if self._validation_data is None or self.num_timesteps % self.validation_interval:
            return
        # The same transitions at every check, so that checks compare.
        size = min(self._validation_data.num_steps, 2048)
        rng = np.random.default_rng(0)
        batch = self._validation_data.sample_transitions(size, rng, self.frame_stack)
        with th.no_grad():
            terms = self._loss_terms(batch)
        self._stopping.check(float(terms["neglogp"]), self.policy)
        for name, value in terms.items():
            name = "loss" if name == "neglogp" else name
            self.logger.record(f"validation/{name}", value.item())
        self.logger.record("validation/best_loss", self._stopping.best_loss)

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "policy.optimizer"], []

    def _state(self) -> dict[str, Any]:
        return {**super()._state(), "sampler": self._rng.bit_generator.state}

    def _restore(self, state: dict[str, Any]) -> None:
        super()._restore(state)
        self._rng.bit_generator.state = state["sampler"]

    def _running(self) -> dict[str, Any]:
        return {**super()._running(), "early_stopping": self._stopping.state_dict()}

    def _go_on(self, running: dict[str, Any]) -> None:
        super()._go_on(running)
        self._stopping.load_state_dict(running["early_stopping"])


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
