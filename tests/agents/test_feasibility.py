"""Which actions count as feasible, and that a critic's floor does not close every gate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from speed_limit import record
from test_actor_critic import build
from tiny_agents import make

from vlsafe_agents import VLSafe
from vlsafe_agents.vlsafe.critics import LeastCost, weighted_quantile
from vlsafe_agents.vlsafe.policy_extraction import feasible_actions

GOLDEN = Path(__file__).parent / "golden" / "vlsafe_2026_11.zip"


# --- the quantile ---------------------------------------------------------------------------------


@pytest.mark.parametrize("quantile", [0.0, 0.1, 0.25, 0.5, 0.9, 1.0])
def test_whole_weights_are_repetitions(quantile: float) -> None:
    rng = np.random.default_rng(0)
    x, weight = rng.normal(size=40), rng.integers(0, 5, 40)
    repeated = np.repeat(x, weight)
    expected = np.quantile(repeated, quantile, method="inverted_cdf")
    found = weighted_quantile(torch.as_tensor(x), torch.as_tensor(weight).float(), quantile)
    assert found == pytest.approx(float(expected))


def test_a_quantile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="some positive"):
        weighted_quantile(torch.ones(3), torch.zeros(3), 0.5)


def test_the_least_cost_is_that_of_supported_actions_in_recorded_states() -> None:
    least = LeastCost(1.0, decay=0.9)
    q_cost = torch.tensor([[0.1, 3.0, 2.0], [0.5, 0.4, 9.0], [7.0, 8.0, 9.0]])
    log_prior = torch.zeros(3, 3)
    log_prior[0, 0] = -torch.inf
    rows = torch.tensor([1.0, 1.0, 0.0])
    assert least.value == 0.0
    least.update(q_cost, log_prior, rows)
    assert least.value == pytest.approx(2.0)
    least.update(q_cost + 1.0, log_prior, rows)
    assert least.value == pytest.approx((0.9 * 0.1 * 2.0 + 0.1 * 3.0) / (1 - 0.9**2))
    least.update(q_cost, log_prior, 0 * rows)
    assert least.value == pytest.approx((0.9 * 0.1 * 2.0 + 0.1 * 3.0) / (1 - 0.9**2))


# --- the rule -------------------------------------------------------------------------------------


def test_the_limit_counts_unless_the_best_actions_cost_more() -> None:
    q_cost = torch.tensor([[0.1, 0.3, 2.0]])
    assert feasible_actions(q_cost, 0.2).tolist() == [[True, False, False]]
    assert feasible_actions(q_cost, 0.2, 0.05).tolist() == [[True, False, False]]
    assert feasible_actions(q_cost, 0.2, torch.tensor(0.5)).tolist() == [[True, True, False]]


def calm_and_dangerous(feat: torch.Tensor) -> torch.Tensor:
    """Q_c of three actions: at least 0.12 in calm states, at least 5 in the tenth that is not."""
    danger = torch.linspace(0, 1, feat[..., 0].numel()).view(feat.shape[:-1]) > 0.95
    calm = torch.tensor([0.12, 0.12, 0.15])
    return torch.where(danger[..., None], torch.tensor([5.0, 9.0, 9.0]), calm)


def targets(config: dict[str, Any]) -> tuple[torch.Tensor, float]:
    """``log w`` of actions in dreams whose first 95% of states are calm; share that may act."""
    model, actor_critic, batch = build(
        {"improvement": {"support_threshold": 0.0, **config}}, cost_limit=0.3
    )
    actor_critic.episode_steps = 100.0  # the limit is 0.095 in discounted units
    with torch.no_grad():
        model.safety_score_head[-1].bias.fill_(10.0)  # everything looks safe
    actor_critic.cost_critic.slow_all = calm_and_dangerous  # type: ignore[method-assign]
    reward = torch.tensor([0.0, 1.0, 2.0])
    actor_critic.reward_critic.slow_all = lambda feat: reward.expand(*feat.shape[:-1], 3)  # type: ignore[method-assign]
    choices = actor_critic.choices(actor_critic.dream(model, model.observe(batch), batch))
    actor_critic.update_scales(choices)
    actor_critic.update_least_cost(choices)
    metrics = actor_critic.actor_loss(choices)[1]
    weight = actor_critic._log_weight(choices.candidates, choices.gate).flatten(0, 1)
    return weight, metrics["imagined/feasible"]


def test_a_critic_with_a_floor_leaves_actions_feasible_in_calm_states() -> None:
    """Below the limit alone nothing is feasible: the gate closes, and the least cost wins."""
    weight, feasible = targets({})
    assert feasible == pytest.approx(0.95, abs=0.03)
    calm, danger = weight[0], weight[-1]
    assert calm.argmax() == 1, "the better of the two actions that cost no more than the floor"
    assert danger.argmax() == 0, "the least costly one"


def test_without_the_quantile_the_limit_alone_counts() -> None:
    weight, feasible = targets({"feasible_quantile": 0.0})
    assert feasible == 0.0
    assert weight[0].argmax() == 0


def test_the_bound_is_learned_by_the_gated_update_only() -> None:
    for update, learns in (("gated", True), ("lagrangian", False), ("none", False)):
        model, actor_critic, batch = build(update=update)
        choices = actor_critic.choices(actor_critic.dream(model, model.observe(batch), batch))
        actor_critic.update_least_cost(choices)
        assert bool(actor_critic.least_cost.weight > 0) == learns


# --- saving ---------------------------------------------------------------------------------------


def test_the_bound_is_saved_and_older_agents_have_none(tmp_path: Path) -> None:
    agent = make(record(10), config={"model_warmup": 0.2}).learn(10)
    least = agent.policy.actor_critic.least_cost
    assert least.weight > 0
    agent.save(tmp_path / "agent.zip")
    again = VLSafe.load(tmp_path / "agent.zip", device="cpu").policy.actor_critic.least_cost
    assert torch.equal(again.total, least.total)
    assert torch.equal(again.weight, least.weight)
    assert VLSafe.load(GOLDEN, device="cpu").policy.actor_critic.least_cost.weight == 0
