"""A normal variable clipped to the bounds of an action: closed forms, and samples."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from vlsafe_agents.common.clipped_normal import (
    clipped_normal_entropy,
    clipped_normal_log_mass,
    clipped_normal_log_prob,
    clipped_normal_sample,
    clipped_normal_support,
)

CLIPPED = [(0.0, 1.0), (0.3, 0.05), (0.98, 0.1), (-1.4, 0.3), (1.5, 0.05)]


def slow_cdf(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2))


@pytest.mark.parametrize(("mean", "std"), CLIPPED)
def test_a_clipped_normal_has_density_inside_and_mass_on_its_bounds(
    mean: float, std: float
) -> None:
    """Together they are 1; the masses are the tails of the normal distribution."""
    x = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 50_000 - 1
    mean_, std_ = torch.tensor(mean, dtype=torch.float64), torch.tensor(std, dtype=torch.float64)
    inside = clipped_normal_log_prob(x, mean_, std_).exp().sum().item() / 50_000
    low, high = clipped_normal_log_prob(torch.tensor([-1.0, 1.0]).double(), mean_, std_).exp()
    assert low.item() == pytest.approx(slow_cdf((-1 - mean) / std))
    assert high.item() == pytest.approx(slow_cdf((mean - 1) / std))
    assert inside + low.item() + high.item() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize(("mean", "std"), CLIPPED)
def test_entropy_of_a_clipped_normal_is_minus_its_mean_log_probability(
    mean: float, std: float
) -> None:
    torch.manual_seed(0)
    mean_, std_ = torch.tensor(mean), torch.tensor(std)
    x = (mean_ + std_ * torch.randn(400_000)).clamp(-1, 1)
    expected = -clipped_normal_log_prob(x, mean_, std_).mean()
    torch.testing.assert_close(clipped_normal_entropy(mean_, std_), expected, atol=0.01, rtol=0)


def test_log_probability_on_a_bound_is_finite_with_a_gradient_far_from_the_mean() -> None:
    mean, std = torch.tensor(-1.5, requires_grad=True), torch.tensor(0.05, requires_grad=True)
    found = clipped_normal_log_prob(torch.tensor(1.0), mean, std)
    found.backward()
    assert mean.grad is not None
    assert std.grad is not None
    assert all(x.isfinite() for x in (found, mean.grad, std.grad))
    assert mean.grad > 0  # towards the bound


@pytest.mark.parametrize(("mean", "std"), CLIPPED)
@pytest.mark.parametrize("threshold", [0.01, 0.1, 0.9])
def test_support_of_a_clipped_normal_is_where_the_density_is_a_share_of_the_mode(
    mean: float, std: float, threshold: float
) -> None:
    low, high = clipped_normal_support(torch.tensor(mean), torch.tensor(std), threshold)
    grid = np.linspace(-1, 1, 200_001)
    density = -0.5 * ((grid - mean) / std) ** 2
    kept = grid[density >= density.max() + math.log(threshold)]
    assert low.item() == pytest.approx(kept[0], abs=2e-5)
    assert high.item() == pytest.approx(kept[-1], abs=2e-5)


def test_a_threshold_of_zero_keeps_all_and_of_one_keeps_some() -> None:
    mean, std = torch.tensor([0.0, 1.2]), torch.tensor([0.1, 0.1])
    low, high = clipped_normal_support(mean, std, 0.0)
    assert low.tolist() == [-1, -1]
    assert high.tolist() == [1, 1]
    low, high = clipped_normal_support(mean, std, 1.0)
    assert (high > low).all()
    log_mass = clipped_normal_log_mass(low, high, mean, std)
    assert log_mass.isfinite().all()


@pytest.mark.parametrize(("mean", "std"), CLIPPED)
def test_samples_within_the_support_are_those_of_the_clipped_normal_that_fall_in_it(
    mean: float, std: float
) -> None:
    torch.manual_seed(0)
    mean_, std_ = (torch.full((200_000,), x) for x in (mean, std))
    low, high = clipped_normal_support(mean_, std_, 0.1)
    found = clipped_normal_sample(mean_, std_, low, high)
    assert ((found >= low) & (found <= high)).all()
    free = (mean_ + std_ * torch.randn_like(mean_)).clamp(-1, 1)
    kept = free[(free >= low) & (free <= high)]
    mass = clipped_normal_log_mass(low[0], high[0], mean_[0], std_[0]).exp().item()
    assert mass == pytest.approx(len(kept) / len(free), abs=5e-3)
    assert found.mean().item() == pytest.approx(kept.mean().item(), abs=5e-3)
    assert found.std().item() == pytest.approx(kept.std().item(), abs=5e-3)
    on_bound = (kept.abs() == 1).float().mean().item()
    assert (found.abs() == 1).float().mean().item() == pytest.approx(on_bound, abs=5e-3)
