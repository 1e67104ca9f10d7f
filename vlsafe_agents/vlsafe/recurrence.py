"""The RSSM's time loop with a backward pass written out.

Small networks spend more time on launching operations and on autograd's bookkeeping than on
arithmetic, and autograd adds up every weight's gradient once a step.  Here a step is about forty
plain operations, and each weight's gradient is one matrix product over all steps at the end.
:meth:`RSSM.obs_step` is the same step in ordinary PyTorch; a test holds values and gradients of
the two together.

Symbols: T time, B batch, D deterministic state, G blocks, d = D / G, H hidden, L = S * K latents.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from vlsafe_agents.common.distributions import sample_index, softmax_backward


class Weights(NamedTuple):
    """Parameters that are used inside the loop; ``(out, in)`` as in ``nn.Linear``."""

    deter_in: Tensor  # (H, D)
    deter_in_bias: Tensor  # (H,)
    deter_in_norm: Tensor  # (H,)
    stoch_in: Tensor  # (H, L)
    stoch_in_bias: Tensor  # (H,)
    stoch_in_norm: Tensor  # (H,)
    hidden_core: Tensor  # (D, 2 H)
    deter_core: Tensor  # (G, d, d), in by out
    core_norm: Tensor  # (D,)
    gates: Tensor  # (G, d, 3 d), in by out; reset, update, candidate
    gates_bias: Tensor  # (3 D,), block after block
    deter_posterior: Tensor  # (H, D)
    posterior_norm: Tensor  # (H,)
    logits: Tensor  # (L, H)
    logits_bias: Tensor  # (L,)


class Sizes(NamedTuple):
    """Numbers that the loop needs."""

    stoch: int  # S
    classes: int  # K
    unimix: float
    eps: float  # of RMSNorm


def observe_loop(
    driven: Tensor,
    seen: Tensor,
    keep: Tensor,
    uniform: Tensor,
    start: tuple[Tensor, Tensor],
    weights: Weights,
    sizes: Sizes,
) -> tuple[Tensor, Tensor, Tensor]:
    """Posterior states of T steps, differentiable in everything but ``keep`` and ``uniform``.

    Args:
        driven: ``(T, B, D)``, the action's part of the core's first layer, biases included.
        seen: ``(T, B, H)``, the embedding's part of the posterior's first layer.
        keep: ``(T, B, 1)``, 0 where an episode begins, else 1.
        uniform: ``(T, B, S, 1)`` random numbers in [0, 1).
        start: deterministic state ``(B, D)`` and latents ``(B, L)`` before the first step.

    Returns:
        deterministic states ``(T, B, D)``, latents ``(T, B, L)``, logits ``(T, B, L)``.
    """
    out: tuple[Tensor, Tensor, Tensor] = _ObserveLoop.apply(
        sizes, keep, uniform, driven, seen, *start, *weights
    )
    return out


class _Norm(NamedTuple):
    """RMSNorm and SiLU of one layer at all steps, with what the backward pass needs."""

    normal: Tensor  # x / rms(x)
    inverse: Tensor  # 1 / rms(x), last axis 1
    scaled: Tensor  # normal * weight, the input of SiLU
    out: Tensor

    @staticmethod
    def empty(like: Tensor, *shape: int) -> _Norm:
        full = like.new_empty(shape)
        inverse = like.new_empty((*shape[:-1], 1))
        return _Norm(full, inverse, torch.empty_like(full), torch.empty_like(full))

    def forward(self, t: int, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        inverse = torch.linalg.vector_norm(x, dim=-1, keepdim=True, out=self.inverse[t])
        inverse.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        torch.mul(x, inverse, out=self.normal[t])
        torch.mul(self.normal[t], weight, out=self.scaled[t])
        return torch.ops.aten.silu.out(self.scaled[t], out=self.out[t])

    def backward(self, t: int, grad: Tensor, weight: Tensor) -> Tensor:
        """Gradient for x; that of ``scaled`` replaces ``scaled[t]``, see :meth:`weight_grad`."""
        normal = self.normal[t]
        grad = torch.ops.aten.silu_backward.grad_input(
            grad, self.scaled[t], grad_input=self.scaled[t]
        )
        grad = grad * weight
        inner = torch.linalg.vecdot(grad, normal).unsqueeze(-1).div_(normal.shape[-1])
        return torch.addcmul(grad, normal, inner, value=-1).mul_(self.inverse[t])

    def weight_grad(self) -> Tensor:
        return (self.scaled * self.normal).flatten(0, -2).sum(0)


class _Cache(NamedTuple):
    """What the forward pass keeps, all steps."""

    deter: Tensor  # (T, B, D), after resets
    stoch: Tensor  # (T, B, L), after resets
    deter_in: _Norm  # (T, B, H)
    stoch_in: _Norm  # (T, B, H)
    core: _Norm  # (T, B, D)
    gates: Tensor  # (T, G, B, 3 d), reset and update after sigmoid
    candidate: Tensor  # (T, G, B, d), after tanh
    posterior: _Norm  # (T, B, H)
    probs: Tensor  # (T, B, S, K)


def _blocks(x: Tensor, count: int) -> Tensor:
    """View ``(B, D)`` as ``(G, B, d)``."""
    return x.view(len(x), count, -1).transpose(0, 1)


class _ObserveLoop(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        sizes: Sizes,
        keep: Tensor,
        uniform: Tensor,
        driven: Tensor,
        seen: Tensor,
        deter: Tensor,
        stoch: Tensor,
        *parameters: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        w = Weights(*parameters)
        (time, batch, size), hidden = driven.shape, seen.shape[-1]
        count, width, latent = len(w.gates), size // len(w.gates), len(w.logits)
        new = driven.new_empty
        cache = _Cache(
            deter=new(time, batch, size),
            stoch=new(time, batch, latent),
            deter_in=_Norm.empty(driven, time, batch, hidden),
            stoch_in=_Norm.empty(driven, time, batch, hidden),
            core=_Norm.empty(driven, time, batch, size),
            gates=new(time, count, batch, 3 * width),
            candidate=new(time, count, batch, width),
            posterior=_Norm.empty(driven, time, batch, hidden),
            probs=new(time, batch, sizes.stoch, sizes.classes),
        )
        deters = new(time, batch, size)
        stochs = driven.new_zeros(time, batch, latent)
        logits = new(time, batch, latent)
        for t in range(time):
            torch.mul(deter, keep[t], out=cache.deter[t])
            torch.mul(stoch, keep[t], out=cache.stoch[t])
            deter = _core(t, cache, driven[t], w, sizes.eps, deters[t])
            x = torch.addmm(seen[t], deter, w.deter_posterior.t())
            x = cache.posterior.forward(t, x, w.posterior_norm, sizes.eps)
            torch.addmm(w.logits_bias, x, w.logits.t(), out=logits[t])
            probs = torch.softmax(logits[t].view_as(cache.probs[t]), -1, out=cache.probs[t])
            mixed = probs * (1 - sizes.unimix) + sizes.unimix / sizes.classes
            stoch = stochs[t]
            stoch.view_as(probs).scatter_(-1, sample_index(mixed, uniform[t]), 1.0)
        ctx.sizes, ctx.cache, ctx.weights, ctx.keep = sizes, cache, w, keep
        ctx.deters = deters.detach()
        return deters, stochs, logits

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        w, cache, keep = ctx.weights, ctx.cache, ctx.keep
        d_deters, d_stochs, d_logits = (g.contiguous() for g in grads)
        d_logits = d_logits.clone()  # completed below by the part that comes through the samples
        d_driven = torch.empty_like(cache.deter)
        d_seen = torch.empty_like(cache.posterior.out)
        d_gates = torch.empty_like(cache.gates)
        d_inputs = (torch.empty_like(d_seen), torch.empty_like(d_seen))  # of deter_in, stoch_in
        d_deter, d_stoch = torch.zeros_like(d_deters[0]), torch.zeros_like(d_stochs[0])
        for t in reversed(range(len(keep))):
            d_stoch = (d_stoch + d_stochs[t]).view_as(cache.probs[t])
            sampled = softmax_backward(d_stoch, cache.probs[t]).flatten(1)
            d_logits[t].add_(sampled, alpha=1 - ctx.sizes.unimix)
            d_x = cache.posterior.backward(t, d_logits[t] @ w.logits, w.posterior_norm)
            d_seen[t] = d_x
            d_deter = (d_deter + d_deters[t]).addmm_(d_x, w.deter_posterior)
            d_deter, d_stoch = _core_backward(
                t, cache, d_deter, w, (d_driven[t], d_gates[t], d_inputs[0][t], d_inputs[1][t])
            )
            d_deter, d_stoch = d_deter.mul_(keep[t]), d_stoch.mul_(keep[t])
        d_weights = _weight_grads(ctx.deters, cache, d_logits, d_driven, d_seen, d_gates, d_inputs)
        return None, None, None, d_driven, d_seen, d_deter, d_stoch, *d_weights


def _core(t: int, cache: _Cache, driven: Tensor, w: Weights, eps: float, out: Tensor) -> Tensor:
    """The gated recurrent unit, written to ``out (B, D)``."""
    deter, count, hidden = cache.deter[t], len(w.gates), len(w.deter_in)
    x = torch.addmm(w.deter_in_bias, deter, w.deter_in.t())
    from_deter = cache.deter_in.forward(t, x, w.deter_in_norm, eps)
    x = torch.addmm(w.stoch_in_bias, cache.stoch[t], w.stoch_in.t())
    from_stoch = cache.stoch_in.forward(t, x, w.stoch_in_norm, eps)
    x = torch.addmm(driven, from_deter, w.hidden_core[:, :hidden].t())
    x.addmm_(from_stoch, w.hidden_core[:, hidden:].t())
    old = _blocks(deter, count)
    _blocks(x, count).add_(torch.bmm(old, w.deter_core))
    x = cache.core.forward(t, x, w.core_norm, eps)
    gates, width = cache.gates[t], w.deter_core.shape[-1]
    torch.baddbmm(w.gates_bias.view(count, 1, -1), _blocks(x, count), w.gates, out=gates)
    gates[..., width : 2 * width].sub_(1)  # remember by default
    gates[..., : 2 * width].sigmoid_()
    reset, update, candidate = gates.split(width, -1)
    torch.mul(reset, candidate, out=cache.candidate[t]).tanh_()
    torch.lerp(old, cache.candidate[t], update, out=_blocks(out, count))
    return out


def _core_backward(
    t: int,
    cache: _Cache,
    grad: Tensor,
    w: Weights,
    out: tuple[Tensor, Tensor, Tensor, Tensor],
) -> tuple[Tensor, Tensor]:
    """Gradients for the previous state ``(B, D), (B, L)``; those of the layers go to ``out``."""
    count, width, hidden = len(w.gates), w.deter_core.shape[-1], len(w.deter_in)
    d_driven, d_gates, d_deter_in, d_stoch_in = out
    reset, update, pre_candidate = cache.gates[t].split(width, -1)
    candidate, old, grad = cache.candidate[t], _blocks(cache.deter[t], count), _blocks(grad, count)
    sigmoid_backward = torch.ops.aten.sigmoid_backward
    d_reset, d_update, d_candidate = d_gates.split(width, -1)
    d_product = torch.ops.aten.tanh_backward(grad * update, candidate)
    torch.mul(d_product, reset, out=d_candidate)
    d_reset.copy_(sigmoid_backward(d_product.mul_(pre_candidate), reset))
    d_update.copy_(sigmoid_backward((candidate - old).mul_(grad), update))
    d_old = torch.addcmul(grad, grad, update, value=-1)  # (G, B, d)

    d_x = torch.bmm(d_gates, w.gates.mT).transpose(0, 1).flatten(1)  # (B, D)
    d_driven.copy_(cache.core.backward(t, d_x, w.core_norm))
    d_old.baddbmm_(_blocks(d_driven, count), w.deter_core.mT)
    d_hidden = d_driven @ w.hidden_core  # (B, 2 H)
    d_deter_in.copy_(cache.deter_in.backward(t, d_hidden[:, :hidden], w.deter_in_norm))
    d_stoch_in.copy_(cache.stoch_in.backward(t, d_hidden[:, hidden:], w.stoch_in_norm))
    d_deter = d_old.transpose(0, 1).flatten(1).addmm_(d_deter_in, w.deter_in)
    return d_deter, d_stoch_in @ w.stoch_in


def _weight_grads(
    deters: Tensor,
    cache: _Cache,
    d_logits: Tensor,
    d_driven: Tensor,
    d_seen: Tensor,
    d_gates: Tensor,
    d_inputs: tuple[Tensor, Tensor],
) -> Weights:
    """Gradients of the loop's parameters: products over all T * B samples at once."""

    def product(grad: Tensor, x: Tensor) -> Tensor:
        return grad.flatten(0, 1).t() @ x.flatten(0, 1)

    def block_product(x: Tensor, grad: Tensor) -> Tensor:  # (T, B, D), (T, G, B, k) -> (G, d, k)
        count = grad.shape[1]
        x = x.flatten(0, 1).view(-1, count, x.shape[-1] // count).permute(1, 2, 0)
        return torch.bmm(x, grad.transpose(0, 1).flatten(1, 2))

    count = d_gates.shape[1]
    driven_blocks = d_driven.unflatten(-1, (count, -1)).transpose(1, 2)  # (T, G, B, d)
    hidden = torch.cat([cache.deter_in.out, cache.stoch_in.out], -1)
    return Weights(
        deter_in=product(d_inputs[0], cache.deter),
        deter_in_bias=d_inputs[0].sum((0, 1)),
        deter_in_norm=cache.deter_in.weight_grad(),
        stoch_in=product(d_inputs[1], cache.stoch),
        stoch_in_bias=d_inputs[1].sum((0, 1)),
        stoch_in_norm=cache.stoch_in.weight_grad(),
        hidden_core=product(d_driven, hidden),
        deter_core=block_product(cache.deter, driven_blocks),
        core_norm=cache.core.weight_grad(),
        gates=block_product(cache.core.out, d_gates),
        gates_bias=d_gates.sum((0, 2)).flatten(),
        deter_posterior=product(d_seen, deters),
        posterior_norm=cache.posterior.weight_grad(),
        logits=product(d_logits, cache.posterior.out),
        logits_bias=d_logits.sum((0, 1)),
    )
