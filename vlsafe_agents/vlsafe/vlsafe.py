"""The agent: safe reinforcement learning in imagination, with SB3's interface."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3.common import utils
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.vec_env import VecEnv, VecTransposeImage

from vlsafe_agents.common.checked_steps import CheckedEnv
from vlsafe_agents.common.devices import averaged_figures, team_size
from vlsafe_agents.common.episodes import traced
from vlsafe_agents.common.optim import LaProp
from vlsafe_agents.common.running import (
    plain_attributes,
    set_plain_attributes,
    warn_not_exact,
)
from vlsafe_agents.common.saved_agent import COUNTERS, NO_SETTINGS
from vlsafe_agents.data.audits import warn_of_failed_audit
from vlsafe_agents.data.dataset import EpisodeDataset
from vlsafe_agents.vlsafe import stock_words
from vlsafe_agents.vlsafe.acting import Acting
from vlsafe_agents.vlsafe.actions import SPACES, UNITS, check_units
from vlsafe_agents.vlsafe.batch import TensorBatch, to_tensors
from vlsafe_agents.vlsafe.config import UPDATES
from vlsafe_agents.vlsafe.gates import SCORE, check_safety, refuse_change, with_gate
from vlsafe_agents.vlsafe.imagination import GapWarning, dream_metrics, recorded_returns
from vlsafe_agents.vlsafe.learning import LearningLoop
from vlsafe_agents.vlsafe.limits import CostLimit, check_cost_limit, refuse_other_limits
from vlsafe_agents.vlsafe.online import Collector
from vlsafe_agents.vlsafe.optimisation import Schedule, anneal, in_own_dtype, optimise
from vlsafe_agents.vlsafe.policies import VLSafePolicy
from vlsafe_agents.vlsafe.presets import changed, make_config


class VLSafe(Acting, LearningLoop):
    """Learns from recorded drives, by driving, or from recorded drives first and by driving then.

    A world model (DreamerV3's, with heads for cost and safety score) is fitted to drives; an actor
    and two critics learn in its imagination (VL-SAFE, arXiv 2505.16377; see
    :mod:`~vlsafe_agents.vlsafe.actor_critic` for what is known of the paper and where we depart).

    With a data set :meth:`learn` never touches ``env``; without one it drives there and reads
    ``info["cost"]`` and ``info["safety_score"]`` as ``update`` and ``safety`` ask for them.

    Args:
        policy: "CnnPolicy", "MlpPolicy" or "MultiInputPolicy": the same class under the names that
            SB3's users know; observations are told apart by the space.
        env: gives the spaces, and is driven in to learn online.  None takes the data's spaces.
        dataset: recorded episodes with costs, and safety scores where the gate is made of them;
            may be set later.
        preset: sizes: "debug", "cpu", "12M", "25M" or "50M"; "route" is "cpu" with settings for
            tasks at 10 decisions per second.
        update: "gated" (the paper's weight), "lagrangian" (imagined cost return against
            ``cost_limit``) or "none" (blind to cost).
        safety: the p of "gated": "score" predicts the recorded safety score, "recorded" does so by
            a head of its own; a number in [0, 1], "oracle", "shuffled" and "reachability" are
            controls, see :mod:`~vlsafe_agents.vlsafe.gates`; None switches safety off, whatever
            ``update`` says.
        cost_limit: allowed cost per episode [sum]; see :class:`ActorCritic` for how each update
            reads it.  ``(low, high)``: one policy for all limits of that range, of which
            ``predict`` takes one (:mod:`~vlsafe_agents.vlsafe.limits`).
        config: replaces settings of the preset: ``{"imagination": {"horizon": 15}}``; see
            :mod:`~vlsafe_agents.vlsafe.config`.
        train_freq: online, steps of each environment between updates, and with ``gradient_steps``
            how many updates then (-1: as many as steps were driven); None: ``online.train_ratio``;
            ``(n, "step")`` is n.
        learning_rate: this and what follows are SB3's words for settings: of the world model and
            of actor and critics alike; ``policy_kwargs`` may hold ``net_arch``; ``batch_size``
            counts sequences.

    Raises:
        ValueError: for unknown names or settings, spaces that the world model does not know, or a
            data set that does not fit them.
        TypeError: for an argument of SB3's that has no meaning here, naming its equivalent.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "CnnPolicy": VLSafePolicy,
        "MlpPolicy": VLSafePolicy,
        "MultiInputPolicy": VLSafePolicy,
    }
    policy: VLSafePolicy
    # Decoders only teach the world model; slow critics are begun anew from the critics.
    _not_shared: ClassVar[tuple[str, ...]] = (
        "world_model.observation.decoders.",
        "actor_critic.reward_critic.slow_net.",
        "actor_critic.cost_critic.slow_net.",
    )

    def __init__(
        self,
        policy: str | type[VLSafePolicy],
        env: GymEnv | str | None,
        dataset: EpisodeDataset | None = None,
        preset: str = "cpu",
        update: str = "gated",
        safety: str | float | None = "score",
        cost_limit: CostLimit = 1.0,
        seed: int | None = None,
        device: torch.device | str = "auto",
        tensorboard_log: str | None = None,
        verbose: int = 0,
        config: Mapping[str, Any] | None = None,
        train_freq: int | tuple[int, str] | None = None,
        gradient_steps: int | None = None,
        stats_window_size: int = 100,
        learning_rate: float | None = None,
        gamma: float | None = None,
        batch_size: int | None = None,
        buffer_size: int | None = None,
        learning_starts: int | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        _init_setup_model: bool = True,
        **others: Any,
    ) -> None:
        words = {name: value for name, value in locals().items() if name in stock_words.MEANT}
        stock_words.refuse_words(others)
        train_freq = stock_words.frequency(train_freq, gradient_steps)
        if env is None and dataset is None and _init_setup_model:
            needs = "VLSafe needs an environment or a data set, which tell it the spaces"
            raise ValueError(f"{needs}; VLSafe.load(path) works without")
        if update not in UPDATES:
            raise ValueError(f"unknown update {update!r}; choose one of {', '.join(UPDATES)}")
        safety = check_safety(safety, update)
        self.config = make_config(preset, stock_words.with_words(config, words))
        super().__init__(
            policy,
            env,
            learning_rate=self.config.train.learning_rate,
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            device=device,
            seed=seed,
            stats_window_size=stats_window_size,
            support_multi_env=True,
            supported_action_spaces=SPACES,
        )
        self.train_freq, self.gradient_steps = train_freq, gradient_steps
        if env is None and dataset is not None:
            self._take_spaces(dataset)
        self.preset, self.update, self.safety = preset, update, safety
        self.cost_limit = check_cost_limit(cost_limit, update, safety)
        self.scores_learned = True  # whether the world model's data had safety scores
        self.dataset: EpisodeDataset | None = None
        if _init_setup_model:
            self._setup_model()
            if dataset is not None:
                self.set_dataset(dataset)

    # --- construction ---------------------------------------------------------------------------

    def _setup_model(self) -> None:
        """Build networks and optimisers."""
        self.action_space = copy.deepcopy(self.action_space)  # whose generator is the agent's own
        self.set_random_seed(self.seed)
        self._sampler = np.random.default_rng(self.seed)
        self._gap = GapWarning()
        self.collector = Collector(self)
        self.policy = self.policy_class(  # type: ignore[assignment]
            self.observation_space,
            self.action_space,
            self.config,
            update="none" if self.safety is None else self.update,
            gate=self.safety,
            cost_limit=self.cost_limit,
        ).to(self.device)
        train, network = self.config.train, self.config.network
        if train.compile:
            self.policy.world_model.rssm.compile_steps()
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
        """SB3's wrapping of checked steps, but images stay channels-last as in the data.

        The environments keep from now on how they came to where they are.
        """
        checked = CheckedEnv(env) if isinstance(env, gym.Env) else env
        wrapped = BaseAlgorithm._wrap_env(checked, verbose, monitor_wrapper)
        return traced(wrapped.venv if isinstance(wrapped, VecTransposeImage) else wrapped)

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
        if (limit := self.config.prior_cost_limit) is not None:
            dataset = dataset.imitating(dataset.within(limit, "VLSafe with a prior_cost_limit"))
        rows = self.config.train.sequence_length
        dataset.sample(1, rows, np.random.default_rng(0))  # raises where it is too short
        warn_of_failed_audit(dataset.metadata)
        self.dataset = dataset
        if not self.world_model_frozen:
            self.scores_learned = dataset.has_safety_score
        if self.config.multiplier.episode_steps is None:
            self.policy.actor_critic.episode_steps = dataset.mean_steps

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
        self.model_can_learn = other.model_can_learn
        self._schedule, self._online = None, other._online

    # --- learning -------------------------------------------------------------------------------

    @in_own_dtype
    def train(self) -> None:
        """One update: of world model and prior while they warm up, then of prior, critics, actor.

        Losses compute; whatever changes does so here, in this order.  A batch holds B sequences of
        T rows, from which N dreams of H steps begin; features are ``(..., F)``.
        """
        if not hasattr(self, "_logger"):
            self._logger = utils.configure_logger(self.verbose)
        world_model, actor_critic = self.policy.world_model, self.policy.actor_critic
        self.policy.set_training_mode(True)
        anneal(self._rates(), self.schedule.remaining(self._n_updates))
        context, whole = self._sample()  # (B, K, ...) without losses, (B, T, ...)
        if self._model_learns():
            world_model.observation.learn_scales(whole.obs)  # the first batches only
        batch, context = whole.own_share(), None if context is None else context.own_share()
        if self.schedule.warming_up(self._n_updates):
            loss, metrics = self.policy.warm_up_loss(batch, context)
            both = [self.model_optimizer, self.actor_critic_optimizer]
            optimise(both, loss, "world model and behaviour prior")
            actor_critic.start_from_behaviour()  # so that the agent can act: as a clone of the data
            metrics = averaged_figures(metrics)
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
                if not self._online:  # there real episodes tell
                    actor_critic.update_multiplier(dream)
                if actor_critic.multiplier is not None:
                    metrics |= actor_critic.limits.prices(actor_critic.multiplier)
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
            metrics = averaged_figures(metrics)
            recorded = recorded_returns(whole, settings.gamma, settings.horizon)
            if not self._online:  # a replay shows what the agent could do a while ago
                metrics |= self._gap.update(metrics, recorded, improving)
        self._n_updates += 1
        for name, value in metrics.items():
            self.logger.record_mean(name, value)
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")

    def _sample(self) -> tuple[TensorBatch | None, TensorBatch]:
        """Sequences to learn from, and the rows before them that the state is burnt in on."""
        train, share = self.config.train, self.config.research.unsafe_ends
        sizes = (train.batch_size, train.sequence_length)
        rows = self._source().sample(*sizes, self._sampler, share, train.burn_in)  # (B, K + T, ...)
        whole, count = to_tensors(rows, self.device), train.burn_in
        return whole.cut(slice(count)) if count else None, whole.cut(slice(count, None))

    # --- saving ---------------------------------------------------------------------------------

    def _setting(self, name: str) -> Any:
        if name in stock_words.MEANT:
            return None  # config says it
        return self.config.to_dict() if name == "config" else super()._setting(name)

    @classmethod
    def _settings(cls) -> list[str]:
        own = inspect.signature(VLSafe.__init__).parameters
        return [name for name in own if name not in (*NO_SETTINGS, "others")]

    def _policy_name(self) -> str | None:
        # All names stand for one class; observations are told apart by their space.
        return "MultiInputPolicy" if self.policy_class is VLSafePolicy else None

    def _as_shared(self, data: dict[str, Any]) -> dict[str, Any]:
        fixed = {"world_model_frozen": True, "model_can_learn": False}
        return {**data, "state": {**data["state"], **fixed}}

    def _take_shared(self, weights: Mapping[str, Any]) -> None:
        super()._take_shared(weights)
        self.policy.actor_critic.catch_up()

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "model_optimizer", "actor_critic_optimizer"], []

    def _state(self) -> dict[str, Any]:
        return {
            **super()._state(),
            "episode_steps": self.policy.actor_critic.episode_steps,
            "world_model_frozen": self.world_model_frozen,
            "action_units": UNITS,
            "scores_learned": self.scores_learned,
            "model_can_learn": self.model_can_learn,
            "schedule": None if self._schedule is None else self._schedule.to_json(),
            "sampler": self._sampler.bit_generator.state,
            "online": self._online,
            "driven": self.collector.state(),
            "acting_limit": self.policy.acting_limit,
        }

    def _restore(self, state: dict[str, Any]) -> None:
        super()._restore(state)
        check_units(self.action_space, state.get("action_units"))
        self.world_model_frozen = bool(state["world_model_frozen"])
        self.scores_learned = bool(state.get("scores_learned", True))
        self.model_can_learn = bool(state.get("model_can_learn", True))
        self._sampler.bit_generator.state = state["sampler"]
        self.policy.actor_critic.episode_steps = state["episode_steps"]
        if isinstance(self.cost_limit, tuple):
            self.policy.acting_limit = state["acting_limit"]
        stored = state["schedule"]
        self._schedule = None if stored is None else Schedule.from_json(stored)
        self._online = state.get("online", None if stored is None else False)
        if "driven" in state:  # not in files up to November 2026
            self.collector.restore(state["driven"])

    def _running(self) -> dict[str, Any]:
        devices = {"devices": team_size()} if team_size() > 1 else {}
        return {**super()._running(), "gap": plain_attributes(self._gap), **devices}

    def _go_on(self, running: dict[str, Any]) -> None:
        super()._go_on(running)
        set_plain_attributes(self._gap, running["gap"])
        before, now = int(running.get("devices", 1)), team_size()
        if before != now:
            warn_not_exact(f"on {now} devices, and before on {before}: sums round differently")

    @classmethod
    def _merged(cls, arguments: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
        if "preset" in changes and changes["preset"] != arguments["preset"]:
            raise ValueError(
                f"the file holds an agent of preset {arguments['preset']!r}; its sizes cannot be "
                "changed on loading"
            )
        if arguments["update"] != "gated" and arguments["safety"] is not None:
            arguments = {**arguments, "safety": SCORE}  # until November 2026 it was not checked
        words = {name: changes[name] for name in stock_words.MEANT if name in changes}
        others = {name: value for name, value in changes.items() if name not in words}
        merged = super()._merged(arguments, others)
        refuse_change(arguments, merged)
        refuse_other_limits(arguments["cost_limit"], merged["cost_limit"])
        stored = make_config(arguments["preset"], arguments["config"])
        sizes = stock_words.with_words(None, {"policy_kwargs": words.pop("policy_kwargs", None)})
        if changed(stored, sizes) != stored:
            raise ValueError(
                "policy_kwargs are sizes of networks, for which the file has weights; they cannot "
                "be changed on loading"
            )
        new = stock_words.with_words(changes.get("config"), words)
        return {**merged, "config": changed(stored, new).to_dict()}

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
            "arguments": {
                name: data[name]
                for name in cls._settings()
                if name in data and name not in stock_words.MEANT  # config says those
            },
            "left_out": [],
            "n_envs": data["n_envs"],
            **data["saved_spaces"],
            "state": {**state, "schedule": plan.to_json(), "sampler": data["sampler_state"]},
        }
