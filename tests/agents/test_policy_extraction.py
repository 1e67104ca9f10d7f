"""Closed forms of the improved policy."""

from __future__ import annotations

import math

import pytest
import torch

from vlsafe_agents.vlsafe.policy_extraction import (
    WEIGHT_LIMIT,
    behaviour_advantage,
    entropy,
    exponential_log_weight,
    gated_log_weight,
    improved_policy,
    kl_divergence,
    lagrangian_advantage,
    lookahead_gate,
    restrict_to_support,
)

PRIOR = torch.tensor([0.5, 0.3, 0.15, 0.05])
LOG_PRIOR = PRIOR.log()
REWARD = torch.tensor([0.4, -0.2, 1.0, -1.1])
COST = torch.tensor([0.3, -0.8, 1.2, 0.1])


def gated(p: float, beta_r: float = 1.0, beta_c: float = 1.0, normalise: bool = True):
    log_weight = gated_log_weight(
        REWARD, COST, torch.tensor(p), beta_r, beta_c, LOG_PRIOR if normalise else None
    )
    return improved_policy(LOG_PRIOR, log_weight)


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_constant_advantages_give_back_the_behaviour_policy(p: float) -> None:
    zero = torch.zeros(4)
    for weight in (
        gated_log_weight(zero, zero, torch.tensor(p), 3.0, 5.0, LOG_PRIOR),
        gated_log_weight(zero, zero, torch.tensor(p), 3.0, 5.0),
        exponential_log_weight(zero + 0.7, 3.0),
    ):
        torch.testing.assert_close(improved_policy(LOG_PRIOR, weight), PRIOR)


@pytest.mark.parametrize("normalise", [True, False])
def test_a_safe_state_ignores_the_cost_and_an_unsafe_one_the_reward(normalise: bool) -> None:
    by_reward = torch.softmax(LOG_PRIOR + 2.0 * REWARD, -1)
    by_cost = torch.softmax(LOG_PRIOR - 3.0 * COST, -1)
    torch.testing.assert_close(gated(1.0, 2.0, 3.0, normalise), by_reward)
    torch.testing.assert_close(gated(0.0, 2.0, 3.0, normalise), by_cost)


def test_unnormalised_gate_is_the_papers_formula() -> None:
    p, beta_r, beta_c = 0.7, 1.5, 2.0
    weight = p * (beta_r * REWARD).exp() + (1 - p) * (-beta_c * COST).exp()
    expected = PRIOR * weight / (PRIOR * weight).sum()
    torch.testing.assert_close(gated(p, beta_r, beta_c, normalise=False), expected)


def test_normalised_gate_mixes_two_policies_in_the_ratio_of_p() -> None:
    mixed = 0.3 * gated(1.0, 4.0, 2.0) + 0.7 * gated(0.0, 4.0, 2.0)
    torch.testing.assert_close(gated(0.3, 4.0, 2.0), mixed)


def test_infeasible_actions_get_no_weight_from_the_reward() -> None:
    feasible = torch.tensor([True, True, False, True])
    weight = gated_log_weight(REWARD, COST, torch.tensor(1.0), 2.0, 1.0, LOG_PRIOR, feasible)
    policy = improved_policy(LOG_PRIOR, weight)
    expected = torch.softmax((LOG_PRIOR + 2.0 * REWARD).masked_fill(~feasible, -torch.inf), -1)
    torch.testing.assert_close(policy, expected)


@pytest.mark.parametrize("normalise", [True, False])
def test_a_state_without_feasible_action_minimises_the_cost_whatever_its_gate(
    normalise: bool,
) -> None:
    log_prior = restrict_to_support(LOG_PRIOR, 0.2)  # drops the last action
    feasible = torch.tensor([False, False, False, True])  # feasible, but out of support
    weight = gated_log_weight(
        REWARD, COST, torch.tensor(1.0), 2.0, 3.0, log_prior if normalise else None, feasible
    )
    if normalise:
        expected = torch.softmax(log_prior - 3.0 * COST, -1)
        torch.testing.assert_close(improved_policy(log_prior, weight), expected)
    nothing = torch.zeros(4, dtype=torch.bool)
    weight = gated_log_weight(REWARD, COST, torch.tensor(1.0), 2.0, 3.0, None, nothing)
    torch.testing.assert_close(improved_policy(LOG_PRIOR, weight), gated(0.0, 2.0, 3.0))


def test_temperature_limits_are_the_prior_and_the_greedy_action() -> None:
    cold = improved_policy(LOG_PRIOR, exponential_log_weight(REWARD, 4.0))
    torch.testing.assert_close(
        improved_policy(LOG_PRIOR, exponential_log_weight(REWARD, 0.0)), PRIOR
    )
    assert cold.argmax() == REWARD.argmax()
    assert cold.max() > 0.7


