"""Labels, thresholds and rates of foresight against closed forms and slow references."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foresight_drives import drive, foresight, some_drives

from vlsafe_agents.evaluation.intervals import share_interval
from vlsafe_agents.foresight import words
from vlsafe_agents.foresight.measure import (
    Drive,
    Measured,
    Steps,
    crash_within,
    horizons_of,
    measure,
    threshold_of,
)
from vlsafe_agents.foresight.results import AS_RECORDED, Foresight, Traffic, read_foresight
from wrappers.ranking import auroc

NAN = float("nan")


def slow_label(drive: Drive, seconds: float, horizon: float) -> list[tuple[bool, bool]]:
    """Second by second what is known of the future."""
    found = []
    for step in drive.step:
        ahead = [
            (number - step) * seconds for number in range(step + 1, drive.decisions + 1)
        ]  # when each later step has been made
        within = [time for time in ahead if time <= horizon + 1e-6]
        crash = drive.crashed and len(within) == len(ahead)
        seen_enough = ahead[-1] >= horizon - 1e-6
        found.append((crash, drive.ended or seen_enough))
    return found


@pytest.mark.parametrize("seconds", [0.1, 0.25, 1.0])
def test_a_label_is_what_the_drive_shows(seconds: float) -> None:
    drives = [drive(30, "crash"), drive(23, "cut", every=3), drive(9, "arrived"), drive(1, "crash")]
    steps = Steps.of(drives, seconds)
    for horizon in horizons_of(seconds):
        label = crash_within(steps.left, steps.ended, steps.crashed, horizon)
        wanted = [pair for one in drives for pair in slow_label(one, seconds, horizon)]
        assert list(zip(label.positive.tolist(), label.known.tolist(), strict=True)) == wanted
        assert label.near.tolist() == (steps.left <= horizon + 1e-6).tolist()


def test_labels_of_one_drive_by_hand() -> None:
    """Ten decisions of 0.5 s: within 2 s of the end lie the last four."""
    for end, positive, unknown in (("crash", 4, 0), ("cut", 0, 3), ("arrived", 0, 0)):
        steps = Steps.of([drive(10, end)], 0.5)
        label = crash_within(steps.left, steps.ended, steps.crashed, 2.0)
        assert label.positive.tolist() == [False] * (10 - positive) + [True] * positive
        assert label.known.tolist() == [True] * (10 - unknown) + [False] * unknown


def test_horizons_shorter_than_a_decision_are_left_out() -> None:
    assert horizons_of(0.1) == (0.5, 1.0, 2.0, 5.0)
    assert horizons_of(1.0) == (1.0, 2.0, 5.0)
    with pytest.raises(ValueError, match="a decision lasts 6 s, longer than"):
        horizons_of(6.0)


def test_a_threshold_calls_the_share_safe_and_ties_with_it() -> None:
    values = np.array([0.3, NAN, 0.1, 0.2, 0.4])
    assert threshold_of(values, 0.5) == 0.2
    assert threshold_of(values, 0.05) == 0.1  # at least one
    assert threshold_of(np.zeros(8), 0.25) == 0.0
    assert np.isnan(threshold_of(np.full(3, NAN), 0.5))
    rng = np.random.default_rng(0)
    for share in (0.05, 0.25, 0.5):
        many = rng.normal(size=200)
        assert (many <= threshold_of(many, share)).mean() == pytest.approx(share)


def test_every_figure_is_that_of_a_slow_reference() -> None:
    recorded = Steps.of(some_drives(0), 0.5)
    denser = Steps.of(some_drives(1, shift=0.1), 0.5)
    found = measure(recorded, [denser], 0.5, ["dream"], resamples=200)
    for steps, measured in zip((recorded, denser), found, strict=True):
        assert (measured.drives, measured.steps) == (60, len(steps))
        assert [base.horizon for base in measured.base] == [0.5, 1.0, 2.0, 5.0]
        assert [signal.name for signal in measured.signals] == ["near", "dream"]
        for place, base in enumerate(measured.base):
            label = crash_within(steps.left, steps.ended, steps.crashed, base.horizon)
            assert base.left_out == (~label.known).sum()
            assert base.crashes == (label.positive & label.known).sum()
            assert base.rate.estimate.value == pytest.approx(label.positive[label.known].mean())
            for signal in measured.signals:
                values = steps.signals[signal.name]
                estimate = signal.auroc[place]
                slow = auroc(values[label.known], label.positive[label.known])
                assert estimate.value == pytest.approx(slow)
                assert estimate.low < estimate.value < estimate.high
                for safe in signal.safe:
                    by_rank = safe.rule.startswith("safest")
                    limit = safe.threshold
                    if by_rank:  # of the recorded traffic, also elsewhere
                        share = float(safe.rule.removeprefix("safest ").rstrip("%")) / 100
                        limit = np.quantile(
                            recorded.signals[signal.name], share, method="inverted_cdf"
                        )
                    chosen = values <= limit if by_rank else values < 0.02
                    assert safe.steps == chosen.sum()
                    assert safe.share == pytest.approx(chosen.mean())
                    kept = chosen & label.known
                    assert safe.rates[place].steps == kept.sum()
                    if kept.any():
                        rate = label.positive[kept].mean()
                        assert safe.rates[place].estimate.value == pytest.approx(rate)
    rules = [[safe.rule for safe in signal.safe] for signal in found[0].signals]
    by_rank = ["safest 50%", "safest 25%", "safest 5%"]
    assert rules == [by_rank, ["P < 2%", *by_rank]]


def test_the_intervals_are_over_drives_and_not_over_steps() -> None:
    """Repeating every decision tells nothing new."""
    drives = some_drives(3, 20)
    often = [
        one._replace(
            step=np.repeat(one.step, 9),
            signals={name: np.repeat(x, 9) for name, x in one.signals.items()},
        )
        for one in drives
    ]
    once, many = (
        measure(Steps.of(given, 0.5), [], 0.5, [], resamples=300)[0] for given in (drives, often)
    )
    for one, other in zip(once.signals, many.signals, strict=True):
        for first, second in zip(one.auroc, other.auroc, strict=True):
            assert (first.low, first.high) == pytest.approx((second.low, second.high))


def test_where_no_crash_came_the_interval_is_exact_and_counts_drives() -> None:
    """Thirty drives of twenty decisions, of which a crash within 2 s would take four."""
    (measured,) = measure(Steps.of([drive(20, "arrived", s=0.1)] * 30, 0.5), [], 0.5, [])
    estimate = measured.signals[0].safe[0].rates[2].estimate
    assert (estimate.value, estimate.low) == (0.0, 0.0)
    assert estimate.high == pytest.approx(share_interval(0, 30)[1] * 4 / 20)
    short = Steps.of([drive(2, "arrived", s=0.1)] * 30, 0.5)
    estimate = measure(short, [], 0.5, [])[0].signals[0].safe[0].rates[2].estimate
    assert estimate.high == pytest.approx(share_interval(0, 30)[1])
    assert np.isnan(measured.signals[0].auroc[0].value)  # without crashes there is no ranking


def test_a_signal_that_is_not_known_everywhere_is_measured_where_it_is() -> None:
    known = np.r_[np.full(5, NAN), np.linspace(0, 1, 5)]
    drives = [drive(10, "crash", s=known), drive(10, "cut", s=known), drive(10, "arrived")]
    (measured,) = measure(Steps.of(drives, 1.0), [], 1.0, [])
    (signal,) = measured.signals
    assert signal.unknown == 20
    assert signal.safe[0].steps == 6  # three of five, in both
    assert signal.safe[0].share == pytest.approx(0.6)


def test_a_miscalibrated_signal_ranks_well_and_is_not_safe() -> None:
    """What an AUROC hides: in denser traffic everything is said to be safe, in perfect order."""

    def traffic(scale: float, crashes: int) -> Steps:
        rise = scale * np.linspace(0.0, 1.0, 10)
        drives = [drive(10, "crash", s=rise)] * crashes
        return Steps.of([*drives, *[drive(10, "arrived", s=0.0)] * 10], 1.0)

    usual, denser = measure(traffic(1.0, 2), [traffic(0.01, 10)], 1.0, ["s"])
    assert denser.signals[0].auroc[0].value == usual.signals[0].auroc[0].value == 1.0
    assert usual.signals[0].safe[0].rates[0].estimate.value == 0.0
    assert denser.signals[0].safe[0].rates[0].estimate.value == pytest.approx(10 / 200)


# --- the file and the words -----------------------------------------------------------------------


def without_nan(measured: Measured) -> str:
    return repr(measured).replace("nan", "None")


def test_the_file_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "foresight.json"
    first = foresight()
    first.write(path)
    again = read_foresight(path)
    for one, other in zip(first.traffics, again.traffics, strict=True):
        assert without_nan(one.measured) == without_nan(other.measured)
        assert (one.title, one.env_kwargs, one.data) == (other.title, other.env_kwargs, other.data)
    assert (again.agent, again.settings, again.seconds) == ("gated", {"algo": "vlsafe"}, 0.5)


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("version",), 2, "is of version 2, this program reads 1"),
        (("agent",), 3, "agent is 3, no str"),
        (("seconds",), "1", "seconds is '1', no number"),
        (("seconds",), 0, "it holds no drives"),
        (("traffics",), [], "it holds no drives"),
        (("traffics", 0, "measured", "drives"), True, "drives is True, no int"),
        (("traffics", 1, "measured", "base", 0, "horizon"), 3, "has other horizons"),
        (("traffics", 1, "measured", "signals", 0, "name"), "x", "has other signals"),
        (("traffics", 0, "measured", "signals", 0, "auroc"), [], "lacks figures of some horizons"),
        (("traffics", 0, "measured", "signals", 0, "auroc", 0), {}, "'value'"),
        (("traffics", 0), 7, "not subscriptable"),
    ],
)
def test_another_file_is_refused_with_its_name(
    keys: tuple[Any, ...], value: Any, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "foresight.json"
    foresight().write(path)
    content: Any = json.loads(path.read_text())
    place = content
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message) as error:
        read_foresight(path)
    assert str(path) in str(error.value)
    assert "vlsafe foresight" in str(error.value)


def test_the_sentence_says_what_came_where_it_was_said_to_be_safe() -> None:
    found = foresight()
    said = words.sentence(found)
    assert said.startswith(
        "Where the signal “dream” says “safe” (P < 2%), a crash followed within 2 s"
    )
    for traffic in found.traffics:
        rate = words.safe_of(words.signal_of(traffic.measured.signals, "dream"), "P < 2%").rates[2]
        assert words.with_interval(rate) in said
    assert "in traffic as recorded" in said
    assert "at density 1.5" in said


def said_of(*traffics: list[Drive]) -> str:
    steps = [Steps.of(drives, 1.0) for drives in traffics]
    found = measure(steps[0], steps[1:], 1.0, ["dream"])
    named = [Traffic(AS_RECORDED, {}, None, found[0])]
    named += [Traffic("density 2", {}, None, one) for one in found[1:]]
    return words.sentence(Foresight("a", {}, "E-v0", 1.0, {}, tuple(named)))


def test_the_sentence_says_so_where_there_is_nothing_to_say() -> None:
    never = "no decision at density 2, where it never says so (20% of all)"
    low, high = np.linspace(0.0, 0.019, 10), np.full(10, 0.5)
    assert never in said_of([drive(10, "arrived", dream=low)], [drive(10, "crash", dream=high)])
    said = said_of([drive(10, "arrived", dream=high)], [drive(10, "crash", dream=high)])
    assert "“dream” says “safe” (safest 50%)" in said  # no chance is below 2% as recorded
    assert said_of([drive(10, "crash")]) == ""
    said = said_of([drive(10, "arrived", dream=low)], [drive(10, "cut", dream=low)])
    assert said == "None of 2 drives ended in a crash, so there was nothing to foresee."


def test_tables_have_a_row_for_each_signal_in_each_traffic() -> None:
    found = foresight()
    titles, rows = words.auroc_rows(found)
    assert titles == ["traffic", "signal", "within 0.5 s", "within 1 s", "within 2 s", "within 5 s"]
    assert [row[:2] for row in rows] == [
        [title, name] for title in ("as recorded", "density 1.5") for name in ("near", "dream")
    ]
    titles, rows = words.safe_rows(found)
    assert sorted(titles[2:]) == ["P < 2%", "safest 25%", "safest 5%", "safest 50%"]
    assert all(len(row) == len(titles) for row in rows)
    base = words.with_interval(found.traffics[0].measured.base[2].rate)
    assert rows[0] == ["as recorded", words.EVERYTHING, *[base] * 4]
    assert rows[1][2 + titles[2:].index("P < 2%")] == words.NONE  # "near" is no chance
