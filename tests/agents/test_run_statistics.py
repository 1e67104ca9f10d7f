"""Statistics over few training runs, against rliable's figures, closed forms and enumeration."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rliable_reference import SHAPES, scores
from scipy.stats import norm, trim_mean

from vlsafe_agents.evaluation.run_statistics import (
    estimate,
    estimate_improvement,
    improvement,
    interquartile_mean,
    mean_score,
    performance_profile,
    profile_of_episodes,
)

GOLDEN = Path(__file__).parent / "golden" / "rliable.json"


@pytest.fixture(scope="module")
def reference() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(GOLDEN.read_text())
    return found


@pytest.mark.parametrize("shape", SHAPES)
def test_points_are_those_of_rliable(reference: dict[str, Any], shape: str) -> None:
    pair, known = scores()[shape], reference[shape]
    assert float(interquartile_mean(pair["x"])) == pytest.approx(known["iqm"], abs=1e-12)
    assert float(mean_score(pair["x"])) == pytest.approx(known["mean"], abs=1e-12)
    assert float(improvement(pair["x"], pair["y"])) == pytest.approx(known["improvement"])
    profile = performance_profile(pair["x"], reference["thresholds"])
    np.testing.assert_allclose(profile, known["profile"], atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_intervals_are_those_of_rliable(reference: dict[str, Any], shape: str) -> None:
    """Two random generators: they agree as far as so many resamples know their percentiles."""
    pair, known = scores()[shape], reference[shape]
    found = estimate(pair["x"], interquartile_mean, 40_000)
    width = known["iqm_interval"][1] - known["iqm_interval"][0]
    assert [found.low, found.high] == pytest.approx(known["iqm_interval"], abs=0.03 * width)
    found = estimate(pair["x"], mean_score, 40_000)
    width = known["mean_interval"][1] - known["mean_interval"][0]
    assert [found.low, found.high] == pytest.approx(known["mean_interval"], abs=0.03 * width)
    better = estimate_improvement(pair["x"], pair["y"], 40_000)
    width = known["improvement_interval"][1] - known["improvement_interval"][0]
    assert [better.low, better.high] == pytest.approx(
        known["improvement_interval"], abs=0.05 * width
    )


def test_the_interval_is_that_of_all_resamples_of_three_runs_on_two_tasks() -> None:
    values = np.array([[0.0, 5.0], [1.0, 7.0], [4.0, 6.0]])
    draws = list(itertools.product(range(3), repeat=3))
    every = [
        np.mean([values[list(first), 0], values[list(second), 1]])
        for first in draws
        for second in draws
    ]
    low, high = np.percentile(every, [2.5, 97.5])
    found = estimate(values, mean_score, 100_000)
    assert (found.value, found.low, found.high) == pytest.approx((values.mean(), low, high))


def test_tasks_are_resampled_apart() -> None:
    """Runs of one number on two tasks share nothing, so their errors average out."""
    same = np.arange(20.0)[:, None]
    one, two = estimate(same, mean_score), estimate(np.hstack([same, same]), mean_score)
    assert (two.high - two.low) / (one.high - one.low) == pytest.approx(1 / math.sqrt(2), rel=0.1)


def test_closed_forms() -> None:
    even = np.linspace(0.0, 1.0, 1001)[:, None]
    assert float(interquartile_mean(even)) == pytest.approx(0.5)
    square = np.linspace(0.0, 1.0, 100_001)[:, None] ** 2  # the middle half: 2 * integral of u^2
    exact = 2 * (0.75**3 - 0.25**3) / 3
    assert float(interquartile_mean(square)) == pytest.approx(exact, abs=1e-4)
    rng = np.random.default_rng(0)
    x, y = rng.normal(0.5, 1.0, (1000, 4)), rng.normal(0.0, 1.0, (1000, 4))
    exact = norm.cdf(0.5 / math.sqrt(2))
    assert float(improvement(x, y)) == pytest.approx(exact, abs=0.02)
    assert float(improvement(x, x)) == 0.5
    assert float(improvement(x, y) + improvement(y, x)) == pytest.approx(1.0)


@pytest.mark.parametrize("shape", [(1, 1), (3, 1), (4, 1), (5, 3), (7, 2)])
def test_interquartile_mean_is_scipys_trimmed_mean(shape: tuple[int, int]) -> None:
    values = np.random.default_rng(1).normal(size=shape)
    assert float(interquartile_mean(values)) == pytest.approx(trim_mean(values, 0.25, axis=None))


def test_an_outlier_moves_the_mean_and_not_the_interquartile_mean() -> None:
    values = np.array([[0.4], [0.5], [0.6], [0.5], [0.5]])
    spoilt = values.copy()
    spoilt[1] = 1e6
    assert float(interquartile_mean(spoilt)) == pytest.approx(0.5, abs=0.05)
    assert float(mean_score(spoilt)) > 1e5


def test_one_run_has_no_interval_over_runs() -> None:
    found = estimate([[0.5, 0.7]], mean_score)
    assert found.value == pytest.approx(0.6)
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert math.isnan(estimate_improvement([[1.0]], [[0.0]]).low)
    against_three = estimate_improvement([[1.0]], [[0.0], [2.0], [0.5]])
    assert against_three.value == pytest.approx(2 / 3)
    assert 0.0 <= against_three.low < against_three.high <= 1.0


def test_a_profile_of_episodes_is_the_share_above_and_its_band_holds_it() -> None:
    rng = np.random.default_rng(2)
    runs = [rng.normal(place, 1.0, 200) for place in (0.0, 0.5, 1.0)]
    levels = np.linspace(-2.0, 3.0, 11)
    share, low, high = profile_of_episodes(runs, levels)
    by_hand = [np.mean([np.mean(run > level) for run in runs]) for level in levels]
    np.testing.assert_allclose(share, by_hand)
    assert (np.diff(share) <= 0).all()
    assert (low <= share).all()
    assert (share <= high).all()
    alone, low, high = profile_of_episodes(runs[:1], [0.0])
    error = math.sqrt(alone[0] * (1 - alone[0]) / 200)  # of a share of 200 drives
    assert high[0] - low[0] == pytest.approx(2 * 1.96 * error, rel=0.2)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: estimate([1.0, 2.0]), "runs, tasks"),
        (lambda: estimate([[1.0], [math.nan]]), "not finite"),
        (lambda: estimate_improvement([[1.0, 2.0]], [[1.0]]), "same tasks"),
        (lambda: estimate([[1.0]], n_resamples=0), "n_resamples"),
        (lambda: profile_of_episodes([], [0.0]), "no episodes"),
    ],
)
def test_what_cannot_be_is_refused(call: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        call()
