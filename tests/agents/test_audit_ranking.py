"""AUROC and average precision against slow references, weighted by episode too."""

import time

import numpy as np
import pytest

from vlsafe_agents.evaluation.resampling import (
    Estimate,
    Ranking,
    episode_weights,
    weighted_share,
)
from wrappers.ranking import mid_ranks


def both(risk: np.ndarray, positive: np.ndarray) -> tuple[float, float]:
    """AUROC and average precision of frames that count once each."""
    (auroc,), (precision,) = Ranking(risk, positive, np.zeros(len(risk), np.int64))()
    return float(auroc), float(precision)


def auroc(risk: np.ndarray, positive: np.ndarray) -> float:
    return both(risk, positive)[0]


def average_precision(risk: np.ndarray, positive: np.ndarray) -> float:
    return both(risk, positive)[1]


def slow_auroc(risk: np.ndarray, positive: np.ndarray, weight: np.ndarray) -> float:
    """Every positive against every negative."""
    won = total = 0.0
    for i in np.flatnonzero(positive):
        for j in np.flatnonzero(~positive):
            pair = weight[i] * weight[j]
            won += pair * (1.0 if risk[i] > risk[j] else 0.5 if risk[i] == risk[j] else 0.0)
            total += pair
    return won / total if total else float("nan")


def slow_average_precision(risk: np.ndarray, positive: np.ndarray, weight: np.ndarray) -> float:
    """Threshold by threshold from the highest risk down: sum of (R_n - R_n-1) P_n."""
    found = (weight * positive).sum()
    if not found or not (weight * ~positive).sum():
        return float("nan")
    total = recall = 0.0
    for threshold in sorted(set(risk), reverse=True):
        above = risk >= threshold
        hits, all_above = (weight * positive)[above].sum(), weight[above].sum()
        if all_above:
            total += (hits / found - recall) * hits / all_above
            recall = hits / found
    return total


