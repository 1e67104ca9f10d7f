"""Nodes whose gradients are written out, beside what they stand for."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vlsafe_agents.vlsafe.fused import gated_update, norm_silu


def numbers(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, dtype=dtype, requires_grad=True)


def plain_update(gates: Tensor, deter: Tensor) -> Tensor:
    """``(1 - u) h + u tanh(s r)``, block by block."""
    blocks = []
    for block, before in zip(gates, deter.chunk(len(gates), -1), strict=True):
        reset, update, proposed = block.chunk(3, -1)
        share = torch.sigmoid(update - 1)
        blocks.append((1 - share) * before + share * torch.tanh(torch.sigmoid(reset) * proposed))
    return torch.cat(blocks, -1)


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


def test_the_gated_update_and_its_gradients_are_those_of_the_plain_formula() -> None:
    torch.manual_seed(0)
    inputs, out_grad = (numbers(4, 7, 9), numbers(7, 12)), torch.randn(7, 12)
    own, plain = gated_update(*inputs), plain_update(*inputs)
    torch.testing.assert_close(own, plain)
    grads = [torch.autograd.grad(out, inputs, out_grad) for out in (own, plain)]
    torch.testing.assert_close(*grads)


def test_gradients_are_those_of_finite_differences() -> None:
    torch.manual_seed(0)
    gates, deter = numbers(2, 3, 12, dtype=torch.double), numbers(3, 8, dtype=torch.double)
    assert torch.autograd.gradcheck(gated_update, (gates, deter))


def test_half_precision_is_normalised_in_single_precision() -> None:
    x, weight = torch.randn(5, 64).bfloat16(), torch.ones(64)
    out = norm_silu(x, weight, 1e-4)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, plain_norm_silu(x.float(), weight))
