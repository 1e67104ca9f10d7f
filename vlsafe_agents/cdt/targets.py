"""What CDT is told to earn and allowed to pay, as pure functions (Liu et al. 2023, section 4)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class Relabelled(NamedTuple):
    """Episodes that are shown under other targets than what came of them."""

    episode: npt.NDArray[np.int64]  # (N,)
    more_return: Floats  # (N,), of the target than the episode's
    more_cost: Floats  # (N,)


def best_within(returns: Floats, costs: Floats, limit: float, best: float) -> npt.NDArray[np.int64]:
    """Numbers of the episodes that earn most among those that cost no more than a limit.

    Args:
        returns: of all episodes (E,)
        costs: likewise
        best: share of those within the limit; at least one is taken

    Raises:
        ValueError: where none is within the limit.
    """
    within = np.flatnonzero(costs <= limit)
    if not len(within):
        raise ValueError(f"no episode costs {limit:g} or less; the least is {costs.min():g}")
    order = np.argsort(-returns[within], kind="stable")
    return np.asarray(within[order[: max(round(best * len(within)), 1)]])


def returns_within(returns: Floats, costs: Floats, best: float, count: int) -> Floats:
    """Limits and the mean return of :func:`best_within` each of them, (count, 2), limits rising.

    The limits are quantiles of the episodes' costs; of few episodes some stand there twice.
    """
    limits = np.quantile(costs, np.linspace(0.0, 1.0, count), method="lower")
    means = [returns[best_within(returns, costs, limit, best)].mean() for limit in limits]
    return np.stack([limits, means], -1)


def relabel(
    returns: Floats, costs: Floats, count: int, best: float, rng: np.random.Generator
) -> Relabelled:
    """Targets that no episode meets, each with one to imitate instead: safe first, then good.

    A limit lies between the costs of two episodes drawn at random; the episode is one of
    :func:`best_within` it; the target return lies between its own and the highest of all.

    Args:
        returns: of all episodes (E,)
        costs: likewise
        count: N
        best: as that of :func:`best_within`
    """
    pairs, share = costs[rng.integers(0, len(costs), (2, count))], rng.random(count)
    limits = share * pairs[0] + (1.0 - share) * pairs[1]
    limits = np.maximum(limits, pairs.min(0))  # against rounding
    choices = [best_within(returns, costs, limit, best) for limit in limits]
    place = (rng.random(count) * [len(choice) for choice in choices]).astype(np.int64)
    episode = np.array([choice[k] for choice, k in zip(choices, place, strict=True)], np.int64)
    own = returns[episode]
    target = own + rng.random(count) * (returns.max() - own)
    return Relabelled(episode, target - own, limits - costs[episode])