def some_frames(
    rng: np.random.Generator, count: int, values: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Risks with many ties, truth, and episodes."""
    risk = rng.integers(0, values, count).astype(float)
    return risk, rng.random(count) < 0.3, np.sort(rng.integers(0, 8, count))


@pytest.mark.parametrize("values", [1, 2, 5, 1000])
def test_both_measures_equal_the_slow_references_for_any_weights_of_episodes(values: int) -> None:
    rng = np.random.default_rng(values)
    risk, positive, episode = some_frames(rng, 70, values)
    weights = rng.integers(0, 4, (6, 8)).astype(float)
    aurocs, precisions = Ranking(risk, positive, episode)(weights)
    for row, weight in enumerate(weights):
        of_frame = weight[episode]
        assert aurocs[row] == pytest.approx(slow_auroc(risk, positive, of_frame))
        assert precisions[row] == pytest.approx(slow_average_precision(risk, positive, of_frame))


def test_drawing_an_episode_twice_is_the_same_as_giving_it_twice() -> None:
    risk, positive, episode = some_frames(np.random.default_rng(3), 60, 7)
    weights = np.ones((1, 8))
    weights[0, 5], weights[0, 2] = 2.0, 0.0
    rows = np.concatenate((np.flatnonzero(episode != 2), np.flatnonzero(episode == 5)))
    (weighted,), _ = Ranking(risk, positive, episode)(weights)
    assert weighted == pytest.approx(auroc(risk[rows], positive[rows]))


def test_auroc_is_the_share_of_pairs_in_the_right_order() -> None:
    rng = np.random.default_rng(0)
    score, positive = rng.integers(0, 6, 60).astype(float), rng.random(60) < 0.3
    pairs = score[positive][:, None] - score[~positive][None]
    slow = ((pairs > 0) + 0.5 * (pairs == 0)).mean()
    assert auroc(score, positive) == pytest.approx(slow)
    assert np.isnan(auroc(score, np.zeros(60, bool)))


def test_known_values() -> None:
    truth = np.array([True, True, False, False])
    assert auroc(np.array([4.0, 3.0, 2.0, 1.0]), truth) == 1.0
    assert auroc(np.array([1.0, 2.0, 3.0, 4.0]), truth) == 0.0
    assert auroc(np.ones(4), truth) == 0.5
    assert average_precision(np.ones(4), truth) == 0.5  # the share of positives
    # hits at ranks 1 and 3: (1/1 + 2/3) / 2
    assert average_precision(np.array([4.0, 2.0, 3.0, 1.0]), truth) == pytest.approx(5 / 6)


def test_one_kind_only_has_no_value_and_nan_is_refused() -> None:
    assert np.isnan(auroc(np.arange(3.0), np.ones(3, bool)))
    assert np.isnan(average_precision(np.arange(3.0), np.zeros(3, bool)))
    assert np.isnan(auroc(np.zeros(0), np.zeros(0, bool)))
    with pytest.raises(ValueError, match="NaN"):
        auroc(np.array([0.1, np.nan]), np.array([True, False]))
    with pytest.raises(ValueError, match=r"must all be \(N,\)"):
        Ranking(np.zeros(3), np.zeros(4, bool), np.zeros(3))


def test_a_resample_without_positives_has_no_value_and_leaves_the_others_alone() -> None:
    risk, positive = np.array([2.0, 1.0, 3.0]), np.array([True, False, False])
    values, _ = Ranking(risk, positive, np.array([0, 1, 1]))(np.array([[0.0, 2.0], [1.0, 1.0]]))
    assert np.isnan(values[0])
    assert values[1] == 0.5
    known = Estimate.of(0.5, values, 0.95)
    assert (known.low, known.high) == (0.5, 0.5)


def test_mid_ranks_share_ties() -> None:
    np.testing.assert_array_equal(mid_ranks(np.array([5, 1, 5, 3])), [3.5, 1.0, 3.5, 2.0])


def test_episodes_are_drawn_within_their_data_set_and_as_often_as_there_are() -> None:
    group = np.array([0, 0, 0, 1, 1, 7])
    weights = episode_weights(group, 500, seed=1)
    assert weights.shape == (500, 6)
    for name, members in ((0, 3), (1, 2), (7, 1)):
        assert (weights[:, group == name].sum(1) == members).all()
    assert weights[:, 0].mean() == pytest.approx(1.0, abs=0.15)
    np.testing.assert_array_equal(weights, episode_weights(group, 500, seed=1))
    assert (weights != episode_weights(group, 500, seed=2)).any()


def test_frames_of_few_episodes_do_not_pass_for_many_observations() -> None:
    """40 equal frames an episode know no more than one: the interval must not shrink by 40."""
    rng = np.random.default_rng(0)
    level, positive = rng.normal(size=30), rng.random(30) < 0.5
    intervals = []
    for copies in (1, 40):
        risk, truth = np.repeat(level, copies), np.repeat(positive, copies)
        ranking = Ranking(risk, truth, np.repeat(np.arange(30), copies))
        values, _ = ranking(episode_weights(np.zeros(30, np.int64), 300, seed=0))
        intervals.append(Estimate.of(ranking()[0][0], values, 0.95))
    assert intervals[0].value == pytest.approx(intervals[1].value)
    assert intervals[0].low == pytest.approx(intervals[1].low)
    assert intervals[1].high - intervals[1].low > 0.2


def test_intervals_of_a_known_shift_cover_it_about_as_often_as_they_say() -> None:
    """Scores of two unit normals 1 apart have AUROC 0.760; 90% intervals over episodes."""
    rng = np.random.default_rng(4)
    covered = 0
    for trial in range(60):
        positive = np.tile([True, False, False], 40)
        risk = rng.normal(size=120) + positive
        ranking = Ranking(risk, positive, np.repeat(np.arange(40), 3))
        values, _ = ranking(episode_weights(np.zeros(40, np.int64), 300, seed=trial))
        found = Estimate.of(ranking()[0][0], values, 0.9)
        covered += found.low <= 0.7602 <= found.high
    assert 45 <= covered <= 60


def test_the_weighted_share_is_that_of_frames() -> None:
    hit, episode = np.array([True, False, True, True]), np.array([0, 0, 1, 1])
    weights = np.array([[1.0, 1.0], [2.0, 0.0], [0.0, 2.0]])
    found = weighted_share(hit, episode, weights, 0.99)
    assert found.value == 0.75
    assert found.low == pytest.approx(0.5, abs=0.01)
    assert found.high == pytest.approx(1.0, abs=0.01)
    assert np.isnan(weighted_share(hit[:0], episode[:0], weights, 0.9).value)


def test_fifty_thousand_frames_are_resampled_in_seconds() -> None:
    rng = np.random.default_rng(0)
    risk, positive = rng.random(50_000), rng.random(50_000) < 0.1
    ranking = Ranking(risk, positive, np.sort(rng.integers(0, 2000, 50_000)))
    weights = episode_weights(np.zeros(2000, np.int64), 200, seed=0)
    began = time.process_time()
    ranking(weights)
    assert time.process_time() - began < 10.0  # 0.1 s where nothing else runs
