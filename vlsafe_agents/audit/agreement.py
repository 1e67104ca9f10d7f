"""Do two scorers say the same?"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vlsafe_agents.audit.truth import Bools
from vlsafe_agents.common.ranking import mid_ranks

Scores = npt.NDArray[np.float32]


def spearman(first: Scores, second: Scores) -> float:
    """Spearman's rank correlation over the frames that both have a label for.

    NaN with fewer than two such frames, or where one of the two is constant.
    """
    both = ~np.isnan(first) & ~np.isnan(second)
    if both.sum() < 2:
        return float("nan")
    ranks = np.stack((mid_ranks(first[both]), mid_ranks(second[both])))
    spread = ranks.std(1)
    if not spread.all():
        return float("nan")
    centred = ranks - ranks.mean(1, keepdims=True)
    return float((centred[0] * centred[1]).mean() / (spread[0] * spread[1]))


def kappa(first: Bools, second: Bools) -> float:
    """Cohen's kappa of two yes-or-no judges ``(N,)``: agreement beyond chance, 1 when perfect.

    ``(p_o - p_e) / (1 - p_e)`` with the observed share of equal answers and the one expected from
    how often each says yes.  NaN without frames, or where both always give the same one answer.
    """
    if not len(first):
        return float("nan")
    yes = np.array([first.mean(), second.mean()])
    expected = float(yes.prod() + (1 - yes).prod())
    if expected >= 1.0:
        return float("nan")
    return (float((first == second).mean()) - expected) / (1.0 - expected)
