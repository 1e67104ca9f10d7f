"""The rule from intervals to words."""

import pytest

from vlsafe_agents.audit.results import (
    RULE,
    VERDICTS,
    Answer,
    Evidence,
    Group,
    WarningPoint,
    interval,
    passed,
    plain,
)
from vlsafe_agents.audit.verdicts import sentence
from vlsafe_agents.evaluation.resampling import Estimate

NOTHING = Estimate(float("nan"), float("nan"), float("nan"))


def evidence(low: float, high: float, episodes: int = 50, calm: int = 50) -> Evidence:
    return Evidence(Estimate((low + high) / 2, low, high), 1000, 100, episodes, calm)


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (0.90, 0.95, "good"),
        (0.899, 0.99, "usable with care"),
        (0.70, 0.75, "usable with care"),
        (0.699, 0.95, "weak"),
        (0.501, 0.6, "weak"),
        (0.50, 0.9, "no better than chance"),
        (0.50, 0.50, "no better than chance"),
        (0.30, 0.50, "no better than chance"),
        (0.30, 0.499, "worse than chance"),
    ],
)
def test_the_lower_end_of_the_interval_decides(low: float, high: float, word: str) -> None:
    assert evidence(low, high).verdict == word


@pytest.mark.parametrize(("episodes", "calm"), [(9, 50), (50, 9), (0, 0)])
def test_few_episodes_allow_no_verdict_however_clear_the_figure(episodes: int, calm: int) -> None:
    assert evidence(0.99, 1.0, episodes, calm).verdict == "not enough data to say"
    assert evidence(0.99, 1.0, 10, 10).verdict == "good"


def test_labels_pass_from_usable_on_and_too_little_data_is_no_failure() -> None:
    results = {word: passed(word) for word in VERDICTS}
    assert [word for word, ok in results.items() if ok] == ["good", "usable with care"]
    assert [word for word, ok in results.items() if ok is None] == ["not enough data to say"]
    with pytest.raises(ValueError, match="'splendid' is no verdict"):
        passed("splendid")


def test_the_rule_names_every_verdict_and_its_limits() -> None:
    assert all(word in RULE for word in VERDICTS)
    assert all(number in RULE for number in ("0.5", "0.7", "0.9", "10"))


def answers(low: float, high: float, episodes: int = 50) -> dict[str, Answer]:
    known = evidence(low, high, episodes)
    return {
        "event": Answer("collision within 2 s", known, NOTHING),
        "time_to_collision": Answer("time to collision under 2 s", known, NOTHING),
    }


def test_the_sentence_holds_the_interval_the_weakest_place_and_the_price_of_warnings() -> None:
    groups = (
        Group("data set", "highway", answers(0.9, 0.94)),
        Group("data set", "roundabout", answers(0.6, 0.7)),
        Group("data set", "intersection", answers(0.1, 0.2, episodes=3)),  # too few to say
        Group("scenario", "merge", answers(0.1, 0.2)),
    )
    point = WarningPoint(0.37, Estimate(0.05, 0.04, 0.06), NOTHING)
    ahead = {"1": Estimate(0.78, 0.7, 0.8)}
    text = sentence(answers(0.85, 0.89), groups, point, ahead, unlabelled=1234)
    for part in (
        "0.87 (0.85 to 0.89) for collision within 2 s (50 episodes hold one)",
        "Weakest on roundabout: 0.65 (0.60 to 0.70), weak.",
        "p below 0.37, false in 5.0% of calm frames, 78%",
        "1,234 frames have no label",
    ):
        assert part in text
    chance = sentence(answers(0.45, 0.55), groups, point, ahead, unlabelled=0)
    assert "Weakest" not in chance
    assert "warnings" not in chance
    few = sentence(answers(0.9, 1.0, episodes=4), groups, point, ahead, unlabelled=0)
    assert "Only 4 episodes" in few


def test_intervals_are_written_out_and_missing_ones_are_dashes() -> None:
    assert interval(Estimate(0.912, 0.897, 0.934)) == "0.91 (0.90 to 0.93)"
    assert interval(Estimate(0.5, float("nan"), float("nan"))) == "0.50"
    assert interval(NOTHING) == "\u2013"


def test_json_has_no_nan_and_no_infinity() -> None:
    found = plain({"a": NOTHING, "b": [float("inf"), 1], "c": True, "d": (evidence(0.9, 0.95),)})
    assert found["a"] == {"value": None, "low": None, "high": None}
    assert found["b"] == [None, 1]
    assert found["c"] is True
    assert found["d"][0]["verdict"] == "good"
