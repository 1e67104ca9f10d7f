"""Symlog, two-hot and categorical mathematics."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from vlsafe_agents.common.distributions import (
    categorical_kl,
    sample_index,
    sample_one_hot,
    symexp,
    symexp_bins,
    symlog,
    twohot,
    twohot_loss,
    twohot_mean,
    unimix_probs,
)

VALUES = [-1e5, -37.2, -1.0, -1e-3, 0.0, 1e-4, 0.5, 1.0, 10.0, 123.4, 9e4]


def test_symexp_inverts_symlog() -> None:
    x = torch.tensor([*VALUES, 1e8, -1e8], dtype=torch.float64)
    torch.testing.assert_close(symexp(symlog(x)), x)
    assert symlog(torch.tensor(math.e - 1)).item() == pytest.approx(1.0)


def slow_twohot(x: float, bins: list[float]) -> list[float]:
    x = min(max(x, bins[0]), bins[-1])
    weights = [0.0] * len(bins)
    for i in range(len(bins) - 1):
        if bins[i] <= x <= bins[i + 1]:
            share = (x - bins[i]) / (bins[i + 1] - bins[i])
            weights[i], weights[i + 1] = 1 - share, share
            break
    return weights


@pytest.mark.parametrize(("count", "limit"), [(255, 20.0), (63, 10.0), (15, 4.0)])
def test_twohot_equals_a_slow_reference_and_has_the_value_as_its_mean(
    count: int, limit: float
) -> None:
    bins = symexp_bins(count, limit).double()
    x = torch.tensor(VALUES, dtype=torch.float64)
    weights = twohot(x, bins)
    for i, value in enumerate(VALUES):
        slow = torch.tensor(slow_twohot(value, bins.tolist()), dtype=torch.float64)
        torch.testing.assert_close((weights[i] * bins).sum(), (slow * bins).sum())
        torch.testing.assert_close(weights[i].sum(), slow.sum())
        assert (weights[i] > 0).sum() <= 2
    clipped = x.clamp(bins[0], bins[-1])
    torch.testing.assert_close(weights @ bins, clipped)


@pytest.mark.parametrize(("count", "limit"), [(255, 20.0), (63, 10.0), (3, 1.0)])
def test_zero_logits_predict_exactly_zero(count: int, limit: float) -> None:
    assert twohot_mean(torch.zeros(4, count), symexp_bins(count, limit)).tolist() == [0.0] * 4


@pytest.mark.parametrize("value", [-5e4, -3.0, 0.0, 0.7, 1e5])
def test_minimising_the_twohot_loss_predicts_the_target(value: float) -> None:
    bins = symexp_bins(63, 12.0)
    probs = twohot(torch.tensor(value), bins)
    logits = (probs + 1e-20).log()  # the minimum of the cross-entropy
    assert twohot_mean(logits, bins).item() == pytest.approx(value, rel=1e-4, abs=1e-6)
    logits = logits.clamp_min(-10).requires_grad_()
    loss = twohot_loss(logits, torch.tensor(value), bins)
    expected = F.softmax(logits, -1) - probs  # gradient of a cross-entropy
    (gradient,) = torch.autograd.grad(loss, [logits])
    torch.testing.assert_close(gradient, expected)


def test_twohot_mean_equals_the_plain_sum() -> None:
    bins = symexp_bins(31, 5.0).double()
    logits = torch.randn(10, 31, dtype=torch.float64)
    torch.testing.assert_close(twohot_mean(logits, bins), F.softmax(logits, -1) @ bins)


@pytest.mark.parametrize("count", [0, 1, 2, 64])
def test_an_even_number_of_bins_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"got {count}"):
        symexp_bins(count)


def test_unimix_keeps_every_probability_above_its_share() -> None:
    probs = unimix_probs(torch.tensor([[100.0, 0.0, 0.0, 0.0]]), 0.01)
    torch.testing.assert_close(probs, torch.tensor([[0.9925, 0.0025, 0.0025, 0.0025]]))


def test_samples_follow_the_mixed_probabilities() -> None:
    torch.manual_seed(0)
    logits = torch.log(torch.tensor([0.7, 0.2, 0.1, 1e-9])).expand(20_000, 4)
    sample = sample_one_hot(logits, torch.rand(20_000, 1), unimix=0.04)
    assert (sample.sum(-1) == 1).all()
    wanted = torch.tensor([0.682, 0.202, 0.106, 0.01])
    torch.testing.assert_close(sample.mean(0), wanted, atol=0.01, rtol=0)


def test_extreme_random_numbers_give_the_first_and_the_last_class() -> None:
    probs = torch.tensor([[0.25, 0.25, 0.5], [0.25, 0.25, 0.5]])
    index = sample_index(probs, torch.tensor([[0.0], [1.0 - 2**-24]]))
    assert index.flatten().tolist() == [0, 2]


def test_straight_through_gradient_is_that_of_the_mixed_probabilities() -> None:
    logits = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(5, 4, dtype=torch.float64)
    sample = sample_one_hot(logits, torch.rand(5, 1), unimix=0.1)
    (straight,) = torch.autograd.grad((sample * weight).sum(), [logits])
    (expected,) = torch.autograd.grad((unimix_probs(logits, 0.1) * weight).sum(), [logits])
    torch.testing.assert_close(straight, expected)


def test_kl_equals_torch_and_vanishes_between_equals() -> None:
    p, q = torch.randn(2, 3, 4, 5).unbind()
    reference = torch.distributions.kl_divergence(
        torch.distributions.Categorical(probs=unimix_probs(p, 0.01)),
        torch.distributions.Categorical(probs=unimix_probs(q, 0.01)),
    ).sum(-1)
    torch.testing.assert_close(categorical_kl(p, q, 0.01), reference)
    assert categorical_kl(p, p, 0.01).abs().max() < 1e-6
