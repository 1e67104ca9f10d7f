"""The agent: offline safe reinforcement learning in imagination, with SB3's interface."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import torch
from stable_baselines3.common import utils
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback
from stable_baselines3.common.vec_env import VecEnv, VecTransposeImage

from vlsafe_agents.common.offline import OfflineAlgorithm
from vlsafe_agents.common.optim import LaProp
from vlsafe_agents.common.running import plain_attributes, set_plain_attributes
from vlsafe_agents.common.saved_agent import COUNTERS
from vlsafe_agents.data.audits import warn_of_failed_audit
from vlsafe_agents.data.dataset import EpisodeDataset
from vlsafe_agents.vlsafe.actions import SPACES, UNITS, check_units
from vlsafe_agents.vlsafe.batch import TensorBatch, to_tensors
from vlsafe_agents.vlsafe.config import SMALL_PRESETS, UPDATES, changed, make_config
from vlsafe_agents.vlsafe.gates import SCORE, check_safety, refuse_change, with_gate
from vlsafe_agents.vlsafe.imagination import GapWarning, dream_metrics, recorded_returns
from vlsafe_agents.vlsafe.optimisation import Schedule, anneal, optimise, torch_threads
from vlsafe_agents.vlsafe.policies import VLSafePolicy
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
            None takes the data's spaces.
        dataset: recorded episodes with costs, and safety scores where the gate is made of them;
            may be set later.
        preset: sizes: "debug", "cpu", "12M", "25M" or "50M"; "route" is "cpu" with settings for
            tasks at 10 decisions per second.
        update: "gated" (the paper's weight), "lagrangian" (imagined cost return against
            ``cost_limit``) or "none" (blind to cost).
        safety: the p of "gated": "score" predicts the recorded safety score; a number in [0, 1],
            "oracle", "shuffled" and "reachability" are controls, see
            :mod:`~vlsafe_agents.vlsafe.gates`; None switches safety off, whatever ``update`` says.
        cost_limit: allowed cost per episode [sum]; see :class:`ActorCritic` for how each update
            reads it.
        config: replaces settings of the preset: ``{"imagination": {"horizon": 15}}``; see
            :mod:`~vlsafe_agents.vlsafe.config`.

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
    _encoded: EpisodeDataset | None = None  # the data as a resting model's encoder sees them

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
        if env is None and dataset is None and _init_setup_model:
            raise ValueError(
                "VLSafe needs an environment or a data set, which tell it the spaces; "
                "VLSafe.load(path) works without"
            )
        if update not in UPDATES:
            raise ValueError(f"unknown update {update!r}; choose one of {', '.join(UPDATES)}")
        safety = check_safety(safety, update)
        self.config = make_config(preset, config)
        super().__init__(
            policy,
            env,
            learning_rate=self.config.train.learning_rate,
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            device=device,
            seed=seed,
            supported_action_spaces=SPACES,
        )
        if env is None and dataset is not None:
            self._take_spaces(dataset)
        self.preset, self.update, self.safety = preset, update, safety
        self.cost_limit = one_number(cost_limit, "cost_limit", "VLSafe", low=0.0)
        self.world_model_frozen = False
        self.scores_learned = True  # whether the world model's data had safety scores
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
        self.policy = self.policy_class(  # type: ignore[assignment]
            self.observation_space,
            self.action_space,
            self.config,
            update="none" if self.safety is None else self.update,
            gate=self.safety,
            cost_limit=self.cost_limit,
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
            ValueError: if the spaces differ, if what ``update`` or the gate is made of is missing,
                or if the environment's observations are changed on their way (``VecNormalize``).
            TypeError: if it is no data set.
        """
        dataset = self._accept_data(dataset)
        if dataset.action_space != self.action_space:
            raise ValueError(
                f"the data set's actions are {dataset.action_space}, the environment's are "
                f"{self.action_space}; make the environment as the data were collected"
            )
        dataset = dataset.select(self.observation_space)
        gate = self.safety if self.update == "gated" else None
        if self.safety is not None and self.update != "none":
            dataset.require_cost(f"VLSafe(update={self.update!r})")
        dataset = with_gate(dataset, gate, self.seed or 0)
        rows = self.config.train.sequence_length
        dataset.sample(1, rows, np.random.default_rng(0))  # raises where it is too short
        warn_of_failed_audit(dataset.metadata)
        self.dataset = dataset
        if not self.world_model_frozen:
            self.scores_learned = dataset.has_safety_score
        if self.config.multiplier.episode_steps is None:
            self.policy.actor_critic.episode_steps = dataset.num_steps / dataset.num_episodes

    def adopt_world_model(self, other: VLSafe) -> None:
        """Take over another agent's world model and behaviour prior and leave the model as it is.

        :meth:`learn` then trains prior, actor and critics only, on a fresh schedule: several
        policies can share the price of one world model.  Until then the agent acts as the prior.

        Raises:
            TypeError: for an agent without a world model.
            ValueError: if the two agents' spaces or sizes differ, or if the model does not
                predict the score that the gate reads.
        """
        if not isinstance(other, VLSafe):
            raise TypeError(f"a {type(other).__name__} has no world model to take over")
        if self.update == "gated" and self.safety == SCORE and not other.scores_learned:
            raise ValueError(
                "the other agent's world model learnt from data without safety_score and predicts "
                "none; train it on labelled data, or choose another gate"
            )
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
        self.world_model_frozen, self.scores_learned = True, other.scores_learned
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
            missing = "there is no data set to learn from (saved agents hold none)"
            raise ValueError(f"{missing}: call set_dataset first")
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
        """One update: of world model and prior while they warm up, then of prior, critics, actor.

        Losses compute; whatever changes does so here, in this order.  A batch holds B sequences of
        T rows, from which N dreams of H steps begin; features are ``(..., F)``.
        """
        assert self.dataset is not None
        if not hasattr(self, "_logger"):
            self._logger = utils.configure_logger(self.verbose)
        world_model, actor_critic = self.policy.world_model, self.policy.actor_critic
        self.policy.set_training_mode(True)
        context, batch = self._sample(self._data())  # (B, K, ...) without losses, (B, T, ...)
        if self._model_learns():
            world_model.observation.learn_scales(batch.obs)  # the first batches only
        if self.schedule.warming_up(self._n_updates):
            loss, metrics = self.policy.warm_up_loss(batch, context)
            both = [self.model_optimizer, self.actor_critic_optimizer]
            optimise(both, loss, "world model and behaviour prior")
            actor_critic.start_from_behaviour()  # so that the agent can act: as a clone of the data
        else:
            settings, improving = self.config.imagination, self.schedule.improving(self._n_updates)
            posterior, metrics = None, {}
            if self._model_learns():
                loss, posterior, metrics = world_model.loss(batch, context=context)
                optimise([self.model_optimizer], loss, "world model")
            posterior, prior_state = self.policy.states(batch, context, posterior)
            feat, prior_feat = world_model.feat(posterior), world_model.feat(prior_state)
            if not improving:
                actor_critic.start_from_behaviour()  # critics evaluate the prior, which moves on
            dream = actor_critic.dream(world_model, posterior, batch)  # (N, H)
            metrics |= dream_metrics(dream, settings.gamma)
            if not self.scores_learned:
                del metrics["imagined/safety_score"]
            critic_loss = actor_critic.critic_loss(dream, feat, batch, world_model)
            behaviour_loss = actor_critic.behaviour_loss(prior_feat, batch, world_model)
            loss = critic_loss + behaviour_loss
            if improving:
                actor_critic.update_multiplier(dream)
                if actor_critic.multiplier is not None:
                    metrics["train/lagrange_multiplier"] = actor_critic.price
                choices = actor_critic.choices(dream)  # A actions in each of N * H states
                actor_critic.update_scales(choices)
                actor_critic.update_least_cost(choices)
                actor_loss, more = actor_critic.actor_loss(choices)
                loss = critic_loss + actor_loss + behaviour_loss
                metrics |= {"train/actor_loss": actor_loss.item(), **more}
            optimise([self.actor_critic_optimizer], loss, "actor and critics")
            actor_critic.follow()  # the slow critics
            metrics["train/critic_loss"] = critic_loss.item()
            metrics["train/behaviour_loss"] = behaviour_loss.item()
            recorded = recorded_returns(batch, settings.gamma, settings.horizon)
            metrics |= self._gap.update(metrics, recorded, improving)
        self._n_updates += 1
        for name, value in metrics.items():
            self.logger.record_mean(name, value)
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")

    def _sample(self, dataset: EpisodeDataset) -> tuple[TensorBatch | None, TensorBatch]:
        """Sequences to learn from, and the rows before them that the state is burnt in on."""
        train, share = self.config.train, self.config.research.unsafe_ends
        sizes = (train.batch_size, train.sequence_length)
        rows = dataset.sample(*sizes, self._sampler, share, train.burn_in)  # (B, K + T, ...)
        whole, count = to_tensors(rows, self.device), train.burn_in
        return whole.cut(slice(count)) if count else None, whole.cut(slice(count, None))

    def _plan(self, updates: int, afresh: bool) -> None:
        """What the next ``updates`` train."""
        self._encoded = None
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

    def _model_learns(self) -> bool:
        """Whether this update trains the world model."""
        if self.schedule.warming_up(self._n_updates):
            return True
        every = self.config.model_every
        return not self.world_model_frozen and every > 0 and self._n_updates % every == 0

    def _data(self) -> EpisodeDataset:
        """What this update draws from: encoded data, where the model rests and that pays."""
        assert self.dataset is not None
        schedule, train = self.schedule, self.config.train
        rests = self.world_model_frozen or not self.config.model_every
        if not rests or schedule.warming_up(self._n_updates):
            return self.dataset
        if self._encoded is None:
            # a matter of the plan, not of what is left of it: runs that go on decide alike
            updates = schedule.end - max(schedule.begin, schedule.model_until)
            read = updates * train.batch_size * (train.sequence_length + train.burn_in)
            rows = self.dataset.num_steps + self.dataset.num_episodes
            size = self.policy.world_model.observation.embed_size
            pays = read > 2 * rows and rows * size * 4 <= train.encoded_memory * 2**30
            self._encoded = self.policy.encoded(self.dataset) if pays else self.dataset
        return self._encoded

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
            "episode_steps": self.policy.actor_critic.episode_steps,
            "world_model_frozen": self.world_model_frozen,
            "action_units": UNITS,
            "scores_learned": self.scores_learned,
            "schedule": None if self._schedule is None else self._schedule.to_json(),
            "sampler": self._sampler.bit_generator.state,
        }

    def _restore(self, state: dict[str, Any]) -> None:
        super()._restore(state)
        check_units(self.action_space, state.get("action_units"))
        self.world_model_frozen = bool(state["world_model_frozen"])
        self.scores_learned = bool(state.get("scores_learned", True))
        self._sampler.bit_generator.state = state["sampler"]
        self.policy.actor_critic.episode_steps = state["episode_steps"]
        stored = state["schedule"]
        self._schedule = None if stored is None else Schedule.from_json(stored)

    def _running(self) -> dict[str, Any]:
        return {**super()._running(), "gap": plain_attributes(self._gap)}

    def _go_on(self, running: dict[str, Any]) -> None:
        super()._go_on(running)
        set_plain_attributes(self._gap, running["gap"])

    @classmethod
    def _merged(cls, arguments: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
        if "preset" in changes and changes["preset"] != arguments["preset"]:
            raise ValueError(
                f"the file holds an agent of preset {arguments['preset']!r}; its sizes cannot be "
                "changed on loading"
            )
        if arguments["update"] != "gated" and arguments["safety"] is not None:
            arguments = {**arguments, "safety": SCORE}  # until November 2026 it was not checked
        merged = super()._merged(arguments, changes)
        refuse_change(arguments, merged)
        stored = make_config(arguments["preset"], arguments["config"])
        return {**merged, "config": changed(stored, changes.get("config")).to_dict()}

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
