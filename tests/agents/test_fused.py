"""The node whose gradients are written out, beside the formula that it stands for."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vlsafe_agents.vlsafe.fused import norm_silu


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, requires_grad=True)


def plain_norm_silu(x: Tensor, weight: Tensor) -> Tensor:
    return F.silu(x / (x.square().mean(-1, keepdim=True) + 1e-4).sqrt() * weight)


@pytest.mark.parametrize("shape", [(7, 12), (3, 5, 12)])
def test_normalisation_and_its_gradients_are_those_of_the_plain_formula(
    shape: tuple[int, ...],
) -> None:
    torch.manual_seed(0)
    inputs, out_grad = (numbers(*shape), numbers(12)), torch.randn(shape)
    own, plain = norm_silu(*inputs, 1e-4), plain_norm_silu(*inputs)
    torch.testing.assert_close(own, plain)
    grads = [torch.autograd.grad(out, inputs, out_grad) for out in (own, plain)]
    torch.testing.assert_close(*grads)


def test_without_gradients_it_gives_the_same() -> None:
    x, weight = numbers(5, 12), numbers(12)
    with torch.no_grad():
        own = norm_silu(x, weight, 1e-4)
    torch.testing.assert_close(own, norm_silu(x, weight, 1e-4))
    assert not own.requires_grad


def test_half_precision_is_normalised_in_single_precision() -> None:
    x, weight = torch.randn(5, 64).bfloat16(), torch.ones(64)
    out = norm_silu(x, weight, 1e-4)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, plain_norm_silu(x.float(), weight))