def test_weights_are_clipped_at_one_hundred() -> None:
    assert exponential_log_weight(torch.tensor([50.0]), 3.0).exp().item() == pytest.approx(100.0)
    assert exponential_log_weight(torch.tensor([50.0]), 3.0, None).item() == 150.0
    huge = gated_log_weight(
        torch.tensor([80.0, 0.0]), torch.zeros(2), torch.tensor(1.0), 1.0, 1.0, None
    )
    torch.testing.assert_close(huge, torch.tensor([math.log(WEIGHT_LIMIT), 0.0]))


def test_lagrangian_advantage_trades_reward_against_cost_at_the_price() -> None:
    torch.testing.assert_close(lagrangian_advantage(REWARD, COST, 0.0), REWARD)
    torch.testing.assert_close(lagrangian_advantage(REWARD, COST, 3.0), (REWARD - 3 * COST) / 4)
    torch.testing.assert_close(lagrangian_advantage(REWARD, COST, 1e8), -COST)


def test_support_drops_rare_actions_and_renormalises() -> None:
    kept = restrict_to_support(LOG_PRIOR, 0.2).exp()
    torch.testing.assert_close(kept, torch.tensor([0.5, 0.3, 0.15, 0.0]) / 0.95)
    torch.testing.assert_close(restrict_to_support(LOG_PRIOR, 0.0).exp(), PRIOR)
    assert restrict_to_support(LOG_PRIOR, 1.0).exp().tolist() == [1.0, 0.0, 0.0, 0.0]
    with pytest.raises(ValueError, match="support_threshold"):
        restrict_to_support(LOG_PRIOR, 1.5)


def test_an_action_outside_the_support_stays_at_zero_whatever_its_advantage() -> None:
    log_prior = restrict_to_support(LOG_PRIOR, 0.2)
    advantage = behaviour_advantage(torch.tensor([0.0, 0.0, 0.0, 1e6]), log_prior)
    policy = improved_policy(log_prior, exponential_log_weight(advantage, 3.0))
    assert policy[3] == 0
    torch.testing.assert_close(policy, log_prior.exp())


def test_behaviour_advantage_has_mean_zero_under_the_prior() -> None:
    advantage = behaviour_advantage(torch.tensor([1.0, 5.0, -2.0, 3.0]), LOG_PRIOR)
    assert (PRIOR * advantage).sum().item() == pytest.approx(0.0, abs=1e-6)


def test_importance_weighted_candidates_approach_the_exact_policy() -> None:
    """Drawn from another policy and weighted, candidates give the same expectation."""
    torch.manual_seed(1)
    proposal = torch.tensor([0.25, 0.25, 0.25, 0.25])
    index = torch.multinomial(proposal, 200_000, replacement=True)
    log_prior = (PRIOR.log() - proposal.log())[index]
    weights = improved_policy(log_prior, exponential_log_weight(REWARD[index], 1.0))
    found = torch.zeros(4).index_add_(0, index, weights)
    exact = improved_policy(LOG_PRIOR, exponential_log_weight(REWARD, 1.0))
    torch.testing.assert_close(found, exact, atol=0.01, rtol=0)


def slow_lookahead(safety: torch.Tensor, cont: torch.Tensor, steps: int) -> torch.Tensor:
    """Reference: one state at a time, discounting danger by the chance of getting there."""
    count, horizon = cont.shape
    gate = torch.zeros(count, horizon)
    for n in range(count):
        for j in range(horizon):
            danger = [1 - safety[n, j]]
            for k in range(1, steps + 1):
                if j + k <= horizon:
                    reach = math.prod(cont[n, i - 1].item() for i in range(j + 1, j + k))
                    danger.append(reach * (1 - safety[n, j + k]))
            gate[n, j] = 1 - max(float(d) for d in danger)
    return gate


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 7])
def test_lookahead_gate_equals_the_slow_reference(steps: int) -> None:
    torch.manual_seed(steps)
    safety, cont = torch.rand(6, 6), torch.rand(6, 5)
    expected = slow_lookahead(safety, cont, steps)
    torch.testing.assert_close(lookahead_gate(safety, cont, steps), expected)


def test_lookahead_of_zero_is_the_papers_gate_and_negative_is_refused() -> None:
    safety, cont = torch.rand(2, 4), torch.ones(2, 3)
    torch.testing.assert_close(lookahead_gate(safety, cont, 0), safety[:, :-1])
    with pytest.raises(ValueError, match="gate_lookahead"):
        lookahead_gate(safety, cont, -1)


def test_danger_behind_a_certain_end_does_not_close_the_gate() -> None:
    safety, cont = torch.tensor([[1.0, 1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    torch.testing.assert_close(lookahead_gate(safety, cont, 2)[0, 0], torch.tensor(1.0))


def test_kl_and_entropy_of_known_distributions() -> None:
    assert kl_divergence(PRIOR, LOG_PRIOR).item() == pytest.approx(0.0, abs=1e-6)
    sure = torch.tensor([1.0, 0.0, 0.0, 0.0])
    assert kl_divergence(sure, LOG_PRIOR).item() == pytest.approx(math.log(2.0))
    assert entropy(torch.full((4,), 0.25)).item() == pytest.approx(math.log(4.0))
    assert entropy(sure).item() == 0.0
