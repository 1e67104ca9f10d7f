"""Chains of elementwise operations as one node of the graph, with gradients written out.

On a CPU each pass over a tensor costs as much as a small matrix product, and automatic
differentiation takes two to three passes backwards for each one forwards.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


class _NormSiLU(torch.autograd.Function):
    """``silu(w * y)`` with ``y = x r``, ``r = (mean(x**2) + eps)**-0.5``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        inverse = norm.square_().mul_(1.0 / x.shape[-1]).add_(eps).rsqrt_()
        scaled = x * inverse
        weighted = scaled * weight
        ctx.save_for_backward(scaled, inverse, weighted, weight)
        return F.silu(weighted)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        scaled, inverse, weighted, weight = ctx.saved_tensors
        grad = torch.ops.aten.silu_backward(grads[0], weighted)  # of w * y
        product = (grad * scaled).flatten(0, -2)  # (N, D)
        # d/dx = r (w g - y mean(w g y)); the mean is a matrix-vector product
        mean = torch.mv(product, weight).view_as(inverse).mul_(-1.0 / scaled.shape[-1])
        grad = torch.addcmul(grad.mul_(weight), scaled, mean).mul_(inverse)
        return grad, product.sum(0), None


def norm_silu(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Root-mean-square normalisation over the last axis, times ``weight``, then SiLU.

    Args:
        x: ``(..., D)`` with at least two axes.
        weight: ``(D,)``.
    """
    out: Tensor = _NormSiLU.apply(x.float(), weight, eps)  # half precision is too coarse for means
    return out


class _GatedUpdate(torch.autograd.Function):
    """``h + u (tanh(s r) - h)`` of gates ``r``, ``u`` and candidate ``s``, by blocks."""

    @staticmethod
    def forward(ctx: Any, gates: Tensor, deter: Tensor) -> Tensor:
        blocks = len(gates)
        before = deter.unflatten(-1, (blocks, -1)).transpose(0, 1)  # (G, N, D / G)
        reset, update, proposed = gates.chunk(3, -1)
        reset = torch.sigmoid(reset)
        candidate = torch.tanh(reset * proposed)
        update = torch.sigmoid(update - 1)  # -1: remember by default
        ctx.save_for_backward(reset, update, proposed, candidate, before)
        return torch.lerp(before, candidate, update).transpose(0, 1).flatten(1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        reset, update, proposed, candidate, before = ctx.saved_tensors
        aten = torch.ops.aten
        grad = grads[0].unflatten(-1, (len(reset), -1)).transpose(0, 1)  # (G, N, D / G)
        moved = grad * update  # towards the candidate
        inner = aten.tanh_backward(moved, candidate)
        parts = (
            aten.sigmoid_backward(inner * proposed, reset),
            aten.sigmoid_backward(grad * (candidate - before), update),
            inner * reset,
        )
        return torch.cat(parts, -1), (grad - moved).transpose(0, 1).flatten(1)


def gated_update(gates: Tensor, deter: Tensor) -> Tensor:
    """The last step of a block-diagonal gated recurrent unit.

    Args:
        gates: ``(G, N, 3 D / G)``: of each block the reset gate, the update gate and the candidate,
            all before their nonlinearities.
        deter: ``(N, D)``, the state before.

    Returns:
        ``(N, D)``.
    """
    out: Tensor = _GatedUpdate.apply(gates.to(deter.dtype), deter)
    return out
