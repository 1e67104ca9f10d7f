"""The Constrained Decision Transformer as a Stable-Baselines3 algorithm."""

from __future__ import annotations

from typing import Any, ClassVar, Unpack

import torch as th
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, Schedule

from vlsafe_agents.cdt.policies import (
    DecisionTransformerCnnPolicy,
    DecisionTransformerMultiInputPolicy,
    DecisionTransformerPolicy,
)
from vlsafe_agents.cdt.targets import relabel, returns_within
from vlsafe_agents.common.recorded_steps import AlgorithmKwargs, LearnsFromSteps
from vlsafe_agents.data.dataset import EpisodeDataset
from vlsafe_agents.data.histories import Histories, HistoryBatch
from wrappers.checks import one_number, whole_number


class CDT(LearnsFromSteps):
    """Imitates recorded actions, told what was still earned and paid from each step on.

    Constrained Decision Transformer (Liu et al. 2023, arXiv 2302.07351): a causal transformer reads
    the last `context` steps, each as return to go, cost to go, observation and action, and learns
    -log pi(a) - `ent_coef` H(pi) (their section 4). An agent is told `target_return` and
    `cost_limit` as an episode begins, and from then on what is left of them. Any limit can be asked
    for: set `agent.policy.acting_limit`.

    As no recorded episode may have both, a share `augment` of what is learnt from are safe episodes
    under targets that nobody met: among those that cost no more than a limit, one of the `best`
    is shown as what to do for that limit and a higher return (their data augmentation: safe first,
    then good). Where outcomes are a matter of luck, a small `best` shows the lucky ones.

    The to-go of a recorded step ends with the record: an episode that was cut off counts as far as
    it goes.

    Departures: what a step earned and cost is estimated from the observations before and after it,
    by a network that learns it from the data, as `predict` is not told; `ent_coef` is fixed, where
    the authors' code steers it to an entropy; targets of the augmentation lie between the costs of
    two recorded episodes, and the one to imitate is drawn from the `best`, not the best one;
    positions are sines and cosines of the step's number.

    Args:
        policy: "MlpPolicy", "CnnPolicy", "MultiInputPolicy" or a `DecisionTransformerPolicy` class;
            `policy_kwargs` has `width`, `layers`, `heads`, `dropout`
        env: gives the spaces and serves evaluation callbacks; None takes the data's spaces
        dataset: what to learn from, with costs; None only for prediction
        cost_limit: cost that an episode may have, undiscounted
        target_return: that an episode is to have, undiscounted; None: what the `best` of the
            recorded episodes within the limit had, on average
        context: steps that are read, the present one among them
        learning_rate: a number or SB3 schedule
        batch_size: parts of episodes per update, of up to `context` steps each
        ent_coef: weight of the entropy bonus
        augment: share of each batch under targets that nobody met, in [0, 1]
        best: share, in [0, 1], of the episodes within a limit that are shown as best; at least one
        max_grad_norm: gradients are clipped to this norm; None leaves them
        base_kwargs: `policy_kwargs`, `seed`, `device`, `tensorboard_log`, `verbose` as in SB3

    Raises:
        ValueError: if the data do not fit the environment's spaces or have no costs
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": DecisionTransformerPolicy,
        "CnnPolicy": DecisionTransformerCnnPolicy,
        "MultiInputPolicy": DecisionTransformerMultiInputPolicy,
    }
    _unread_settings = LearnsFromSteps._unread_settings | {"frame_stack"}
    needs_costs = True
    takes_any_limit: ClassVar[bool] = True
    policy: DecisionTransformerPolicy
    _histories: Histories | None = None

    def __init__(
        self,
        policy: str | type[DecisionTransformerPolicy],
        env: GymEnv | str | None,
        dataset: EpisodeDataset | None = None,
        cost_limit: float = 1.0,
        target_return: float | None = None,
        context: int = 10,
        learning_rate: float | Schedule = 3e-4,
        batch_size: int = 64,
        ent_coef: float = 1e-2,
        augment: float = 0.3,
        best: float = 0.5,
        max_grad_norm: float | None = 1.0,
        _init_setup_model: bool = True,
        **base_kwargs: Unpack[AlgorithmKwargs],
    ) -> None:
        self.cost_limit = one_number(cost_limit, "cost_limit", "CDT", low=0.0)
        self.target_return = (
            None if target_return is None else one_number(target_return, "target_return", "CDT")
        )
        self.context = whole_number(context, "context", "CDT", low=1)
        self.ent_coef = one_number(ent_coef, "ent_coef", "CDT", low=0.0)
        self.augment = one_number(augment, "augment", "CDT", 0.0, 1.0)
        self.best = one_number(best, "best", "CDT", 0.0, 1.0)
        super().__init__(
            policy,
            env,
            dataset,
            learning_rate,
            batch_size,
            max_grad_norm,
            frame_stack=1,
            _init_setup_model=_init_setup_model,
            **base_kwargs,
        )

    def _policy_arguments(self) -> dict[str, Any]:
        return {
            "context": self.context,
            "acting_limit": self.cost_limit,
            "target_return": self.target_return,
        }

    def _take_data(self, dataset: EpisodeDataset) -> None:
        super()._take_data(dataset)
        self._histories = histories = dataset.histories()
        within = self.policy.returns_within
        known = returns_within(histories.returns, histories.costs, self.best, len(within))
        within.copy_(th.as_tensor(known))
        if self._n_updates == 0:  # weights that have learnt go with the scales that they had
            self.policy.history.set_scales(th.as_tensor(histories.to_go(), dtype=th.float32))

    def _sample(self) -> tuple[HistoryBatch, th.Tensor]:
        """Parts of episodes, and what they are told is still to be earned and paid (B, K, 2)."""
        histories = self._histories
        assert histories is not None
        episode, last = histories.draw(self.batch_size, self._rng)
        shift = th.zeros(self.batch_size, 2, device=self.device)
        count = round(self.augment * self.batch_size)
        if count:
            shown = relabel(histories.returns, histories.costs, count, self.best, self._rng)
            episode[:count] = shown.episode
            last[:count] = self._rng.integers(0, histories.steps[shown.episode])
            for k, more in enumerate((shown.more_return, shown.more_cost)):
                shift[:count, k] = self._column(more)
        batch = histories.parts(episode, last, self.context)
        to_go = th.stack(
            [self._column(batch.return_to_go), self._column(batch.cost_to_go)], -1
        )  # (B, K, 2)
        return batch, to_go + shift[:, None]

    def _losses(self, sampled: tuple[HistoryBatch, th.Tensor]) -> tuple[th.Tensor, dict[str, Any]]:
        (batch, to_go), policy = sampled, self.policy
        flat = {name: array.reshape(-1, *array.shape[2:]) for name, array in batch.obs.items()}
        features = policy.features(self._observed(flat))
        features = features.unflatten(0, (-1, batch.known.shape[1] + 1))  # (B, K + 1, F)
        actions = self._acted(batch.action.reshape(-1, *batch.action.shape[2:]))
        vectors = policy.vectors(actions).unflatten(0, batch.known.shape)  # (B, K, A)
        step = th.as_tensor(batch.step, device=self.device)
        known = th.as_tensor(batch.known, device=self.device).flatten()
        latent = policy.history(features[:, :-1], vectors, to_go, step)
        distribution = policy.distribution(latent.flatten(0, 1)[known])
        log_prob, entropy = distribution.log_prob(actions[known]), distribution.entropy()
        bonus = (-log_prob if entropy is None else entropy).mean()
        came = th.stack([self._column(batch.reward), self._column(batch.cost)], -1)
        guess = policy.history.outcomes(features[:, :-1], vectors, features[:, 1:])
        outcome_loss = (guess - came).flatten(0, 1)[known].square().mean(0)
        logs = {
            "neglogp": -log_prob.mean(),
            "entropy": bonus,
            "reward_error": outcome_loss[0],
            "cost_error": outcome_loss[1],
        }
        return -log_prob.mean() - self.ent_coef * bonus + outcome_loss.sum(), logs

    def _state(self) -> dict[str, Any]:
        own = {"acting_limit": self.policy.acting_limit, "cost_limit": self.cost_limit}
        return {**super()._state(), **own}

    def _restore(self, state: dict[str, Any]) -> None:
        super()._restore(state)
        if self.cost_limit == state["cost_limit"]:  # not changed while it was loaded
            self.policy.acting_limit = state["acting_limit"]
