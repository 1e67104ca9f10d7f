"""Truth, reliability, warnings and agreement against hand-made and slow answers."""

import numpy as np
import pytest

from vlsafe_agents.audit import AuditConfig
from vlsafe_agents.audit.drives import Truth, calm, questions, seconds_until, truth_of
from vlsafe_agents.audit.statistics import (
    bin_numbers,
    kappa,
    lead_times,
    reliability,
    scores_before,
    threshold_at,
)
from wrappers.ranking import spearman

INF = np.inf


def truth(
    lengths: tuple[int, ...],
    collision: tuple[int, ...] = (),
    off_road: tuple[int, ...] = (),
    truncated: tuple[int, ...] = (),
    near: dict[int, float] | None = None,
    seconds: float = 1.0,
) -> Truth:
    """Frames of episodes; the other arguments are rows where something is so."""
    count = sum(lengths)

    def at(rows: tuple[int, ...]) -> np.ndarray:
        return np.isin(np.arange(count), rows)

    columns = {"collision": at(collision), "off_road": at(off_road)}
    columns |= {"time_to_collision": np.full(count, INF), "headway": np.full(count, INF)}
    for row, value in (near or {}).items():
        columns["time_to_collision"][row] = value
    time = np.concatenate([np.arange(length) * seconds for length in lengths])
    return truth_of(np.repeat(np.arange(len(lengths)), lengths), time, at(truncated), columns)


def test_seconds_until_an_event_never_look_into_the_next_episode() -> None:
    rng = np.random.default_rng(0)
    episode = np.sort(rng.integers(0, 6, 80))
    time = np.concatenate([np.arange((episode == k).sum()) * 0.2 for k in range(6)])
    event = rng.random(80) < 0.08
    for row, found in enumerate(seconds_until(event, episode, time)):
        later = [t for t in range(row, 80) if event[t] and episode[t] == episode[row]]
        assert found == pytest.approx(time[later[0]] - time[row] if later else INF)


def test_questions_count_the_event_itself_and_the_seconds_before() -> None:
    known = truth((5, 3), collision=(4,), off_road=(7,))
    asked = questions(known, horizon=2.0, time_to_collision=2.0)
    assert np.flatnonzero(asked["collision"].positive).tolist() == [2, 3, 4]
    assert np.flatnonzero(asked["off_road"].positive).tolist() == [5, 6, 7]
    assert np.flatnonzero(asked["event"].positive).tolist() == [2, 3, 4, 5, 6, 7]
    assert np.flatnonzero(asked["ahead"].positive).tolist() == [2, 3, 5, 6]
    assert np.flatnonzero(~asked["ahead"].known).tolist() == [4, 7]  # these show it already
    assert asked["event"].known.all()


def test_what_the_time_limit_cut_off_is_no_answer() -> None:
    """Nobody knows what would have followed the last second; an arrival ends the story."""
    cut = questions(truth((5,), truncated=(4,)), 2.0, 2.0)
    assert cut["event"].known.tolist() == [True, True, True, False, False]
    assert not cut["event"].positive.any()
    arrived = questions(truth((5,)), 2.0, 2.0)
    assert arrived["event"].known.all()
    before = questions(truth((5,), collision=(3,), truncated=(4,)), 2.0, 2.0)
    assert before["event"].positive.tolist() == [False, True, True, True, False]
    assert before["event"].known.tolist() == [True, True, True, True, False]


def test_time_to_collision_is_asked_strictly_below() -> None:
    asked = questions(truth((3,), near={0: 2.0, 1: 1.99}), 2.0, 2.0)["time_to_collision"]
    assert asked.positive.tolist() == [False, True, False]


def test_calm_is_far_from_everything() -> None:
    known = truth((8,), collision=(7,), near={1: 3.0})
    known.headway[2] = 0.7
    assert np.flatnonzero(calm(known, 2.0, 2.0)).tolist() == [0, 3]  # row 4 is 3 s before
    assert np.flatnonzero(calm(truth((6,), truncated=(5,)), 2.0, 2.0)).tolist() == [0, 1, 2]


def test_reliability_of_known_scores() -> None:
    score = np.array([0.05, 0.05, 0.95, 0.95, 0.95, 1.0], np.float32)
    safe = np.array([False, True, True, True, True, False])
    found = reliability(score, safe, np.arange(6), np.ones((2, 6)), 0.95)
    assert [one.frames for one in found.bins] == [2, 0, 0, 0, 0, 0, 0, 0, 0, 4]
    assert found.bins[0].safe_share.value == 0.5
    assert found.bins[9].mean_score == pytest.approx((3 * 0.95 + 1) / 4)
    assert np.isnan(found.bins[4].mean_score)
    expected = 2 / 6 * abs(0.5 - 0.05) + 4 / 6 * abs(0.75 - (3 * 0.95 + 1) / 4)
    assert found.error == pytest.approx(expected)


