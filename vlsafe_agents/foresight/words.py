"""What was found, in a sentence and as rows of tables, for terminals and reports."""

from __future__ import annotations

import math
from collections.abc import Sequence

from vlsafe_agents.evaluation.resampling import Estimate
from vlsafe_agents.foresight.measure import Measured, Rate, Safe, Signal
from vlsafe_agents.foresight.names import DANGER, DREAM, RISK, UNSAFE
from vlsafe_agents.foresight.results import Foresight

MAIN = 2.0  # [s], of the figures that are shown of one horizon only
FIRST = (RISK, DANGER, DREAM, UNSAFE)  # signals that a sentence is about, the best known one first
EVERYTHING = "all decisions"
NONE = "-"


def main_horizon(found: Foresight) -> int:
    """Number of the horizon that is :data:`MAIN`, or else of the one nearest to it."""
    return min(range(len(found.horizons)), key=lambda place: abs(found.horizons[place] - MAIN))


def percent(value: float) -> str:
    """0.0412 as "4.1%"."""
    return f"{100 * value:.1f}%" if abs(value) < 0.0995 else f"{100 * value:.0f}%"


def with_interval(rate: Rate) -> str:
    """``"0.4% (0.1 to 1.1%) of 1,203"``; a dash where there were no decisions."""
    low, high = rate.estimate.low, rate.estimate.high
    if not rate.steps:
        return NONE
    inside = "" if math.isnan(low) else f" ({percent(low).removesuffix('%')} to {percent(high)})"
    return f"{percent(rate.estimate.value)}{inside} of {rate.steps:,}"


def auroc(estimate: Estimate) -> str:
    """``"0.92 (0.90 to 0.95)"``."""
    if math.isnan(estimate.value):
        return NONE
    if math.isnan(estimate.low):
        return f"{estimate.value:.2f}"
    return f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"


def auroc_rows(found: Foresight) -> tuple[list[str], list[list[str]]]:
    """Titles and rows: traffic, signal, and the AUROC for each horizon."""
    titles = ["traffic", "signal", *(f"within {horizon:g} s" for horizon in found.horizons)]
    rows = [
        [traffic.title, signal.name, *map(auroc, signal.auroc)]
        for traffic in found.traffics
        for signal in traffic.measured.signals
    ]
    return titles, rows


def safe_rows(found: Foresight) -> tuple[list[str], list[list[str]]]:
    """Titles and rows: traffic, signal, and the rate of crashes where each rule says "safe".

    A row in each traffic is about all decisions, as of a signal that says nothing.
    """
    place = main_horizon(found)
    rules = list(
        dict.fromkeys(
            safe.rule
            for traffic in found.traffics
            for signal in traffic.measured.signals
            for safe in signal.safe
        )
    )
    rows = []
    for traffic in found.traffics:
        base = with_interval(traffic.measured.base[place].rate)
        rows.append([traffic.title, EVERYTHING, *[base] * len(rules)])
        for signal in traffic.measured.signals:
            rates = {safe.rule: with_interval(safe.rates[place]) for safe in signal.safe}
            rows.append([traffic.title, signal.name, *(rates.get(rule, NONE) for rule in rules)])
    return ["traffic", "signal", *rules], rows


def sentence(found: Foresight) -> str:
    """How often a crash came where the agent's best known signal said "safe".

    By the first rule that calls some decision of the traffic as recorded safe.  Empty where there
    are no signals.
    """
    if not any(traffic.measured.crashed for traffic in found.traffics):
        drives = sum(traffic.measured.drives for traffic in found.traffics)
        return f"None of {drives:,} drives ended in a crash, so there was nothing to foresee."
    signals = found.traffics[0].measured.signals
    chosen = next((s for name in FIRST for s in signals if s.name == name), None)
    chosen = chosen or next(iter(signals), None)
    if chosen is None:
        return ""
    place = main_horizon(found)
    rule = next((s.rule for s in chosen.safe if s.rates[place].steps), chosen.safe[0].rule)
    parts = [
        _came(traffic.title, traffic.measured, chosen.name, rule, place)
        for traffic in found.traffics
    ]
    return (
        f"Where the signal “{chosen.name}” says “safe” ({rule}), a crash followed within "
        f"{found.horizons[place]:g} s after {'; '.join(parts)}."
    )


def _came(title: str, measured: Measured, name: str, rule: str, place: int) -> str:
    rate = safe_of(signal_of(measured.signals, name), rule).rates[place]
    where = f"in traffic {title}" if title.startswith("as ") else f"at {title}"
    every = percent(measured.base[place].rate.estimate.value)
    if not rate.steps:
        return f"no decision {where}, where it never says so ({every} of all)"
    return f"{with_interval(rate)} decisions {where} ({every} of all)"


def signal_of(signals: Sequence[Signal], name: str) -> Signal:
    """The signal of a name that is there."""
    return next(signal for signal in signals if signal.name == name)


def safe_of(signal: Signal, rule: str) -> Safe:
    """What came where a signal said "safe" by a rule that it has."""
    return next(safe for safe in signal.safe if safe.rule == rule)
