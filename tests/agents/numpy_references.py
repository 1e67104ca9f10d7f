"""Slow ports of what the world model, the critics and the policies compute, in NumPy's float64.

Written from the papers and from what two releases do (nothing is copied):

- danijar/dreamerv3@e3f0224: ``dreamerv3/rssm.py`` (core, prior, KL), ``dreamerv3/agent.py``
  (``lambda_return``), ``embodied/jax/outs.py`` (two-hot, unimix), ``embodied/jax/heads.py`` (bins);
- NM512/r2dreamer@546e4fa: ``rssm.py`` and ``networks.py``, the same in PyTorch;
- Munos et al. 2016 (arXiv 1606.02647) for Retrace, equation 4;
- VL-SAFE (arXiv 2505.16377) for the gated weight, FISOR (arXiv 2401.10700) for its indicator,
  AWR (arXiv 1910.00177) for the exponential one.

Networks are lists of layers in the releases' sense: a layer is ``(kernel, bias, norm)`` with
``y = silu(rms(x @ kernel + bias) * norm)``, and ``norm=None`` leaves the last two out.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]
Layer = tuple[Array, Array | None, Array | None]
RMS_EPS = 1e-4  # embodied/jax/nets.py, class Norm


# --- layers ---------------------------------------------------------------------------------------


def silu(x: Array) -> Array:
    return x / (1.0 + np.exp(-x))


def sigmoid(x: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-x))


def norm_silu(x: Array, scale: Array) -> Array:
    """Root-mean-square normalisation of the last axis, then SiLU."""
    return silu(x / np.sqrt((x**2).mean(-1, keepdims=True) + RMS_EPS) * scale)


def network(x: Array, layers: list[Layer]) -> Array:
    for kernel, bias, norm in layers:
        x = x @ kernel + (0.0 if bias is None else bias)
        x = x if norm is None else norm_silu(x, norm)
    return x


def softmax(x: Array) -> Array:
    weight = np.exp(x - x.max(-1, keepdims=True))
    return weight / weight.sum(-1, keepdims=True)


# --- recurrent state-space model ------------------------------------------------------------------


class Core(NamedTuple):
    """The recurrent core with the releases' parameters (``dynin0..2``, ``dynhid0``, ``dyngru``)."""

    deter_in: Layer  # D -> H
    stoch_in: Layer  # S * K -> H
    action_in: Layer  # A -> H
    hidden: Array  # (G, D / G + 3 H, D / G): every block sees its share of D and all inputs
    hidden_bias: Array  # (D,)
    hidden_norm: Array  # (D,)
    gates: Array  # (G, D / G, 3 D / G), each block's outputs in the order reset, candidate, update
    gates_bias: Array  # (G, 3 D / G), in the same order


def core_step(core: Core, deter: Array, stoch: Array, action: Array) -> Array:
    """``deter`` ``(D,)`` after one step: ``RSSM._core``, block by block."""
    action = action / np.maximum(1.0, np.abs(action))
    x0 = network(deter, [core.deter_in])
    x1 = network(stoch.reshape(-1), [core.stoch_in])
    x2 = network(action, [core.action_in])
    inputs = np.concatenate([x0, x1, x2])
    blocks = np.split(deter, len(core.hidden))
    hidden = np.concatenate(
        [np.concatenate([own, inputs]) @ w for own, w in zip(blocks, core.hidden, strict=True)]
    )
    hidden = norm_silu(hidden + core.hidden_bias, core.hidden_norm)
    new = []
    for own, old, w, b in zip(
        np.split(hidden, len(blocks)), blocks, core.gates, core.gates_bias, strict=True
    ):
        reset, candidate, update = np.split(own @ w + b, 3)
        candidate = np.tanh(sigmoid(reset) * candidate)
        update = sigmoid(update - 1.0)
        new.append(update * candidate + (1.0 - update) * old)
    return np.concatenate(new)


def unimix(logits: Array, share: float) -> Array:
    """``Categorical(logits, unimix).probs``: ``(..., K)``."""
    return (1.0 - share) * softmax(logits) + share / logits.shape[-1]


def categorical_kl(p_logits: Array, q_logits: Array, share: float) -> float:
    """KL of ``(S, K)`` logits, summed over the S variables (``Agg(OneHot, 1, sum)``)."""
    total = 0.0
    for p, q in zip(unimix(p_logits, share), unimix(q_logits, share), strict=True):
        total += sum(a * (math.log(a) - math.log(b)) for a, b in zip(p, q, strict=True))
    return total