def test_scores_that_are_true_probabilities_have_next_to_no_calibration_error() -> None:
    rng = np.random.default_rng(0)
    score = rng.random(20_000).astype(np.float32)
    safe = rng.random(20_000) < score
    episode = np.arange(20_000) // 20
    honest = reliability(score, safe, episode, np.ones((1, 1000)), 0.95)
    boastful = reliability(np.sqrt(score), safe, episode, np.ones((1, 1000)), 0.95)
    assert honest.error < 0.02
    assert boastful.error == pytest.approx(2 / 3 - 1 / 2, abs=0.02)  # mean sqrt(p) - mean p


def test_every_score_falls_into_one_of_ten_bins() -> None:
    edges = np.array([0.0, 0.099, 0.1, 0.5, 0.999, 1.0])
    assert bin_numbers(edges).tolist() == [0, 0, 1, 5, 9, 9]


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.2, 0.5])
def test_a_threshold_keeps_to_its_rate_of_false_alarms_and_is_the_highest(rate: float) -> None:
    rng = np.random.default_rng(1)
    score = np.round(rng.random(500), 2).astype(np.float32)
    score[rng.random(500) < 0.1] = np.nan
    quiet = rng.random(500) < 0.7
    threshold = threshold_at(score, quiet, rate)
    inside = score[quiet & ~np.isnan(score)]
    assert (inside < threshold).mean() <= rate
    assert (inside < np.nextafter(np.float32(threshold), np.float32(2))).mean() > rate
    assert np.isnan(threshold_at(score, np.zeros(500, bool), rate))


def test_a_constant_score_never_warns() -> None:
    score = np.full(50, 0.3, np.float32)
    assert not (score < threshold_at(score, np.ones(50, bool), 0.05)).any()


def test_lead_is_the_unbroken_run_of_warnings_up_to_the_event() -> None:
    known = truth((6, 4, 3, 3, 2), collision=(5, 9, 12), off_road=(16,))
    warns = np.zeros(18, bool)
    warns[[0, 3, 4]] = True  # the first is broken off: two frames remain
    warns[[7, 9]] = True  # silent in the last frame before; the event's own does not count
    warns[[10, 11]] = True  # from the beginning
    warns[13] = True  # an episode without an event
    found = lead_times(warns, known.until_event, known.episode)
    assert found.episode.tolist() == [0, 1, 2]  # the fifth begins with its event
    assert found.seconds.tolist() == [2.0, 0.0, 2.0]
    weights = np.ones((3, 5))
    assert found.share_at_least(1.0, weights, 0.95).value == pytest.approx(2 / 3)
    assert found.share_at_least(2.5, weights, 0.95).value == 0.0


def test_leads_are_seconds_not_frames() -> None:
    known = truth((5,), collision=(4,), seconds=0.2)
    found = lead_times(np.array([False, True, True, True, True]), known.until_event, known.episode)
    np.testing.assert_allclose(found.seconds, [0.6])


def test_scores_before_an_event_are_lined_up_by_time() -> None:
    known = truth((4, 3), collision=(3, 6))
    score = np.array([0.9, 0.8, 0.4, 0.1, 0.6, np.nan, 0.3], np.float32)
    quartiles = scores_before(score, known.until_event, np.array([0.0, 1.0, 2.0, 5.0]))
    np.testing.assert_allclose(quartiles[:3, 1], [0.2, 0.4, 0.7], atol=1e-6)
    assert np.isnan(quartiles[3]).all()


def test_spearman_equals_pearson_of_ranks_and_skips_missing_labels() -> None:
    rng = np.random.default_rng(2)
    first = np.round(rng.random(60), 1).astype(np.float32)
    second = np.round(first + rng.normal(size=60), 1).astype(np.float32)
    ranks = [[np.mean([(v > w) + 0.5 * (v == w) for w in x]) for v in x] for x in (first, second)]
    assert spearman(first, second) == pytest.approx(np.corrcoef(ranks)[0, 1])
    assert spearman(first, -first) == pytest.approx(-1.0)
    assert spearman(first, first**3) == pytest.approx(1.0)
    holes = first.copy()
    holes[:20] = np.nan
    assert spearman(holes, second) == pytest.approx(spearman(first[20:], second[20:]))
    assert np.isnan(spearman(first, np.full(60, 0.5, np.float32)))


def test_kappa_of_a_known_table() -> None:
    """Cohen's own form of example: 45 both yes, 25 both no, 15 and 15 apart."""
    first = np.repeat([True, False, True, False], [45, 25, 15, 15])
    second = np.repeat([True, False, False, True], [45, 25, 15, 15])
    expected = 0.6 * 0.6 + 0.4 * 0.4
    assert kappa(first, second) == pytest.approx((0.7 - expected) / (1 - expected))
    assert kappa(first, first) == 1.0
    assert np.isnan(kappa(np.zeros(5, bool), np.zeros(5, bool)))
    assert np.isnan(kappa(first[:0], second[:0]))


@pytest.mark.parametrize(
    "wrong",
    [
        {"horizon": 0.0},
        {"time_to_collision": -1.0},
        {"false_alarm_rate": 1.0},
        {"confidence": 0.0},
        {"resamples": 0},
        {"gallery": -1},
    ],
)
def test_impossible_settings_are_refused_by_name(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        AuditConfig(**wrong)  # type: ignore[arg-type]
