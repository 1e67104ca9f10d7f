"""Where offline learners end on ``two_lanes.py`` if they know all: exact backward induction.

The driver is a coin, so every action is recorded in every state that is reached.  Arrays are
``(STEPS, 2, 2)`` over (cell, lane, action) or ``(STEPS, 2)``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize, root
from two_lanes import COSTS, FAST, STEPS, arrivals

COIN = np.array([0.5, 0.5])


def _backwards(
    value: Callable[[int, int, np.ndarray], float], gain: tuple[float, ...] = (1.0,) * STEPS
) -> np.ndarray:
    """Q of each action, where ``value(cell, lane, Q of that state)`` is what a state is worth."""
    q, ahead = np.zeros((STEPS, 2, 2)), np.zeros(2)
    for k in reversed(range(STEPS)):
        for lane, action in np.ndindex(2, 2):
            after = arrivals(lane, action)
            q[k, lane, action] = sum(p * (new * gain[k] + ahead[new]) for new, p in after)
        ahead = np.array([value(k, lane, q[k, lane]) for lane in range(2)])
    return q


def implicit_q(expectile: float) -> np.ndarray:
    """IQL's Q: a state is worth the expectile of two values that are recorded equally often."""
    return _backwards(lambda k, lane, q: expectile * q.max() + (1 - expectile) * q.min())


def implicit_policy(expectile: float, beta: float) -> np.ndarray:
    """Chances of FAST ``(STEPS, 2)`` under IQL's policy: the coin times exp(beta Q)."""
    q = implicit_q(expectile)
    return 1.0 / (1.0 + np.exp(-beta * (q[..., FAST] - q[..., 1 - FAST])))


def conservative_q(alpha: float) -> np.ndarray:
    """CQL's Q: the temporal difference's pull and the penalty's are balanced in every state."""

    def balanced(target: np.ndarray) -> np.ndarray:
        def pull(q: np.ndarray) -> np.ndarray:
            softmax = np.exp(q - q.max()) / np.exp(q - q.max()).sum()
            return COIN * (q - target) + alpha * (softmax - COIN)

        return np.asarray(root(pull, target).x)

    q, ahead = np.zeros((STEPS, 2, 2)), np.zeros(2)
    for k in reversed(range(STEPS)):
        for lane in range(2):
            target = [sum(p * (new + ahead[new]) for new, p in arrivals(lane, a)) for a in range(2)]
            q[k, lane] = balanced(np.array(target))
        ahead = q[k].max(-1)
    return q


def penalised_policy(limit: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """CPQ's policy (chances of FAST), its penalised Q and its Q_c."""
    q, cost_q, fast = np.zeros((STEPS, 2, 2)), np.zeros((STEPS, 2, 2)), np.zeros((STEPS, 2))
    ahead, paid_ahead = np.zeros(2), np.zeros(2)
    for k in reversed(range(STEPS)):
        for lane, action in np.ndindex(2, 2):
            after = arrivals(lane, action)
            q[k, lane, action] = sum(p * (new + ahead[new]) for new, p in after)
            cost_q[k, lane, action] = sum(
                p * (new * COSTS[k] + paid_ahead[new]) for new, p in after
            )
        for lane in range(2):
            allowed = cost_q[k, lane] <= limit
            best = np.where(allowed, q[k, lane], -np.inf).argmax()
            chosen = int(best if allowed.any() else cost_q[k, lane].argmin())
            fast[k, lane] = chosen == FAST
            ahead[lane] = q[k, lane, chosen] if allowed[chosen] else 0.0
            paid_ahead[lane] = cost_q[k, lane, chosen]
    return fast, q, cost_q


class Corrected(NamedTuple):
    """Where COptiDICE ends: its policy (chances of FAST), and what it earns and pays."""

    earned: float
    paid: float
    fast: np.ndarray


def corrected_occupancy(limit: float, alpha: float) -> Corrected:
    """The best occupancy within the limit, less alpha times its divergence from the coin's.

    By sequential quadratic programming over visits x(cell, lane, action) of an episode, without
    the dual that COptiDICE descends.  Steps are recorded uniformly over ten-step episodes, so that
    w = x / visits, and the divergence of a step counts ten times in an episode.
    """
    shape = (STEPS, 2, 2)
    reward, cost, visits = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    flow, inflow = np.zeros((2 * STEPS, *shape)), np.zeros(2 * STEPS)
    inflow[0] = 1.0
    here = np.array([1.0, 0.0])
    for k in range(STEPS):
        after_all = np.zeros(2)
        for lane, action in np.ndindex(2, 2):
            visits[k, lane, action] = 0.5 * here[lane]
            flow[2 * k + lane, k, lane, action] += 1.0
            for new, chance in arrivals(lane, action):
                reward[k, lane, action] += chance * new
                cost[k, lane, action] += chance * new * COSTS[k]
                after_all[new] += 0.5 * here[lane] * chance
                if k + 1 < STEPS:
                    flow[2 * (k + 1) + new, k, lane, action] -= chance
        here = after_all
    seen = visits.ravel() > 0  # nobody was in the fast lane of the first cell
    r, c, d = reward.ravel()[seen], cost.ravel()[seen], visits.ravel()[seen]
    matrix = flow.reshape(2 * STEPS, -1)[:, seen]
    reached = np.abs(matrix).sum(1) > 0
    matrix, inflow = matrix[reached], inflow[reached]

    def loss(x: np.ndarray) -> tuple[float, np.ndarray]:
        w = np.maximum(x / d, 1e-12)
        f = np.where(w < 1, w * np.log(w) - w + 1, 0.5 * (w - 1) ** 2)
        slope = np.where(w < 1, np.log(w), w - 1)
        return float(-(x @ r) + alpha * (d @ f)), -r + alpha * slope

    found = minimize(
        loss,
        d,
        jac=True,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * len(d),
        constraints=[
            {"type": "eq", "fun": lambda x: matrix @ x - inflow, "jac": lambda x: matrix},
            {"type": "ineq", "fun": lambda x: limit - c @ x, "jac": lambda x: -c},
        ],
        options={"maxiter": 500, "ftol": 1e-10},
    )
    x = np.zeros(visits.size)
    x[seen] = found.x
    shares = x.reshape(shape)
    fast = shares[..., FAST] / np.maximum(shares.sum(-1), 1e-12)
    return Corrected(float(found.x @ r), float(found.x @ c), fast)
