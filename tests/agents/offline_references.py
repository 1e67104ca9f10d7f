"""Where offline learners end on ``two_lanes.py`` if they know all: exact backward induction.

The driver is a coin, so every action is recorded in every state that is reached.  Arrays are
``(STEPS, 2, 2)`` over (cell, lane, action) or ``(STEPS, 2)``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.optimize import root
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
