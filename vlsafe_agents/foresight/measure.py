"""How well danger signals rank crashes, and how often a crash comes where they say "safe".

Pure functions of arrays: N decisions of E drives.  A crash is a terminal step with a cost.  All
intervals are over whole drives (:mod:`~vlsafe_agents.evaluation.resampling`).

An AUROC says how well a signal *orders* states.  Whoever acts on it compares it with a threshold,
which was chosen in the traffic that is known: what then counts is how often a crash comes below the
threshold, there and in denser traffic.  So thresholds are taken from the traffic of the recordings
and carried to any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from vlsafe_agents.evaluation.resampling import (
    Bools,
    Estimate,
    Floats,
    Integers,
    Ranking,
    episode_weights,
    weighted_share,
)

HORIZONS = (0.5, 1.0, 2.0, 5.0)  # [s]
SHARES = (0.5, 0.25, 0.05)  # of the decisions of the recorded traffic, the safest by rank
UNLIKELY = 0.02  # a chance below it counts as "safe"
RESAMPLES = 500
CONFIDENCE = 0.95
_ROUNDING = 1e-6  # [s]


class Drive(NamedTuple):
    """One drive of T decisions, and what was said at S of them."""

    step: Integers  # (S,) their numbers, rising, from 0 to T - 1
    decisions: int  # T
    ended: bool  # by itself, so that nothing comes after; False: a time limit cut it off
    crashed: bool  # ended, and its last step had a cost
    signals: Mapping[str, Floats]  # (S,) by name, the higher the more danger; NaN: not known


@dataclass(frozen=True)
class Steps:
    """The decisions of all drives, one drive after another."""

    episode: Integers  # (N,) from 0
    left: Floats  # (N,) [s] until the drive's last step has been made
    ended: Bools  # (N,) of the drive, as are the next
    crashed: Bools  # (N,)
    signals: Mapping[str, Floats]  # (N,) by name

    @classmethod
    def of(cls, drives: Sequence[Drive], seconds: float) -> Steps:
        """Lay drives end to end.

        Args:
            seconds: a decision lasts.

        Raises:
            ValueError: without drives.
        """
        if not drives:
            raise ValueError("no drives to look at")
        counts = [len(drive.step) for drive in drives]
        names = dict.fromkeys(name for drive in drives for name in drive.signals)
        return cls(
            episode=np.repeat(np.arange(len(drives)), counts),
            left=seconds * np.concatenate([drive.decisions - drive.step for drive in drives]),
            ended=np.repeat([drive.ended for drive in drives], counts),
            crashed=np.repeat([drive.crashed for drive in drives], counts),
            signals={
                name: np.concatenate(
                    [
                        np.asarray(drive.signals.get(name, np.full(len(drive.step), np.nan)))
                        for drive in drives
                    ]
                ).astype(np.float64)
                for name in names
            },
        )

    def __len__(self) -> int:
        return len(self.episode)


class Label(NamedTuple):
    """Whether a crash comes, of each of N decisions."""

    positive: Bools  # (N,)
    known: Bools  # (N,) whether the drive went on for long enough to tell
    near: Bools  # (N,) whether it would come, if the drive ended in one


def crash_within(left: Floats, ended: Bools, crashed: Bools, horizon: float) -> Label:
    """Whether a drive crashes within ``horizon`` [s] of each decision ``(N,)``.

    What comes after a drive that was cut off is not known.  After one that ended by itself nothing
    comes; it crashed with its last step, or it did not.
    """
    near = left <= horizon + _ROUNDING
    return Label(crashed & near, ended | (left >= horizon - _ROUNDING), near)


class Rate(NamedTuple):
    """A share of decisions after which a crash comes within a horizon."""

    estimate: Estimate
    steps: int  # that it is a share of: those of which the outcome is known


class Safe(NamedTuple):
    """What came where a signal said "safe"."""

    rule: str  # "P < 2%", or "safest 50%"
    threshold: float  # NaN: there was nothing to take it from
    at_most: bool  # "safe" is at most the threshold, else below it
    steps: int  # that it called safe
    share: float  # of all decisions with a signal; NaN without any
    rates: tuple[Rate, ...]  # by horizon


class Signal(NamedTuple):
    """One signal in one traffic."""

    name: str
    is_chance: bool  # in [0, 1]: meant as the chance of danger
    unknown: int  # decisions at which it said nothing
    auroc: tuple[Estimate, ...]  # by horizon; NaN without crashes, or without anything else
    safe: tuple[Safe, ...]


class Base(NamedTuple):
    """One horizon, whatever the signals say."""

    horizon: float  # [s]
    left_out: int  # decisions of which the outcome is not known
    crashes: int  # decisions within the horizon of a crash
    rate: Rate  # of crashes, of all decisions


class Measured(NamedTuple):
    """One traffic."""

    drives: int
    crashed: int  # drives
    steps: int  # decisions looked at
    base: tuple[Base, ...]
    signals: tuple[Signal, ...]


def horizons_of(seconds: float) -> tuple[float, ...]:
    """The horizons [s] that a decision of so many seconds fits into.

    Raises:
        ValueError: if it fits into none.
    """
    found = tuple(horizon for horizon in HORIZONS if horizon >= seconds - _ROUNDING)
    if not found:
        raise ValueError(
            f"a decision lasts {seconds:g} s, longer than the longest horizon, {HORIZONS[-1]:g} s"
        )
    return found


def threshold_of(values: Floats, share: float) -> float:
    """The least threshold at or below which this share of ``values (N,)`` lies, or more with ties.

    NaN entries do not count; NaN without others.
    """
    known = np.sort(values[~np.isnan(values)])
    if not len(known):
        return float("nan")
    return float(known[max(0, int(np.ceil(share * len(known) - 1e-9)) - 1)])


def measure(
    recorded: Steps,
    others: Sequence[Steps],
    seconds: float,
    chances: Sequence[str],
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> tuple[Measured, ...]:
    """Every figure, of the traffic as recorded and of the others, in this order.

    Args:
        recorded: whose decisions the thresholds by rank are taken from.
        seconds: a decision lasts.
        chances: names of the signals that are chances, in [0, 1].

    Raises:
        ValueError: see :func:`horizons_of`.
    """
    horizons = horizons_of(seconds)
    names = list(dict.fromkeys(name for steps in (recorded, *others) for name in steps.signals))
    nothing = np.zeros(0)
    limits = {
        name: {share: threshold_of(recorded.signals.get(name, nothing), share) for share in SHARES}
        for name in names
    }
    return tuple(
        _measure_one(steps, horizons, limits, frozenset(chances), seed, resamples)
        for steps in (recorded, *others)
    )


def _measure_one(
    steps: Steps,
    horizons: Sequence[float],
    limits: Mapping[str, Mapping[float, float]],
    chances: frozenset[str],
    seed: int,
    resamples: int,
) -> Measured:
    drives = int(steps.episode[-1]) + 1
    weights = episode_weights(np.zeros(drives, np.int64), resamples, seed)  # (B, E)
    labels = [crash_within(steps.left, steps.ended, steps.crashed, h) for h in horizons]
    everything = np.ones(len(steps), bool)
    base = tuple(
        Base(
            horizon,
            int((~label.known).sum()),
            int((label.positive & label.known).sum()),
            _rate(everything, label, steps.episode, weights),
        )
        for horizon, label in zip(horizons, labels, strict=True)
    )
    signals = []
    for name, by_share in limits.items():
        values = steps.signals.get(name, np.full(len(steps), np.nan))
        rules = [(f"P < {100 * UNLIKELY:g}%", UNLIKELY, False)] if name in chances else []
        rules += [(f"safest {100 * share:g}%", limit, True) for share, limit in by_share.items()]
        signals.append(
            Signal(
                name,
                name in chances,
                int(np.isnan(values).sum()),
                tuple(_auroc(values, label, steps.episode, weights) for label in labels),
                tuple(_safe(values, rule, labels, steps.episode, weights) for rule in rules),
            )
        )
    crashed = len(np.unique(steps.episode[steps.crashed]))
    return Measured(drives, crashed, len(steps), base, tuple(signals))


def _auroc(values: Floats, label: Label, episode: Integers, weights: Floats) -> Estimate:
    kept = label.known & ~np.isnan(values)
    ranking = Ranking(values[kept], label.positive[kept], episode[kept])
    if not ranking.positives or not ranking.negatives:
        return Estimate(float("nan"), float("nan"), float("nan"))
    (found,), _ = ranking(np.ones((1, weights.shape[1])))
    return Estimate.of(float(found), ranking(weights)[0], CONFIDENCE)


def _safe(
    values: Floats,
    rule: tuple[str, float, bool],
    labels: Sequence[Label],
    episode: Integers,
    weights: Floats,
) -> Safe:
    name, limit, at_most = rule
    safe = values <= limit if at_most else values < limit  # NaN is neither
    said = int((~np.isnan(values)).sum())
    share = float(safe.sum() / said) if said else float("nan")
    rates = tuple(_rate(safe, label, episode, weights) for label in labels)
    return Safe(name, limit, at_most, int(safe.sum()), share, rates)


def _rate(chosen: Bools, label: Label, episode: Integers, weights: Floats) -> Rate:
    """The share of the chosen decisions after which a crash comes.

    Where none came, the exact bound on the share of *drives* that crash is that on the share of
    their decisions, of which a crash takes at most as many as the horizon holds.
    """
    kept = chosen & label.known
    steps = int(kept.sum())
    estimate = weighted_share(label.positive[kept], episode[kept], weights, CONFIDENCE)
    if estimate.value == 0.0:
        drives, most = len(np.unique(episode[kept])), int(np.bincount(episode[label.near]).max())
        estimate = replace(estimate, high=estimate.high * min(1.0, drives * most / steps))
    return Rate(estimate, steps)
