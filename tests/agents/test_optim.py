"""LaProp with adaptive clipping against a plain, one-number-at-a-time reference."""

from __future__ import annotations

import copy
import subprocess
import sys

import pytest
import torch
from torch import Tensor

from vlsafe_agents.common.optim import LaProp

SETTINGS = {"lr": 0.05, "betas": (0.8, 0.95), "clip": 0.3, "clip_floor": 1e-3, "warmup": 4}


def slow_laprop(start: Tensor, gradients: list[Tensor]) -> Tensor:
    """The update from its definition, in Python numbers."""
    (b1, b2), size = SETTINGS["betas"], start.numel()  # type: ignore[misc]
    x = start.flatten().tolist()
    square, momentum = [0.0] * size, [0.0] * size
    for n, gradient in enumerate(gradients, 1):
        g = gradient.flatten().tolist()
        g_norm = sum(v * v for v in g) ** 0.5
        limit = 0.3 * max(sum(v * v for v in x) ** 0.5, 1e-3)
        g = [v * min(1.0, limit / g_norm) for v in g]
        lr = 0.05 * min(1.0, n / 4)
        for i in range(size):
            square[i] = b2 * square[i] + (1 - b2) * g[i] ** 2
            root = (square[i] / (1 - b2**n)) ** 0.5
            momentum[i] = b1 * momentum[i] + (1 - b1) * g[i] / root
            x[i] -= lr * momentum[i] / (1 - b1**n)
    return torch.tensor(x, dtype=start.dtype).view_as(start)


def gradients(shape: tuple[int, ...], count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [
        torch.randn(shape, generator=generator, dtype=torch.float64) * 10 ** (n % 3 - 1)
        for n in range(count)
    ]


def test_updates_equal_the_reference_with_large_and_small_gradients() -> None:
    start = [torch.randn(3, 2, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)]
    params = [torch.nn.Parameter(x.clone()) for x in start]
    optimiser = LaProp(params, **SETTINGS)  # type: ignore[arg-type]
    sequences = [gradients(tuple(x.shape), 8) for x in start]
    for n in range(8):
        for p, sequence in zip(params, sequences, strict=True):
            p.grad = sequence[n].clone()
        optimiser.step()
    for p, x, sequence in zip(params, start, sequences, strict=True):
        torch.testing.assert_close(p.detach(), slow_laprop(x, sequence))


def test_the_gradient_itself_is_left_alone() -> None:
    p = torch.nn.Parameter(torch.ones(3))
    p.grad = torch.full((3,), 100.0)
    LaProp([p], **SETTINGS).step()  # type: ignore[arg-type]
    assert p.grad.tolist() == [100.0] * 3


def test_a_parameter_without_gradient_stays_and_starts_later_with_its_own_count() -> None:
    late, early = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    optimiser = LaProp([late, early], lr=0.1, clip=0, warmup=0)
    early.grad = torch.ones(2)
    optimiser.step()
    assert late.tolist() == [1.0, 1.0]
    late.grad = torch.ones(2)
    optimiser.step()
    # Bias correction makes the first step of a constant gradient as long as any other.
    torch.testing.assert_close(late.detach(), torch.full((2,), 0.9))
    torch.testing.assert_close(early.detach(), torch.full((2,), 0.8))


def test_the_learning_rate_rises_from_a_parameters_own_first_step() -> None:
    """An actor that rests while the world model learns has its warm-up still to come."""
    late, early = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    optimiser = LaProp([late, early], lr=0.1, clip=0, warmup=10)
    early.grad = torch.ones(2)
    for _ in range(10):
        optimiser.step()
    late.grad = torch.ones(2)
    before = early.detach().clone()
    optimiser.step()
    torch.testing.assert_close(late.detach(), torch.full((2,), 1 - 0.1 / 10))
    torch.testing.assert_close(before - early.detach(), torch.full((2,), 0.1))


def test_a_zero_gradient_gives_a_zero_step() -> None:
    p = torch.nn.Parameter(torch.ones(2))
    p.grad = torch.zeros(2)
    LaProp([p], lr=0.1).step()
    assert p.tolist() == [1.0, 1.0]


def test_training_goes_on_identically_from_a_saved_state() -> None:
    def one(p: torch.nn.Parameter, optimiser: LaProp, gradient: Tensor) -> None:
        p.grad = gradient.clone()
        optimiser.step()

    sequence = gradients((3,), 6)
    p = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    optimiser = LaProp([p], **SETTINGS)  # type: ignore[arg-type]
    for gradient in sequence[:3]:
        one(p, optimiser, gradient)
    q = torch.nn.Parameter(p.detach().clone())
    restored = LaProp([q], lr=1.0)
    restored.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    for gradient in sequence[3:]:
        one(p, optimiser, gradient)
        one(q, restored, gradient)
    assert torch.equal(p, q)


def test_it_minimises_a_badly_scaled_quadratic() -> None:
    scale = torch.tensor([1e3, 1.0, 1e-3])
    p = torch.nn.Parameter(torch.ones(3))
    optimiser = LaProp([p], lr=0.02, warmup=0)
    for _ in range(300):
        optimiser.zero_grad()
        (scale * p.square()).sum().backward()
        optimiser.step()
    assert p.abs().max() < 0.05


@pytest.mark.parametrize("bad", [{"lr": -1.0}, {"warmup": -1}, {"betas": (1.0, 0.9)}])
def test_impossible_settings_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="got"):
        LaProp([torch.nn.Parameter(torch.ones(1))], **bad)  # type: ignore[arg-type]


def test_making_and_using_an_optimiser_does_not_import_the_compiler() -> None:
    """It takes longer than all else at the start of a process that loads an agent."""
    code = """
import sys, torch
from vlsafe_agents.common.optim import LaProp
weight = torch.ones(3, requires_grad=True)
one, other = LaProp([weight]), LaProp([weight])
one.zero_grad()
weight.sum().backward()
one.step()
other.load_state_dict(one.state_dict())
assert "torch._dynamo" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
