"""COptiDICE as a Stable-Baselines3 algorithm."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Unpack

import torch as th
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, PyTorchObs, Schedule

from vlsafe_agents.common.lagrange import LagrangeMultiplier
from vlsafe_agents.common.recorded_steps import AlgorithmKwargs, LearnsFromSteps
from vlsafe_agents.coptidice.losses import advantages, best_ratio, dual_loss, tilted
from vlsafe_agents.coptidice.policies import DiceCnnPolicy, DiceMultiInputPolicy, DicePolicy
from vlsafe_agents.data.batches import TransitionBatch
from vlsafe_agents.data.dataset import EpisodeDataset
from wrappers.checks import one_number


class COptiDICE(LearnsFromSteps):
    """Offline RL under a cost limit that corrects how often recorded steps occur.

    COptiDICE (Lee et al. 2022, arXiv 2204.08957). Which share w of the recorded steps the best
    policy within the limit would take follows in closed form from a function nu of states and a
    multiplier lambda: w = (f')^-1(e / alpha), e = r - lambda c + gamma nu(o') - nu(o). nu descends
    the dual of the constrained problem, lambda ascends while an upper bound of the cost of w lies
    above the limit, and the policy imitates recorded actions weighted by w. The bound is that of
    the worst resampling of the data within a divergence of `cost_bound`, with chi and tau (their
    section 3.3).

    The limit is kept on average over episodes, as a constrained MDP asks, by a policy that may
    decide at random.

    Departures: a first state counts 1 / L beside a step, where L is the recorded episodes' mean
    discounted length, instead of 1 - gamma, so that w is 1 for the recorded behaviour where
    episodes terminate, too, and the limit is `cost_limit` over their mean number of steps; first
    states are drawn by themselves, and not as the first steps in a batch; lambda and tau follow
    their gradients by plain steps; no noise is put on what is imitated. As in the paper's code, e
    is that of single steps, which is exact where the same action in the same state always leads to
    the same next one, and too hopeful where it does not.

    Args:
        policy: "MlpPolicy", "CnnPolicy", "MultiInputPolicy" or a `DicePolicy` class
        env: gives the spaces and serves evaluation callbacks; None takes the data's spaces
        dataset: what to learn from, with costs; None only for prediction
        cost_limit: highest accepted mean cost of an episode, undiscounted
        learning_rate: of all networks, a number or SB3 schedule
        batch_size: steps per update
        gamma: discount per step; 1 needs recorded episodes that all terminate
        alpha: price of taking other shares than the recorded ones [reward of a step], above 0
        cost_bound: divergence of the resampling that bounds the cost; 0: its estimate as it is
        multiplier_learning_rate: step of lambda, and of the logarithm of tau
        max_grad_norm: gradients are clipped to this norm; None leaves them
        frame_stack: observations that the policy sees at once
        base_kwargs: `policy_kwargs`, `seed`, `device`, `tensorboard_log`, `verbose` as in SB3

    Raises:
        ValueError: if the data do not fit the environment's spaces, have no costs, or were cut off
            where `gamma` is 1
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": DicePolicy,
        "CnnPolicy": DiceCnnPolicy,
        "MultiInputPolicy": DiceMultiInputPolicy,
    }
    needs_costs = True
    policy: DicePolicy

    def __init__(
        self,
        policy: str | type[DicePolicy],
        env: GymEnv | str | None,
        dataset: EpisodeDataset | None = None,
        cost_limit: float = 1.0,
        learning_rate: float | Schedule = 3e-4,
        batch_size: int = 256,
        gamma: float = 0.99,
        alpha: float = 0.5,
        cost_bound: float = 0.01,
        multiplier_learning_rate: float = 0.05,
        max_grad_norm: float | None = None,
        frame_stack: int = 1,
        _init_setup_model: bool = True,
        **base_kwargs: Unpack[AlgorithmKwargs],
    ) -> None:
        self.cost_limit = one_number(cost_limit, "cost_limit", "COptiDICE", low=0.0)
        self.gamma = one_number(gamma, "gamma", "COptiDICE", 0.0, 1.0)
        self.alpha = one_number(alpha, "alpha", "COptiDICE", low=1e-6)
        self.cost_bound = one_number(cost_bound, "cost_bound", "COptiDICE", low=0.0)
        self.multiplier_learning_rate = one_number(
            multiplier_learning_rate, "multiplier_learning_rate", "COptiDICE", low=0.0
        )
        self.multiplier = LagrangeMultiplier(0.0, learning_rate=self.multiplier_learning_rate)
        self.temperature = 1.0  # tau
        self._share = math.nan  # of a first state beside a step
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

    def _policy_arguments(self) -> dict[str, Any]:
        # nu and the actor have features of their own
        return {"share_features_extractor": False}

    def _take_data(self, dataset: EpisodeDataset) -> None:
        super()._take_data(dataset)
        length = dataset.mean_discounted_steps(self.gamma)
        if math.isinf(length):
            raise ValueError(
                "with gamma=1 COptiDICE needs episodes that terminate, and some of the data were "
                "cut off; take a gamma below 1"
            )
        self._share = 1.0 / length
        self.multiplier.cost_limit = self.cost_limit / dataset.mean_steps

    def _losses(self, batch: TransitionBatch) -> tuple[th.Tensor, dict[str, Any]]:
        assert self._training_data is not None
        policy, obs = self.policy, self._observed(batch.obs)
        after = self._observed(batch.next_obs)
        first = self._observed(
            self._training_data.sample_starts(self.batch_size, self._rng, self.frame_stack)
        )
        ahead = self.gamma * (1.0 - self._column(batch.terminated))
        reward, cost = self._column(batch.reward), self._column(batch.cost)
        nu, next_nu = policy.predict_values(obs).squeeze(-1), policy.predict_values(after)
        e = advantages(
            reward - self.multiplier.value * cost, nu, next_nu.squeeze(-1), ahead
        )  # (B,)
        ratio = best_ratio(e.detach(), self.alpha)
        nu_loss = dual_loss(
            policy.predict_values(first).squeeze(-1), self._share, e, ratio, self.alpha
        )
        chi_loss, mean_cost = self._bounded_cost(obs, after, first, ahead, cost, ratio)
        log_prob = policy.get_distribution(obs).log_prob(self._acted(batch.action))
        actor_loss = -(ratio * log_prob).mean()
        self.multiplier.update(mean_cost)
        logs = {
            "nu_loss": nu_loss,
            "chi_loss": chi_loss,
            "actor_loss": actor_loss,
            "ratio": ratio.mean(),
            "cost_of_a_step": mean_cost,
            "lagrange_multiplier": self.multiplier.value,
            "temperature": self.temperature,
        }
        return nu_loss + chi_loss + actor_loss, logs

    def _bounded_cost(
        self,
        obs: PyTorchObs,
        after: PyTorchObs,
        first: PyTorchObs,
        ahead: th.Tensor,
        cost: th.Tensor,
        ratio: th.Tensor,
    ) -> tuple[th.Tensor, float]:
        """What chi descends, and an upper bound of the cost of a step under the ratios w."""
        if self.cost_bound == 0.0:
            return th.zeros(()), float((ratio * cost).mean())
        chi = self.policy.chi
        terms = self._share * chi(first) + ratio * advantages(cost, chi(obs), chi(after), ahead)
        weights, divergence = tilted(terms.detach(), self.temperature)
        excess = self.cost_bound - float(divergence)
        moved = math.log(self.temperature) - self.multiplier_learning_rate * excess
        self.temperature = math.exp(min(max(moved, -7.0), 7.0))
        return (weights * terms).mean(), float((weights * ratio * cost).mean())

    def _state(self) -> dict[str, Any]:
        own = {"multiplier": self.multiplier.value, "temperature": self.temperature}
        return {**super()._state(), **own}

    def _restore(self, state: dict[str, Any]) -> None:
        super()._restore(state)
        value = one_number(state["multiplier"], "multiplier", "COptiDICE", low=0.0)
        self.multiplier.load_state_dict({"value": value})
        self.temperature = one_number(state["temperature"], "temperature", "COptiDICE", low=1e-6)
