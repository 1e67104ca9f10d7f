"""Behaviour cloning as a Stable-Baselines3 algorithm."""

from __future__ import annotations

from typing import Any, ClassVar, Unpack

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import (
    ActorCriticCnnPolicy,
    ActorCriticPolicy,
    BasePolicy,
)
from stable_baselines3.common.type_aliases import GymEnv, Schedule

from vlsafe_agents.bc.validation import EarlyStopping
from vlsafe_agents.common.recorded_steps import AlgorithmKwargs, LearnsFromSteps
from vlsafe_agents.common.vehicle_policies import MultiInputPolicy
from vlsafe_agents.data.batches import TransitionBatch
from vlsafe_agents.data.dataset import EpisodeDataset
from wrappers.checks import one_number, whole_number


class BC(LearnsFromSteps):
    """Imitates recorded drives; one timestep = one gradient update, the env is never stepped.

    Maximum likelihood (Pomerleau 1991): the loss is -mean(log pi(a | o)) minus `ent_coef` times
    the policy's entropy, over transitions drawn uniformly from the data. The networks are SB3's
    feed-forward actor-critic policies; their value head stays untrained.

    With a `cost_limit` only the episodes that keep it are imitated: BC-Safe of DSRL (Liu et al.
    2023, arXiv 2306.09303).

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
        cost_limit: imitate the episodes with at most this cost, undiscounted; None: all
        base_kwargs: `policy_kwargs`, `seed`, `device`, `tensorboard_log`, `verbose` as in SB3

    Raises:
        ValueError: if the data do not fit the environment's spaces, if `patience` is set without
            held-out episodes, or if no episode keeps the `cost_limit`
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": ActorCriticPolicy,
        "CnnPolicy": ActorCriticCnnPolicy,
        "MultiInputPolicy": MultiInputPolicy,
    }
    policy: ActorCriticPolicy
    _validation_data: EpisodeDataset | None = None

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
        cost_limit: float | None = None,
        _init_setup_model: bool = True,
        **base_kwargs: Unpack[AlgorithmKwargs],
    ) -> None:
        self.ent_coef = one_number(ent_coef, "ent_coef", "BC", low=0.0)
        self.validation_share = one_number(validation_share, "validation_share", "BC", 0.0, 1.0)
        self.validation_interval = whole_number(
            validation_interval, "validation_interval", "BC", low=1
        )
        self.patience = patience
        self._stopping = EarlyStopping(patience)
        if patience is not None and self.validation_share == 0.0:
            raise ValueError("Early stopping (patience) needs a validation_share > 0.")
        self.cost_limit = (
            None if cost_limit is None else one_number(cost_limit, "cost_limit", "BC", low=0.0)
        )
        super().__init__(
            policy,
            env,
            dataset,
            learning_rate,
            batch_size,
            max_grad_norm,
            frame_stack,
            _init_setup_model,
            **base_kwargs,
        )

    def _take_data(self, dataset: EpisodeDataset) -> None:
        if self.cost_limit is not None:
            dataset = dataset.where(dataset.within(self.cost_limit, "BC with a cost_limit"))
        self._training_data, self._validation_data = dataset, None
        if self.validation_share > 0.0:
            self._training_data, self._validation_data = dataset.split(
                self.validation_share, seed=self.seed or 0
            )

    def _begin_updates(self, afresh: bool) -> None:
        """Early stopping starts afresh too, or goes on from the weights of the last update."""
        if afresh:
            self._stopping = EarlyStopping(self.patience)
        self._stopping.restore_latest(self.policy)

    def _is_over(self) -> bool:
        return self._stopping.over

    def _after_update(self) -> None:
        self._validate()

    def _end_updates(self) -> None:
        self._stopping.restore_best(self.policy)

    def _losses(self, batch: TransitionBatch) -> tuple[th.Tensor, dict[str, Any]]:
        terms = self._loss_terms(batch)
        return terms["neglogp"] - self.ent_coef * terms["entropy"], terms

    def _loss_terms(self, batch: TransitionBatch) -> dict[str, th.Tensor]:
        """Negative log-likelihood, entropy, and how well the most likely action fits."""
        actions = self._acted(batch.action)  # (B,) or (B, A)
        distribution = self.policy.get_distribution(self._observed(batch.obs))
        log_prob, entropy = distribution.log_prob(actions), distribution.entropy()
        terms = {
            "neglogp": -log_prob.mean(),
            "entropy": (-log_prob if entropy is None else entropy).mean(),
        }
        with th.no_grad():
            guess = distribution.mode()
            if isinstance(self.action_space, spaces.Box):
                terms["absolute_error"] = (guess - actions).abs().mean()
            else:
                terms["accuracy"] = (guess == actions).float().mean()
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

    def _running(self) -> dict[str, Any]:
        return {**super()._running(), "early_stopping": self._stopping.state_dict()}

    def _go_on(self, running: dict[str, Any]) -> None:
        super()._go_on(running)
        self._stopping.load_state_dict(running["early_stopping"])
