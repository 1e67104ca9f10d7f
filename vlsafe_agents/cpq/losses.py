"""CPQ's operators as pure functions (Xu, Zhan and Zhu 2022, arXiv 2107.09003)."""

from __future__ import annotations

import torch as th


def penalised(q: th.Tensor, cost_q: th.Tensor, threshold: float | th.Tensor) -> th.Tensor:
    """1(Q_c <= l) Q: values of actions, 0 where their cost breaks the threshold."""
    return th.where(cost_q <= threshold, q, 0.0)


def greedy(q: th.Tensor, cost_q: th.Tensor, threshold: float | th.Tensor) -> th.Tensor:
    """The action (N,) with the largest penalised value, of values (N, A).

    Where every action breaks the threshold, all penalised values are 0, and the one that costs
    least is taken.
    """
    feasible = cost_q <= threshold  # (N, A)
    best = q.where(feasible, -th.inf).argmax(-1)
    return th.where(feasible.any(-1), best, cost_q.argmin(-1))


def unsupported(log_density: th.Tensor, largest: th.Tensor, support: float) -> th.Tensor:
    """Which actions nobody would take: a density below `support` times the state's largest."""
    return log_density < largest + th.log(th.as_tensor(support))
