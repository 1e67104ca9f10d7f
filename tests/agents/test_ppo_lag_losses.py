"""PPO-Lag's losses against sums written out action by action."""

import math

import pytest
import torch as th

from vlsafe_agents.ppo_lag.losses import (
    clipped_policy_loss,
    clipped_share,
    kl_estimate,
    value_loss,
)

ADVANTAGES = [1.5, -0.5, 2.0, -1.0]
LOG_RATIO = [0.05, -0.6, 0.7, 0.9]


def test_the_policy_loss_is_the_mean_of_the_lesser_objective():
    each = [
        min(a * math.exp(x), a * min(max(math.exp(x), 0.8), 1.2))
        for a, x in zip(ADVANTAGES, LOG_RATIO, strict=True)
    ]
    loss = clipped_policy_loss(th.tensor(ADVANTAGES), th.tensor(LOG_RATIO), 0.2)
    assert loss.item() == pytest.approx(-sum(each) / 4)


def test_an_advantage_that_is_clipped_gives_no_gradient():
    log_ratio = th.tensor(LOG_RATIO, requires_grad=True)
    clipped_policy_loss(th.tensor(ADVANTAGES), log_ratio, 0.2).backward()
    assert (log_ratio.grad != 0).tolist() == [True, False, False, True]


@pytest.mark.parametrize(
    ("clip_range", "expected"), [(None, (4.0 + 0.25) / 2), (0.5, (1.0 + 0.25) / 2)]
)
def test_the_value_loss_clips_how_far_a_prediction_moves(clip_range, expected):
    values, old = th.tensor([[2.0], [0.5]]), th.tensor([0.5, 0.0])
    loss = value_loss(values, old, th.tensor([0.0, 0.0]), clip_range)
    assert loss.item() == pytest.approx(expected)


def test_divergence_and_clipped_share():
    expected = sum(math.exp(x) - 1 - x for x in LOG_RATIO) / 4
    assert kl_estimate(th.tensor(LOG_RATIO)) == pytest.approx(expected)
    assert clipped_share(th.tensor(LOG_RATIO), 0.2) == 0.75
