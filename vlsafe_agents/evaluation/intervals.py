"""How well figures are known: the intervals of every table, in a terminal or a report.

Two different questions, two functions. `summarise`: how well do we know *this agent*, from its
episodes? `aggregate_seeds`: how well do we know *the algorithm*, from several training seeds? The
training seed is the unit of replication; ten thousand episodes of one agent say nothing about the
next training run. With three seeds an interval over them is rough and usually too narrow: report
the seeds' own values with it.

Of an agent's episodes, shares (collision rate) have Clopper and Pearson's exact binomial interval
(1934), counts over exposure (collisions per km) Garwood's exact one of a Poisson rate (1936): both
cover the truth at least as often as they say, also where something never or always happened, of
which a bootstrap makes an interval without width. Means have percentile bootstrap intervals over
episodes (Efron and Tibshirani 1993, chapters 8 and 13), from two episodes on, and costs only where
one has arisen: how high one may be that was never seen is not known.

Over training seeds everything is bootstrapped, seeds first and then the episodes within them, and
shares and counts are never narrower than the exact interval of all those episodes together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vlsafe_agents.evaluation.metrics import METRICS, Columns, EpisodeRecord, Metric, columns

Interval = tuple[float, float]
NOT_KNOWN: Interval = (np.nan, np.nan)
EXACT = ("share", "count")  # kinds of metrics that have an exact interval


def summarise(
    records: Sequence[EpisodeRecord],
    n_resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, dict[str, float | None]]:
    """Every metric with its interval over episodes.

    Returns:
        {metric: {"mean", "low", "high"}}; None where a metric is undefined (no collision, so no
        collision speed), and for the interval of a mean of one episode

    Raises:
        ValueError: without records, or for settings out of range
    """
    table = columns(records)
    check_settings(n_resamples, confidence, seed)
    draws = np.random.default_rng(seed).integers(
        0, len(records), size=(n_resamples, len(records))
    )  # (B, E)
    resampled = {name: column[draws] for name, column in table.items()}  # (B, E) each
    summary = {}
    for name, metric in METRICS.items():
        if metric.kind in EXACT:
            interval = _exact(metric, [table], confidence)
        elif _can_be_bootstrapped(metric, [table]):
            interval = _percentiles(metric(resampled), confidence)
        else:
            interval = NOT_KNOWN
        summary[name] = _entry(float(metric(table)), interval)
    return summary


def aggregate_seeds(
    runs: Sequence[Sequence[EpisodeRecord]],
    n_resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """Every metric over several training runs of one algorithm.

    A metric is computed for each run and averaged, so that every training seed counts the same.
    Each resample draws runs with replacement and then, within each drawn run, its episodes. One
    run alone has the intervals of `summarise`.

    Args:
        runs: for each training seed the records of its evaluation

    Returns:
        {metric: {"mean", "low", "high", "per_seed": [...]}}; None where undefined

    Raises:
        ValueError: without runs or records, or for settings out of range
    """
    if not runs:
        raise ValueError("No training runs to aggregate.")
    check_settings(n_resamples, confidence, seed)
    tables = [columns(records) for records in runs]
    if len(runs) == 1:
        alone = summarise(runs[0], n_resamples, confidence, seed)
        return {name: entry | {"per_seed": [entry["mean"]]} for name, entry in alone.items()}
    rng = np.random.default_rng(seed)
    chosen = rng.integers(0, len(runs), size=(n_resamples, len(runs)))  # (B, R)
    summary: dict[str, dict[str, Any]] = {}
    replicates = _run_replicates(tables, chosen, rng)
    for name, metric in METRICS.items():
        per_seed = np.array([float(metric(table)) for table in tables])
        low, high = _percentiles(_mean_known(replicates[name]), confidence)
        if metric.kind in EXACT:
            least, most = _exact(metric, tables, confidence)
            low, high = min(low, least), max(high, most)
        elif not _can_be_bootstrapped(metric, tables):
            low, high = NOT_KNOWN
        summary[name] = {
            **_entry(float(_mean_known(per_seed)), (low, high)),
            "per_seed": [_plain(float(value)) for value in per_seed],
        }
    return summary


def share_interval(hits: float, episodes: float, confidence: float = 0.95) -> Interval:
    """Clopper and Pearson's interval of a share of which `hits` of `episodes` were seen."""
    from scipy.special import betaincinv  # slow to import

    tail = (1.0 - confidence) / 2.0
    low = betaincinv(hits, episodes - hits + 1, tail) if hits > 0 else 0.0
    high = betaincinv(hits + 1, episodes - hits, 1.0 - tail) if hits < episodes else 1.0
    return float(low), float(high)


def count_interval(events: float, exposure: float, confidence: float = 0.95) -> Interval:
    """Garwood's interval of a Poisson rate of which `events` were seen in `exposure`."""
    from scipy.special import gammaincinv

    tail = (1.0 - confidence) / 2.0
    low = gammaincinv(events, tail) if events > 0 else 0.0
    return float(low) / exposure, float(gammaincinv(events + 1, 1.0 - tail)) / exposure


def check_settings(n_resamples: int = 2000, confidence: float = 0.95, seed: int = 0) -> None:
    """Raise ``ValueError`` for settings out of range."""
    if n_resamples < 1:
        raise ValueError(f"n_resamples must be at least 1, got {n_resamples}.")
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must lie in (0, 1), got {confidence}.")
    if seed < 0:
        raise ValueError(f"the bootstrap's seed must be at least 0, got {seed}.")


def bootstrap_replicates(table: Columns, metric: Metric, draws: np.ndarray) -> np.ndarray:
    """The metric of every resample: `draws` (..., E) are episode numbers, the result (...)."""
    return metric({name: column[draws] for name, column in table.items()})


def _can_be_bootstrapped(metric: Metric, tables: Sequence[Columns]) -> bool:
    """Whether there is something to resample: two episodes, and of a cost more than 0."""
    sums = [metric.sums(table) for table in tables]
    enough = sum(int(known) for _, _, known in sums) > 1
    return enough and (metric.kind != "cost" or any(top > 0.0 for top, _, _ in sums))


def _exact(metric: Metric, tables: Sequence[Columns], confidence: float) -> Interval:
    """The exact interval of a share or a count, of all episodes together."""
    sums = [metric.sums(table) for table in tables]
    events = sum(float(top) for top, _, _ in sums)
    exposure = sum(float(bottom) for _, bottom, _ in sums)
    if exposure <= 0.0:
        return NOT_KNOWN
    if metric.kind == "share":
        return share_interval(events, exposure, confidence)
    low, high = count_interval(events, exposure, confidence)
    return metric.scale * low, metric.scale * high


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


def _percentiles(replicates: np.ndarray, confidence: float) -> Interval:
    """Percentile interval of the resamples in which the metric exists."""
    known = replicates[~np.isnan(replicates)]
    if known.size == 0:
        return NOT_KNOWN
    tail = 50.0 * (1.0 - confidence)
    low, high = np.percentile(known, [tail, 100.0 - tail])
    return float(low), float(high)


def _mean_known(values: np.ndarray) -> np.ndarray:
    known = ~np.isnan(values)
    count = known.sum(axis=-1)
    total = np.where(known, values, 0.0).sum(axis=-1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _entry(mean: float, interval: Interval) -> dict[str, float | None]:
    if np.isnan(mean):
        interval = NOT_KNOWN
    return {"mean": _plain(mean), "low": _plain(interval[0]), "high": _plain(interval[1])}


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else value  # JSON has no NaN