# --- two-hot --------------------------------------------------------------------------------------


def symexp_bins(count: int, limit: float) -> Array:
    """``Head.symexp_twohot``: half of the bins, and their mirror."""
    half = np.linspace(-limit, 0.0, (count - 1) // 2 + 1)
    half = np.sign(half) * np.expm1(np.abs(half))
    return np.concatenate([half, -half[:-1][::-1]])


def twohot_code(target: float, bins: Array) -> Array:
    """``TwoHot.loss``'s code of a number: neighbours are found by counting the bins."""
    last = len(bins) - 1
    below = min(max(int((bins <= target).sum()) - 1, 0), last)
    above = min(max(len(bins) - int((bins > target).sum()), 0), last)
    to_below = 1.0 if below == above else abs(bins[below] - target)
    to_above = 1.0 if below == above else abs(bins[above] - target)
    code = np.zeros(len(bins))
    code[below] += to_above / (to_below + to_above)
    code[above] += to_below / (to_below + to_above)
    return code


def twohot_nll(logits: Array, target: float, bins: Array) -> float:
    return float(-(twohot_code(target, bins) * np.log(softmax(logits))).sum())


def twohot_mean(logits: Array, bins: Array) -> Array:
    return (softmax(logits) * bins).sum(-1)


# --- returns --------------------------------------------------------------------------------------


def dreamer_lambda_return(
    last: Array, term: Array, reward: Array, value: Array, disc: float, lam: float
) -> Array:
    """``lambda_return`` of ``dreamerv3/agent.py`` for one trajectory.

    Args:
        last: ``(H + 1,)``, 1 where a trajectory is cut; ``term`` where it ends; index j is state j.
        reward: ``(H + 1,)`` received on arriving; the first is not read.
        value: ``(H + 1,)``.
    """
    returns = [value[-1]]
    for t in reversed(range(len(reward) - 1)):
        live, cont = (1.0 - term[t + 1]) * disc, (1.0 - last[t + 1]) * lam
        ahead = (1.0 - cont) * value[t + 1] + cont * returns[-1]
        returns.append(reward[t + 1] + live * ahead)
    return np.array(returns[:0:-1])


def retrace(signal: Array, discount: Array, value: Array, q: Array, trace: Array) -> Array:
    """Retrace by its definition, ``(M,)``: Q plus discounted, traced temporal differences.

    Entry t of all arguments belongs to what step t leads to; its own Q cancels.
    """
    targets = []
    for t in range(len(signal)):
        total, weight = signal[t] + discount[t] * value[t], 1.0
        for s in range(t + 1, len(signal)):
            weight *= discount[s - 1] * trace[s - 1]
            total += weight * (signal[s] + discount[s] * value[s] - q[s - 1])
        targets.append(total)
    return np.array(targets)


# --- improved policies ----------------------------------------------------------------------------


def support(probs: Array, threshold: float) -> Array:
    """Prior ``(A,)`` without actions below ``threshold`` of its largest entry, renormalised."""
    kept = np.where(probs >= threshold * probs.max() * (1 - 1e-6), probs, 0.0)
    return kept / kept.sum()


def gated_policy(
    prior: Array,
    adv_reward: Array,
    adv_cost: Array,
    p: float,
    betas: tuple[float, float],
    normalise: bool,
    feasible: Array | None,
) -> Array:
    """pi* ``(A,)`` of VL-SAFE's weight ``p exp(b1 A_r) + (1 - p) exp(-b2 A_c)``, each at most 100.

    ``normalise`` divides each exponential by its mean under the prior; ``feasible`` are FISOR's
    indicators of the first term, without any of which (in the support) p counts as 0.
    """
    by_reward = np.minimum(np.exp(betas[0] * adv_reward), 100.0)
    by_cost = np.minimum(np.exp(-betas[1] * adv_cost), 100.0)
    if feasible is not None:
        known = feasible & (prior > 0) if normalise else feasible
        if known.any():
            by_reward = by_reward * feasible
        else:
            p = 0.0
    if normalise:
        by_reward = by_reward / (prior * by_reward).sum()
        by_cost = by_cost / (prior * by_cost).sum()
    weighted = prior * (p * by_reward + (1.0 - p) * by_cost)
    return weighted / weighted.sum()


def exponential_policy(prior: Array, advantage: Array, beta: float) -> Array:
    """pi* ``(A,)`` of the weight ``min(exp(b A), 100)``."""
    weighted = prior * np.minimum(np.exp(beta * advantage), 100.0)
    return weighted / weighted.sum()
