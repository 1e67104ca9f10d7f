"""One interval for a figure, wherever it is shown, which also knows what never happened."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom, binomtest, poisson

from vlsafe_agents.evaluation import EpisodeRecord, aggregate_seeds, summarise
from vlsafe_agents.evaluation.intervals import count_interval, share_interval

SHARES = {
    "collision_rate": "collision",
    "off_road_rate": "off_road",
    "arrival_rate": "arrived",
    "off_route_rate": "off_route",
}


def records(hits: int, episodes: int, field: str = "collision") -> list[EpisodeRecord]:
    plain = EpisodeRecord(0, 30.0, 0.0, 0.0, 0.0, False, False, False, 40, 800.0, 20.0, None, False)
    return [replace(plain, seed=i, **{field: i < hits}) for i in range(episodes)]  # type: ignore[arg-type]


@pytest.mark.parametrize("hits", [0, 1, 7, 19, 20])
def test_a_share_has_the_exact_binomial_interval(hits: int) -> None:
    exact = binomtest(hits, 20).proportion_ci(0.95, method="exact")
    assert share_interval(hits, 20) == pytest.approx((exact.low, exact.high))
    for metric, field in SHARES.items():
        found = summarise(records(hits, 20, field))[metric]
        assert found == pytest.approx({"mean": hits / 20, "low": exact.low, "high": exact.high})


@pytest.mark.parametrize("truth", [0.01, 0.05, 0.3, 0.97])
def test_the_interval_of_a_share_covers_the_truth_as_often_as_it_says(truth: float) -> None:
    hits = np.arange(41)
    covers = [low <= truth <= high for low, high in (share_interval(k, 40) for k in hits)]
    assert binom.pmf(hits, 40, truth)[covers].sum() >= 0.95


@pytest.mark.parametrize("truth", [0.1, 2.0, 30.0])
def test_the_interval_of_a_count_covers_the_truth_as_often_as_it_says(truth: float) -> None:
    events = np.arange(200)
    ends = [count_interval(k, 1.0) for k in events]
    covers = [low <= truth <= high for low, high in ends]
    assert poisson.pmf(events, truth)[covers].sum() >= 0.95


def test_no_crash_on_few_kilometres_may_be_some_on_many() -> None:
    found = summarise(records(0, 10))["collisions_per_km"]  # of 0.8 km each
    assert found["high"] == pytest.approx(-math.log(0.025) / 8.0)
    per_step = summarise(records(0, 10))["collisions_per_1000_steps"]
    assert per_step["high"] == pytest.approx(-1000 * math.log(0.025) / 400)


def test_one_episode_gives_means_no_interval() -> None:
    found = summarise(records(1, 1))
    assert found["return"] == {"mean": 30.0, "low": None, "high": None}
    assert found["collision_rate"] == pytest.approx({"mean": 1.0, "low": 0.025, "high": 1.0})
    one_crash = [replace(r, collision_speed=17.0 if r.collision else None) for r in records(1, 9)]
    assert summarise(one_crash)["collision_speed"] == {"mean": 17.0, "low": None, "high": None}


def test_one_training_seed_has_the_interval_of_its_episodes() -> None:
    rng = np.random.default_rng(0)
    episodes = [replace(r, episode_return=float(rng.normal())) for r in records(3, 20)]
    alone = summarise(episodes)
    assert aggregate_seeds([episodes]) == {
        name: entry | {"per_seed": [entry["mean"]]} for name, entry in alone.items()
    }


@pytest.mark.parametrize("hits", [0, 20])
def test_what_no_training_seed_or_every_one_does_has_an_interval(hits: int) -> None:
    found = aggregate_seeds([records(hits, 20)] * 3)["collision_rate"]
    assert (found["low"], found["high"]) == pytest.approx(share_interval(3 * hits, 60))


def test_seeds_that_differ_widen_the_interval_and_never_narrow_it() -> None:
    apart = aggregate_seeds([records(0, 20), records(20, 20)])["collision_rate"]
    assert (apart["low"], apart["high"]) == (0.0, 1.0)
    alike = aggregate_seeds([records(10, 20), records(10, 20)])["collision_rate"]
    low, high = share_interval(20, 40)
    assert alike["low"] <= low
    assert alike["high"] >= high


def changed(field: str, values: list[Any]) -> list[EpisodeRecord]:
    return [
        replace(record, **{field: value})
        for record, value in zip(records(0, len(values)), values, strict=True)
    ]


@pytest.mark.parametrize(("metric", "field"), SHARES.items())
def test_what_is_not_reported_in_every_episode_is_not_known(metric: str, field: str) -> None:
    nothing = {"mean": None, "low": None, "high": None}
    assert summarise(changed(field, [None, None]))[metric] == nothing
    assert summarise(changed(field, [True, None, None]))[metric] == nothing  # and not 100%
    if field == "collision":
        found = summarise(changed(field, [True, None]))
        assert found["collisions_per_km"] == found["collisions_per_1000_steps"] == nothing


@pytest.mark.parametrize(
    "wrong", [{"n_resamples": 0}, {"confidence": 1.0}, {"confidence": 0.0}, {"seed": -1}]
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    for function, given in ((summarise, records(1, 2)), (aggregate_seeds, [records(1, 2)] * 2)):
        with pytest.raises(ValueError, match=f"got {next(iter(wrong.values()))}"):
            function(given, **wrong)  # type: ignore[operator]


def test_a_cost_that_never_arose_is_not_shown_to_be_nothing() -> None:
    free = [replace(record, env_cost=0.0) for record in records(0, 9)]
    for found in (summarise(free), aggregate_seeds([free, free])):
        assert (found["env_cost"]["mean"], found["env_cost"]["high"]) == (0.0, None)
    dear = [replace(record, env_cost=float(i == 0)) for i, record in enumerate(free)]
    assert summarise(dear)["env_cost"]["high"] > 0.2  # type: ignore[operator]
