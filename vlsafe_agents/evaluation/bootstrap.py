"""Percentile bootstrap intervals (Efron and Tibshirani 1993, chapters 8 and 13).

Two different questions, two functions. `summarise` resamples the episodes of one trained agent:
how well do we know *this agent*? `aggregate_seeds` resamples training seeds first and then the
episodes within them: how well do we know *the algorithm*? The training seed is the unit of
replication; ten thousand episodes of one agent say nothing about the next training run. With three
seeds an interval over them is rough and usually too narrow: report the seeds' own values with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vlsafe_agents.evaluation.metrics import METRICS, Columns, EpisodeRecord, Metric, columns


def summarise(
    records: Sequence[EpisodeRecord],
    n_resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, dict[str, float | None]]:
    """Every metric with a bootstrap interval over episodes.

    :return: {metric: {"mean", "low", "high"}}; None where a metric is undefined (no collision, so
        no collision speed)
    :raises ValueError: without records, or for settings out of range
    """
    table = columns(records)
    _check(n_resamples, confidence)
    draws = np.random.default_rng(seed).integers(
        0, len(records), size=(n_resamples, len(records))
    )  # (B, E)
    resampled = {name: column[draws] for name, column in table.items()}  # (B, E) each
    summary = {}
    for name, metric in METRICS.items():
        low, high = _percentiles(metric(resampled), confidence)
        summary[name] = {"mean": _plain(float(metric(table))), "low": low, "high": high}
    return summary


def aggregate_seeds(
    runs: Sequence[Sequence[EpisodeRecord]],
    n_resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """Every metric over several training runs of one algorithm.

    A metric is computed for each run and averaged, so that every training seed counts the same.
    Each resample draws runs with replacement and then, within each drawn run, its episodes.

    :param runs: for each training seed the records of its evaluation
    :return: {metric: {"mean", "low", "high", "per_seed": [...]}}; None where undefined
    :raises ValueError: without runs or records, or for settings out of range
    """
    if not runs:
        raise ValueError("No training runs to aggregate.")
    _check(n_resamples, confidence)
    tables = [columns(records) for records in runs]
    rng = np.random.default_rng(seed)
    chosen = rng.integers(0, len(runs), size=(n_resamples, len(runs)))  # (B, R)
    summary: dict[str, dict[str, Any]] = {}
    replicates = _run_replicates(tables, chosen, rng)
    for name, metric in METRICS.items():
        per_seed = np.array([float(metric(table)) for table in tables])
        low, high = _percentiles(_mean_known(replicates[name]), confidence)
        summary[name] = {
            "mean": _plain(float(_mean_known(per_seed))),
            "low": low,
            "high": high,
            "per_seed": [_plain(float(value)) for value in per_seed],
        }
    return summary


def bootstrap_replicates(table: Columns, metric: Metric, draws: np.ndarray) -> np.ndarray:
    """The metric of every resample: `draws` (..., E) are episode numbers, the result (...)."""
    return metric({name: column[draws] for name, column in table.items()})


def _run_replicates(
    tables: Sequence[Columns], chosen: np.ndarray, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Each metric of each drawn run (B, R), its episodes resampled independently every time."""
    replicates = {name: np.empty(chosen.shape) for name in METRICS}
    for run, table in enumerate(tables):
        where = chosen == run  # (B, R)
        episodes = len(table["seed"])
        draws = rng.integers(0, episodes, size=(int(where.sum()), episodes))
        for name, metric in METRICS.items():
            replicates[name][where] = bootstrap_replicates(table, metric, draws)
    return replicates


def _percentiles(replicates: np.ndarray, confidence: float) -> tuple[float | None, float | None]:
    """Percentile interval of the resamples in which the metric exists."""
    known = replicates[~np.isnan(replicates)]
    if known.size == 0:
        return None, None
    tail = 50.0 * (1.0 - confidence)
    low, high = np.percentile(known, [tail, 100.0 - tail])
    return float(low), float(high)


def _mean_known(values: np.ndarray) -> np.ndarray:
    known = ~np.isnan(values)
    count = known.sum(axis=-1)
    total = np.where(known, values, 0.0).sum(axis=-1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else value  # JSON has no NaN


def _check(n_resamples: int, confidence: float) -> None:
    if n_resamples < 1:
        raise ValueError(f"n_resamples must be at least 1, got {n_resamples}.")
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must lie in (0, 1), got {confidence}.")
