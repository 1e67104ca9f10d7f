"""Symlog, two-hot and categorical mathematics as pure functions of tensors.

Sources: DreamerV3 (Hafner et al. 2023, arXiv 2301.04104), "Symlog predictions" and "Two-hot
loss"; the 2024 code release for bins that are spaced by symexp.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def symlog(x: Tensor) -> Tensor:
    """``sign(x) * ln(1 + |x|)``: identity near 0, logarithm far from it."""
    return torch.sign(x) * torch.log1p(torch.abs(x))


def symexp(x: Tensor) -> Tensor:
    """Inverse of :func:`symlog`."""
    return torch.sign(x) * torch.expm1(torch.abs(x))


def symexp_bins(count: int, limit: float = 20.0) -> Tensor:
    """Bin positions ``(count,)``, symmetric about 0, spaced evenly in symlog between +-``limit``.

    The negative half is the mirror of the positive one, so the positions cancel exactly.

    Raises:
        ValueError: if ``count`` is not odd and at least 3 (0 must be a bin).
    """
    if count < 3 or count % 2 == 0:
        raise ValueError(f"bins must be an odd number of at least 3 so that 0 is one; got {count}")
    positive = symexp(torch.linspace(0.0, limit, count // 2 + 1))[1:]
    return torch.cat([-positive.flip(0), torch.zeros(1), positive])


def twohot(x: Tensor, bins: Tensor) -> Tensor:
    """Weights ``(..., K)`` on the two bins around ``x`` ``(...)``, whose weighted mean is ``x``.

    Distances are measured in raw space, not in symlog space.  Values beyond the last bin are
    clipped to it.
    """
    x = x.clamp(bins[0], bins[-1]).contiguous()
    above = torch.searchsorted(bins, x).clamp(1, len(bins) - 1)
    low, high = bins[above - 1], bins[above]
    upper = ((x - low) / (high - low)).unsqueeze(-1)  # (..., 1)
    weights = x.new_zeros((*x.shape, len(bins)))
    weights.scatter_(-1, (above - 1).unsqueeze(-1), 1 - upper)
    weights.scatter_(-1, above.unsqueeze(-1), upper)
    return weights


def twohot_mean(logits: Tensor, bins: Tensor) -> Tensor:
    """Expected value ``(...)`` of the categorical ``logits (..., K)`` over symmetric ``bins``.

    Probabilities of mirrored bins are subtracted before they are multiplied: equal logits give
    exactly 0, where a plain sum leaves rounding errors as large as the largest bins allow.
    """
    probs = F.softmax(logits, -1)
    half = bins.shape[0] // 2
    difference = probs[..., half + 1 :] - probs[..., :half].flip(-1)  # (..., K // 2)
    return (difference * bins[half + 1 :]).sum(-1)


def twohot_loss(logits: Tensor, target: Tensor, bins: Tensor) -> Tensor:
    """Cross-entropy ``(...)`` of ``logits (..., K)`` to the two-hot code of ``target (...)``."""
    return -(twohot(target.detach(), bins) * F.log_softmax(logits, -1)).sum(-1)


def unimix_probs(logits: Tensor, unimix: float) -> Tensor:
    """Softmax over the last axis, mixed with a share ``unimix`` of the uniform distribution."""
    probs = F.softmax(logits, -1)
    return (1 - unimix) * probs + unimix / logits.shape[-1] if unimix else probs


def sample_index(probs: Tensor, uniform: Tensor | None) -> Tensor:
    """Class ``(..., 1)`` drawn from ``probs (..., K)`` by inverting the cumulative distribution.

    Args:
        uniform: numbers ``(..., 1)`` from ``torch.rand``; None takes the most probable class. One
            number a variable is several times cheaper than the K that Gumbel noise needs.
    """
    if uniform is None:
        return probs.argmax(-1, keepdim=True)
    return (probs.cumsum(-1)[..., :-1] < uniform).sum(-1, keepdim=True)


class _StraightThrough(torch.autograd.Function):
    """One-hot sample forwards, gradient of the mixed probabilities backwards (one graph node)."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, uniform: Tensor | None, unimix: float) -> Tensor:
        probs = F.softmax(logits, -1)
        ctx.save_for_backward(probs)
        ctx.unimix = unimix
        index = sample_index(probs * (1 - unimix) + unimix / logits.shape[-1], uniform)
        return torch.zeros_like(logits).scatter_(-1, index, 1.0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (probs,) = ctx.saved_tensors
        grad = torch.ops.aten._softmax_backward_data(grads[0], probs, -1, probs.dtype)
        return grad * (1 - ctx.unimix), None, None


def sample_one_hot(logits: Tensor, uniform: Tensor | None, unimix: float = 0.0) -> Tensor:
    """One-hot sample ``(..., K)`` with straight-through gradient (Bengio et al. 2013).

    Args:
        uniform: ``torch.rand`` of the logits' shape with a last axis of 1; None takes the mode.
        unimix: share of the uniform distribution mixed into the probabilities.
    """
    sample: Tensor = _StraightThrough.apply(logits, uniform, unimix)
    return sample


def categorical_kl(logits_p: Tensor, logits_q: Tensor, unimix: float = 0.0) -> Tensor:
    """``KL(p || q)`` over the last axis, summed over the last but one: ``(..., S, K) -> (...)``."""
    p, q = unimix_probs(logits_p, unimix), unimix_probs(logits_q, unimix)
    return (p * (p.log() - q.log())).sum((-2, -1))
