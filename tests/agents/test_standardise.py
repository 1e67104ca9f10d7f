"""Scales of observations: statistics of what was seen in training, frozen after the warm-up."""

from __future__ import annotations

import torch

from vlsafe_agents.vlsafe.networks import Standardise, Symlog


def test_batches_of_training_data_get_mean_0_and_variance_1() -> None:
    torch.manual_seed(0)
    scale = Standardise(2)
    data = torch.randn(200, 64, 2) * torch.tensor([0.02, 3.0]) + torch.tensor([0.9, -5.0])
    for batch in data[: Standardise.WARMUP]:
        scale.learn(batch)
    scaled = scale(data)
    torch.testing.assert_close(scaled.mean((0, 1)), torch.zeros(2), atol=0.05, rtol=0)
    torch.testing.assert_close(scaled.std((0, 1)), torch.ones(2), atol=0.05, rtol=0)
    torch.testing.assert_close(scale.inverse(scaled), data, atol=1e-4, rtol=1e-4)


def test_statistics_stand_still_after_the_warm_up_and_when_inputs_are_scaled() -> None:
    scale = Standardise(1).train()
    scale(torch.full((4, 1), 7.0))
    assert scale.mean.item() == 0.0
    for _ in range(Standardise.WARMUP):
        scale.learn(torch.tensor([[1.0], [3.0]]))
    assert scale.mean.item() == 2.0
    scale.learn(torch.full((4, 1), 100.0))
    assert scale.mean.item() == 2.0


def test_constant_features_are_not_blown_up_and_outliers_are_clipped() -> None:
    scale = Standardise(1, least_deviation=0.1)
    for _ in range(Standardise.WARMUP):
        scale.learn(torch.ones(8, 1))
    assert abs(scale(torch.tensor([[1.05]])).item() - 0.5) < 1e-4
    assert scale(torch.tensor([[1e6]])).item() == Standardise.LIMIT


def test_symlog_is_undone_by_its_inverse() -> None:
    x = torch.linspace(-50, 50, 11)
    torch.testing.assert_close(Symlog().inverse(Symlog()(x)), x)
