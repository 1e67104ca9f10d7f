"""The agent: offline safe reinforcement learning in imagination, with SB3's interface."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common import utils
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback
from stable_baselines3.common.vec_env import VecEnv, VecTransposeImage
from torch import Tensor

from vlsafe_agents.common.offline import OfflineAlgorithm
from vlsafe_agents.common.optim import LaProp
from vlsafe_agents.common.saved_agent import COUNTERS
from vlsafe_agents.data.dataset import EpisodeDataset
from vlsafe_agents.vlsafe.batch import TensorBatch, to_tensors
from vlsafe_agents.vlsafe.config import SMALL_PRESETS, UPDATES, changed, make_config
from vlsafe_agents.vlsafe.optimisation import Schedule, anneal, optimise, torch_threads
from vlsafe_agents.vlsafe.policies import VLSafePolicy
from vlsafe_agents.vlsafe.recorded_returns import GapWarning, recorded_returns
from vlsafe_agents.vlsafe.rssm import RSSMState
from vlsafe_agents.vlsafe.training_data import fit_for_training
from wrappers.checks import one_number


class VLSafe(OfflineAlgorithm):
    """Learns offline: one timestep of :meth:`learn` is one gradient update, never a step of `env`.

    A world model (DreamerV3's, with heads for cost and safety score) is fitted to recorded drives;
    then an actor and two critics learn in its imagination (VL-SAFE, arXiv 2505.16377; see
    :mod:`~vlsafe_agents.vlsafe.actor_critic` for what is known of the paper and where we depart).

    Args:
        policy: "CnnPolicy", "MlpPolicy" or "MultiInputPolicy": the same class under the names that
            SB3's users know; observations are told apart by the space.
        env: gives the spaces and serves for evaluation; never stepped or reset by ``learn``.
        dataset: recorded episodes with cost and safety score; may be set later.
        preset: sizes: "debug", "cpu", "12M", "25M" or "50M"; "route" is "cpu" with settings for
            tasks at 10 decisions per second.
        update: "gated" (the paper's weight), "lagrangian" (imagined cost return against
            ``cost_limit``) or "none" (blind to cost).
        safety: the gate's p: "score" predicts the recorded safety score; a number in [0, 1] is a
            constant gate (a control); None switches safety off, whatever ``update`` says.
        cost_limit: allowed cost per episode [sum]; see :class:`ActorCritic` for how each update
            reads it.
        config: nested replacements of the preset's settings, such as ``{"imagination": {"horizon":
            15}}``; see :mod:`~vlsafe_agents.vlsafe.config`.

    Raises:
        ValueError: for unknown names or settings, spaces that the world model does not know, or a
            data set that does not fit them.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "CnnPolicy": VLSafePolicy,
        "MlpPolicy": VLSafePolicy,
        "MultiInputPolicy": VLSafePolicy,
    }
    policy: VLSafePolicy

    def __init__(
        self,
        policy: str | type[VLSafePolicy],
        env: GymEnv | str | None,
        dataset: EpisodeDataset | None = None,
        preset: str = "cpu",
        update: str = "gated",
        safety: str | float | None = "score",
        cost_limit: float = 1.0,
        seed: int | None = None,
        device: torch.device | str = "auto",
        tensorboard_log: str | None = None,
        verbose: int = 0,
        config: Mapping[str, Any] | None = None,
        _init_setup_model: bool = True,
    ) -> None:
        if env is None and _init_setup_model:
            raise ValueError(
                "VLSafe needs an environment, which tells it the spaces (it is never stepped); "
                "VLSafe.load(path) works without one"
            )
        if update not in UPDATES:
            raise ValueError(f"unknown update {update!r}; choose one of {', '.join(UPDATES)}")
        if isinstance(safety, str) and safety != "score":
            raise ValueError(f'safety must be "score", a number in [0, 1] or None; got {safety!r}')
        if safety is not None and not isinstance(safety, str):
            safety = one_number(safety, "safety", "VLSafe", low=0.0, high=1.0)
        self.config = make_config(preset, config)
        super().__init__(
            policy,
            env,
            learning_rate=self.config.train.learning_rate,
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            device=device,
            seed=seed,
            supported_action_spaces=(spaces.Discrete, spaces.Box),
        )
        self.preset, self.update, self.safety = preset, update, safety
        self.cost_limit = one_number(cost_limit, "cost_limit", "VLSafe", low=0.0)
        self.episode_steps = self.config.multiplier.episode_steps
        self.world_model_frozen = False
        self._schedule: Schedule | None = None  # of the last call of learn
        self.dataset: EpisodeDataset | None = None
        if _init_setup_model:
            self._setup_model()
            if dataset is not None:
                self.set_dataset(dataset)

    # --- construction ---------------------------------------------------------------------------

    def _setup_model(self) -> None:
        """Build networks and optimisers."""
        self.set_random_seed(self.seed)
        self._sampler = np.random.default_rng(self.seed)
        self._gap = GapWarning()
        gate = None if isinstance(self.safety, str) or self.safety is None else float(self.safety)
        self.policy = self.policy_class(  # type: ignore[assignment]
            self.observation_space,
            self.action_space,
            self.config,
            update="none" if self.safety is None else self.update,
            gate=gate,
            cost_limit=self.cost_limit,
            episode_steps=self.episode_steps or 1.0,
        ).to(self.device)
        train, network = self.config.train, self.config.network
        self.model_optimizer = LaProp(
            self.policy.world_model.parameters(),
            lr=train.learning_rate,
            clip=train.clip,
            warmup=train.warmup,
        )
        self.actor_critic_optimizer = LaProp(
            [p for p in self.policy.actor_critic.parameters() if p.requires_grad],
            lr=network.learning_rate,
            clip=train.clip,
            warmup=network.warmup,
        )

    @staticmethod
    def _wrap_env(env: GymEnv, verbose: int = 0, monitor_wrapper: bool = True) -> VecEnv:
        """SB3's wrapping, but images stay channels-last as in the data."""
        wrapped = BaseAlgorithm._wrap_env(env, verbose, monitor_wrapper)
        return wrapped.venv if isinstance(wrapped, VecTransposeImage) else wrapped

    def set_dataset(self, dataset: EpisodeDataset) -> None:
        """Choose the recorded episodes that :meth:`learn` reads.

        Warns of labels that failed an audit (``vlsafe audit --write``), and of an environment with
        another id than the one that was recorded.

        Raises:
            ValueError: if the spaces differ, if cost or safety score are missing, or if the
                environment's observations are changed on their way (``VecNormalize``).
            TypeError: if it is no data set.
        """
        dataset = self._accept_data(dataset)
        length = self.config.train.sequence_length
        dataset = fit_for_training(dataset, self.observation_space, self.action_space, length)
        if "audits" in dataset.metadata:
            from vlsafe_agents.audit import warn_of_failed_audit  # draws pictures: slow to load

            warn_of_failed_audit(dataset.metadata)
        self.dataset = dataset
        if self.config.multiplier.episode_steps is None:
            self.episode_steps = dataset.num_steps / dataset.num_episodes
            self.policy.actor_critic.episode_steps = self.episode_steps

    def adopt_world_model(self, other: VLSafe) -> None:
        """Take over another agent's world model and behaviour prior and leave the model as it is.

        :meth:`learn` then trains prior, actor and critics only, on a fresh schedule: several
        policies can share the price of one world model.  Until then the agent acts as the prior.

        Raises:
            TypeError: for an agent without a world model.
            ValueError: if the two agents' spaces or sizes differ.
        """
        if not isinstance(other, VLSafe):
            raise TypeError(f"a {type(other).__name__} has no world model to take over")
        for name in ("world_model", "actor_critic.behaviour"):
            mine, theirs = self.policy.get_submodule(name), other.policy.get_submodule(name)
            try:
                mine.load_state_dict(theirs.state_dict())
            except RuntimeError as error:
                raise ValueError(
                    f"the other agent's {name} has other sizes; give both agents the same "
                    f"observation, action space, preset and world_model settings ({error})"
                ) from error
        self.policy.actor_critic.start_from_behaviour()
        self.world_model_frozen = True
        self._schedule = None

    # --- learning -------------------------------------------------------------------------------

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 100,
        tb_log_name: str = "VLSafe",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Train for ``total_timesteps`` gradient updates on the data set.

        Another call starts a fresh schedule from the weights as they are (first the world model and
        the prior, then the critics, then the policy again from the prior, each with learning rates
        from the top); with ``reset_num_timesteps=False`` it goes on where the last call was:
        nothing warms up again, and only the end of the schedule moves.

        Args:
            log_interval: updates between two rows of the log.

        Raises:
            ValueError: without a data set, or for a negative number of updates.
        """
        if self.dataset is None:
            raise ValueError(
                "there is no data set to learn from (saved agents hold none): call "
                "set_dataset first"
            )
        if progress_bar and self.env is None:
            raise ValueError("SB3's progress bar needs an environment: call set_env first")
        total_timesteps, callback = self._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
        )
        self._plan(total_timesteps - self.num_timesteps, reset_num_timesteps)
        callback.on_training_start(locals(), globals())
        rates = (
            (self.model_optimizer, self.config.train.learning_rate),
            (self.actor_critic_optimizer, self.config.network.learning_rate),
        )
        with torch_threads(self._thread_count()):
            while self.num_timesteps < total_timesteps:
                self._update_current_progress_remaining(self.num_timesteps, total_timesteps)
                anneal(rates, self.schedule.remaining(self._n_updates))
                self.train()
                self.num_timesteps += 1
                callback.update_locals(locals())
                if not callback.on_step():
                    break
                if log_interval and self.num_timesteps % log_interval == 0:
                    self.dump_logs()
        callback.on_training_end()
        return self

    def train(self) -> None:
        """One update: world model first, then prior, actor and critics on its new states."""
        assert self.dataset is not None
        if not hasattr(self, "_logger"):
            self._logger = utils.configure_logger(self.verbose)
        train = self.config.train
        sequences = self.dataset.sample(
            train.batch_size, train.sequence_length, self._sampler, self.config.research.unsafe_ends
        )
        batch = to_tensors(sequences, self.device)
        self.policy.set_training_mode(True)
        if self.schedule.warming_up(self._n_updates):
            self._warm_up(batch)
        else:
            self._update_actor_critic(batch)
        self._n_updates += 1
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")

    def _plan(self, updates: int, afresh: bool) -> None:
        """What the next ``updates`` train."""
        if updates < 1:
            return
        if self._schedule is not None and not afresh:
            self._schedule = self._schedule.going_on(self._n_updates + updates)
            return
        share = 0.0 if self.world_model_frozen else self.config.model_warmup
        self._schedule = Schedule.fresh(self._n_updates, updates, share, self.config.critic_warmup)

    @property
    def schedule(self) -> Schedule:
        """What is trained when.

        Raises:
            ValueError: before the first call of :meth:`learn`.
        """
        if self._schedule is None:
            raise ValueError("there is no schedule before the first call of learn()")
        return self._schedule

    def _warm_up(self, batch: TensorBatch) -> None:
        """Fit the world model and, on its features, the behaviour prior."""
        world_model, actor_critic = self.policy.world_model, self.policy.actor_critic
        share = self.config.shaping

        def prior_loss(feat: Tensor) -> Tensor:
            feat = feat if share else feat.detach()
            loss = actor_critic.behaviour_loss(feat, batch, world_model)
            self.logger.record_mean("train/behaviour_loss", loss.item())
            return share * loss if share else loss

        foreign = world_model.foreign_actions(batch, self.config.forget_actions)
        loss, _, metrics = world_model.loss(batch, prior_loss, foreign)
        both = [self.model_optimizer, self.actor_critic_optimizer]
        optimise(both, loss, "world model and behaviour prior")
        actor_critic.start_from_behaviour()  # so that the agent can act: as a clone of the data
        for name, value in metrics.items():
            self.logger.record_mean(f"train/{name}", value)

    def _states(self, batch: TensorBatch) -> tuple[RSSMState, RSSMState]:
        """Posterior states of the batch, and those that the prior is fitted on."""
        world_model, share = self.policy.world_model, self.config.forget_actions
        posterior = self._update_world_model(batch)
        if posterior is not None and not share:
            return posterior, posterior
        embed = world_model.embed(batch)  # (B, T, E); costs more than what follows
        if posterior is None:
            posterior = world_model.observe(batch, embed)
        foreign = world_model.foreign_actions(batch, share)
        prior = posterior if foreign is None else world_model.observe(batch, embed, foreign)
        return posterior, prior

    def _update_world_model(self, batch: TensorBatch) -> RSSMState | None:
        """Posterior states of the batch; None where the model rests."""
        world_model = self.policy.world_model
        every = self.config.model_every
        if self.world_model_frozen or not every or self._n_updates % every:
            return None
        loss, posterior, metrics = world_model.loss(batch)
        optimise([self.model_optimizer], loss, "world model")
        for name, value in metrics.items():
            self.logger.record_mean(f"train/{name}", value)
        return posterior

    def _update_actor_critic(self, batch: TensorBatch) -> None:
        world_model, actor_critic = self.policy.world_model, self.policy.actor_critic
        posterior, prior_state = self._states(batch)
        improving = self.schedule.improving(self._n_updates)
        loss, metrics = actor_critic.loss(world_model, posterior, batch, improving, prior_state)
        optimise([self.actor_critic_optimizer], loss, "actor and critics")
        actor_critic.after_step()
        imagination = self.config.imagination
        recorded = recorded_returns(batch, imagination.gamma, imagination.horizon)
        metrics["imagined/gap"] = self._gap.update(metrics["imagined/return"], recorded)
        if recorded.valid.any():
            metrics["data/return"] = recorded.reward[recorded.valid].mean().item()
            metrics["data/cost"] = recorded.cost[recorded.valid].mean().item()
        for name, value in metrics.items():
            self.logger.record_mean(name, value)

    def _thread_count(self) -> int | None:
        """One while a small preset learns on a CPU: more only slow tiny kernels."""
        small = self.device.type == "cpu" and self.preset in SMALL_PRESETS
        return self.config.torch_threads or (1 if small else None)

    # --- saving ---------------------------------------------------------------------------------

    def _setting(self, name: str) -> Any:
        return self.config.to_dict() if name == "config" else super()._setting(name)

    def _policy_name(self) -> str | None:
        # All names stand for one class; observations are told apart by their space.
        return "MultiInputPolicy" if self.policy_class is VLSafePolicy else None

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "model_optimizer", "actor_critic_optimizer"], []

    def _state(self) -> dict[str, Any]:
        return {
            **super()._state(),
            "episode_steps": self.episode_steps,
            "world_model_frozen": self.world_model_frozen,
            "schedule": None if self._schedule is None else self._schedule.to_json(),
            "sampler": self._sampler.bit_generator.state,
        }

    def _restore(self, state: dict[str, Any]) -> None:
        super()._restore(state)
        self.world_model_frozen = bool(state["world_model_frozen"])
        self._sampler.bit_generator.state = state["sampler"]
        self.episode_steps = state["episode_steps"]
        self.policy.actor_critic.episode_steps = self.episode_steps or 1.0
        stored = state["schedule"]
        self._schedule = None if stored is None else Schedule.from_json(stored)

    @classmethod
    def _merged(cls, arguments: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
        if "preset" in changes and changes["preset"] != arguments["preset"]:
            raise ValueError(
                f"the file holds an agent of preset {arguments['preset']!r}; its sizes cannot be "
                "changed on loading"
            )
        config = changed(
            make_config(arguments["preset"], arguments["config"]), changes.get("config")
        )
        return {**super()._merged(arguments, changes), "config": config.to_dict()}

    @classmethod
    def _upgraded(cls, data: dict[str, Any]) -> dict[str, Any]:
        """Files up to November 2026 hold all attributes side by side and no schedule."""
        if "saved_spaces" not in data:
            return data
        state = {name: data[name] for name in ("episode_steps", "world_model_frozen")}
        state |= {name: value for name, value in data.items() if name in COUNTERS}
        settings = make_config(data["preset"], data["config"])
        share = 0.0 if data["world_model_frozen"] else settings.model_warmup
        begin = data["_n_updates"] - data["num_timesteps"]
        plan = Schedule.fresh(begin, data["_total_timesteps"], share, settings.critic_warmup)
        return {
            "algorithm": cls.__name__,
            "policy": "MultiInputPolicy",
            "arguments": {name: data[name] for name in cls._settings() if name in data},
            "left_out": [],
            "n_envs": data["n_envs"],
            **data["saved_spaces"],
            "state": {**state, "schedule": plan.to_json(), "sampler": data["sampler_state"]},
        }
