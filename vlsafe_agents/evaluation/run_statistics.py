"""Statistics of few training runs on several tasks.

After Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice"
(arXiv 2108.13264), whose library is rliable.

Scores of an algorithm are ``(R, M)``: R training runs (seeds) on M tasks, here an environment under
a condition such as a traffic density.  Intervals are percentiles of a stratified bootstrap: in
every resample each task draws its R runs anew, with replacement (section 4.1).  Runs are the unit;
what is known of one run from its episodes is in :mod:`vlsafe_agents.evaluation.intervals`.

With R runs a task has only R^R ordered resamples: of three runs an interval says little, and of
one run nothing.  It is then NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from vlsafe_agents.evaluation.intervals import check_settings
from vlsafe_agents.evaluation.resampling import Estimate

Floats = npt.NDArray[np.float64]
Statistic = Callable[[Floats], Floats]  # (..., R, M) -> (...)

_TRIMMED = 0.25  # of all scores, at either end
_AT_ONCE = 4_000_000  # numbers held while resampling


def interquartile_mean(scores: npt.ArrayLike) -> Floats:
    """Mean of the middle half of all runs and tasks together, ``(..., R, M) -> (...)``.

    As ``scipy.stats.trim_mean(scores, 0.25)``: of N scores, floor(N / 4) are left out at either
    end.  With fewer than four that is the mean.
    """
    values = np.asarray(scores, np.float64)
    flat = np.sort(values.reshape(*values.shape[:-2], -1), axis=-1)
    cut = int(_TRIMMED * flat.shape[-1])
    return np.asarray(flat[..., cut : flat.shape[-1] - cut].mean(axis=-1))


def mean_score(scores: npt.ArrayLike) -> Floats:
    """Mean over runs and tasks, ``(..., R, M) -> (...)``."""
    return np.asarray(np.asarray(scores, np.float64).mean(axis=(-2, -1)))


def improvement(x: npt.ArrayLike, y: npt.ArrayLike) -> Floats:
    """Probability that a run of X scores higher than one of Y on a task drawn at random.

    Mann and Whitney's U of each task over the number of pairs, averaged over tasks (section 4.3);
    ties count half.

    Args:
        x: ``(..., R, M)``.
        y: ``(..., S, M)``, the same tasks.

    Returns:
        ``(...)``
    """
    first, second = np.asarray(x, np.float64), np.asarray(y, np.float64)
    gap = first[..., :, None, :] - second[..., None, :, :]  # (..., R, S, M)
    return np.asarray((0.5 * (np.sign(gap) + 1.0)).mean(axis=(-3, -2, -1)))


def performance_profile(scores: npt.ArrayLike, thresholds: npt.ArrayLike) -> Floats:
    """Share of runs that score above each threshold, ``(..., R, M)`` and ``(T,)`` -> ``(..., T)``.

    The run-score distribution of section 4.2.
    """
    values, levels = np.asarray(scores, np.float64), np.asarray(thresholds, np.float64)
    return np.asarray((values[..., None] > levels).mean(axis=(-3, -2)))


def estimate(
    scores: npt.ArrayLike,
    statistic: Statistic = interquartile_mean,
    n_resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """A statistic with its interval over runs.

    Args:
        scores: ``(R, M)``.

    Raises:
        ValueError: for other shapes, scores that are not finite, or settings out of range.
    """
    values = _checked(scores)
    check_settings(n_resamples, confidence, seed)
    found = float(statistic(values))
    if len(values) < 2:
        return Estimate(found, float("nan"), float("nan"))
    rng = np.random.default_rng(seed)
    parts = [statistic(_resampled(values, size, rng)) for size in _parts(n_resamples, values.size)]
    return Estimate.of(found, np.concatenate(parts), confidence)


def estimate_improvement(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    n_resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """:func:`improvement` with its interval over runs; those of X and of Y are drawn apart.

    An algorithm of one run, such as a rule-based driver, stays as it is.

    Raises:
        ValueError: for other shapes or tasks, scores that are not finite, or settings out of range.
    """
    first, second = _checked(x), _checked(y)
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"X has {first.shape[1]} tasks, Y {second.shape[1]}; give the same tasks")
    check_settings(n_resamples, confidence, seed)
    found = float(improvement(first, second))
    if len(first) < 2 and len(second) < 2:
        return Estimate(found, float("nan"), float("nan"))
    rng = np.random.default_rng(seed)
    pairs = len(first) * second.size
    parts = [
        improvement(_resampled(first, size, rng), _resampled(second, size, rng))
        for size in _parts(n_resamples, pairs)
    ]
    return Estimate.of(found, np.concatenate(parts), confidence)


def profile_of_episodes(
    runs: Sequence[npt.ArrayLike],
    thresholds: npt.ArrayLike,
    n_resamples: int = 500,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[Floats, Floats, Floats]:
    """Share of episodes that score above each threshold, every training run counting the same.

    Resamples draw runs, and then episodes within each of them.

    Args:
        runs: of each training run the scores of its episodes ``(E,)``.
        thresholds: ``(T,)``.

    Returns:
        share, low and high, ``(T,)`` each

    Raises:
        ValueError: without runs or episodes, or for settings out of range.
    """
    if not runs or not all(np.size(run) for run in runs):
        raise ValueError("no episodes to make a profile of")
    check_settings(n_resamples, confidence, seed)
    rng = np.random.default_rng(seed)
    chosen = rng.integers(0, len(runs), size=(n_resamples, len(runs)))  # (B, R)
    shares = np.empty((n_resamples, len(runs), np.size(thresholds)))
    own = []
    for place, run in enumerate(runs):
        scores = np.asarray(run, np.float64)
        above = performance_profile(scores[:, None], thresholds)  # (T,)
        own.append(above)
        where = chosen == place
        draws = scores[rng.integers(0, len(scores), size=(int(where.sum()), len(scores)))]
        shares[where] = performance_profile(draws[..., None], thresholds)
    tail = 50.0 * (1.0 - confidence)
    low, high = np.percentile(shares.mean(axis=1), [tail, 100.0 - tail], axis=0)
    return np.mean(own, axis=0), low, high


def _checked(scores: npt.ArrayLike) -> Floats:
    values = np.asarray(scores, np.float64)
    if values.ndim != 2 or not values.size:
        raise ValueError(f"scores must be (runs, tasks), got shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("a score is not finite; leave out tasks that some run knows no score of")
    return values


def _resampled(values: Floats, size: int, rng: np.random.Generator) -> Floats:
    """``(B, R, M)``: each task's runs, drawn anew."""
    runs, tasks = values.shape
    draws = rng.integers(0, runs, size=(size, runs, tasks))
    return values[draws, np.arange(tasks)]


def _parts(total: int, numbers: int) -> list[int]:
    """How many resamples at once, so that not too many numbers are held."""
    most = max(1, _AT_ONCE // max(numbers, 1))
    return [min(most, total - begin) for begin in range(0, total, most)]
