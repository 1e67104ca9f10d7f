"""Critics of continuous actions: values of states, and what an action adds to them."""

from __future__ import annotations

import pytest
import torch

from vlsafe_agents.common.optim import LaProp
from vlsafe_agents.vlsafe.critics import Critic
from vlsafe_agents.vlsafe.policy_extraction import exponential_log_weight, improved_policy
from vlsafe_agents.vlsafe.policy_heads import GaussianHead
from vlsafe_agents.vlsafe.presets import make_config, online_config

FEATURES = 64


def uniform(*shape: int) -> torch.Tensor:
    return 2 * torch.rand(*shape) - 1


def test_what_an_action_adds_is_learned_beside_values_that_differ_far_more() -> None:
    """As on Pendulum: states differ by 40, returns by 12 by chance, actions by 3 of either sign.

    Without the mean over the policy's samples the network of actions takes up what the baseline
    has not learned yet, and goes with the truth to 0.26 (coefficient of correlation) by then.
    """
    torch.manual_seed(0)
    critic = Critic(FEATURES, 1, 64, 2, per_action=False, bins=31, bin_limit=8.0)
    optimizer = LaProp(critic.net.parameters(), lr=3e-3, warmup=50)
    for _ in range(120):
        feat, action, others = torch.randn(1_000, FEATURES), uniform(1_000, 1), uniform(2, 1_000, 1)
        value = -150 + 40 * torch.sin(feat[:, 0] + feat[:, 1]) + 12 * torch.randn(1_000)
        target = value + 5 * torch.tanh(2 * feat[:, 2]) * action[:, 0]
        optimizer.zero_grad()
        critic.loss(feat, action, target, others).mean().backward()
        optimizer.step()
    critic.follow(1.0)
    feat = torch.randn(2_000, FEATURES)
    low, high = critic.slow_effect(feat, torch.stack([-torch.ones(2_000, 1), torch.ones(2_000, 1)]))
    found = torch.corrcoef(torch.stack([high - low, torch.tanh(2 * feat[:, 2])]))[0, 1]
    assert found.item() > 0.6


def test_the_baseline_is_the_policys_value_whatever_was_done() -> None:
    """``Q = 10 a``, recorded with actions of mean 0; the policy's are about 0.5."""
    torch.manual_seed(0)
    critic = Critic(3, 1, 16, 1, per_action=False, bins=31, bin_limit=5.0)
    policy = GaussianHead(3, 8, 1, 1)
    with torch.no_grad():
        policy.net[-1].bias[:] = torch.tensor([torch.atanh(torch.tensor(0.5 / 1.5)), -2.0])  # type: ignore[operator, union-attr]
    optimizer = torch.optim.Adam(critic.net.parameters(), 0.01)
    feat = torch.ones(256, 3)
    for _ in range(500):
        action = uniform(256, 1)
        optimizer.zero_grad()
        critic.loss(feat, action, 10 * action[:, 0], policy.others(feat)).mean().backward()
        optimizer.step()
    critic.follow(1.0)
    expected = 10 * policy.sample(torch.ones(100_000, 3)).mean().item()
    action = torch.linspace(-1, 1, 256).unsqueeze(-1)
    value, q = policy.value_and_q(feat, action, critic)
    assert value.mean().item() == pytest.approx(expected, abs=0.7)
    assert (q - 10 * action[:, 0]).abs().mean().item() < 1.5


def test_without_a_limit_the_better_of_two_good_actions_is_taken() -> None:
    without = make_config("debug", {"improvement": {"weight_limit": None}})
    advantage, log_prior = torch.tensor([-1.0, 1.0, 2.0]), torch.zeros(3)
    limits = [c.improvement.weight_limit for c in (make_config("debug"), online_config(without))]
    assert limits == [100.0, None]
    tied, free = (
        improved_policy(log_prior, exponential_log_weight(advantage, 10.0, limit))
        for limit in limits
    )
    assert tied[1] == tied[2]
    assert free[2] > 0.99
