"""Normalisation and SiLU as one node of the graph, with gradients written out.

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
    x = x.float()  # half precision is too coarse for means
    if not torch.is_grad_enabled():
        return F.silu(F.rms_norm(x, weight.shape, weight, eps), inplace=True)
    out: Tensor = _NormSiLU.apply(x, weight, eps)
    return out
