"""Risks by a judge's word: nothing but frames decides them, and files say whose word it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from ledge import BRANCHER, BRANCHING, GO, SMALL, STAY, Ledge, drive, ledge_outcomes

from vlsafe_agents.risk import Outcomes, RiskModel, branch_outcomes
from vlsafe_agents.risk.examination import examine_on_new_drives, judgement
from vlsafe_agents.risk.judge import NO_FRAME, Judge, danger_ahead
from vlsafe_agents.risk.training import TrainingConfig, train
from wrappers import make_scorer


class PlaceScorer:
    """p falls from 1 by a tenth a place, as a frame of the ledge shows it.

    Args:
        speechless: places of which it gives no label.
    """

    def __init__(self, speechless: Sequence[int] = ()) -> None:
        self.speechless = speechless

    @property
    def identity(self) -> dict[str, Any]:
        return {"name": "place", "speechless": list(self.speechless)}

    def __call__(self, frames: Any, infos: Any = None) -> Any:
        assert infos is None
        place = frames[:, 0, 0, 0]
        scores = (1 - place / 10).astype(np.float32)
        return np.where(np.isin(place, self.speechless), np.float32(np.nan), scores)


JUDGE = Judge(PlaceScorer())


@pytest.fixture(scope="module")
def outcomes() -> Outcomes:
    return ledge_outcomes(judge=JUDGE)


def places(outcomes: Outcomes, row: int) -> list[int]:
    """Where a branch comes by, driven by hand."""
    place, found = int(outcomes.obs["place"][outcomes.state[row], 0]), list[int]()
    tail = GO if outcomes.tails[outcomes.tail[row]] == "go" else STAY
    for step in range(4):
        place += (outcomes.action[row] if step == 0 else tail) == GO
        found.append(place)
        if place >= 5:
            break
    return found


def test_what_the_judge_says_of_each_frame_is_kept(outcomes: Outcomes) -> None:
    assert outcomes.scores is not None
    for row in np.flatnonzero(outcomes.known(4.0)):
        seen = 1 - np.array(places(outcomes, row)) / 10
        np.testing.assert_allclose(outcomes.scores[row, : len(seen)], seen, rtol=1e-6)
        assert (outcomes.scores[row, len(seen) :] == NO_FRAME).all()
        for horizon in (1, 2, 4):
            found = outcomes.targets(float(horizon))[row]
            assert found == pytest.approx(1 - seen[:horizon].min(), abs=1e-6)
    assert np.isnan(outcomes.targets(4.0)[~outcomes.known(4.0)]).all()


def test_costs_do_not_enter(outcomes: Outcomes) -> None:
    class Lying(Ledge):
        def step(self, action: Any) -> Any:
            *rest, info = super().step(action)
            return *rest, {"cost": 1.0 - info["cost"]}

    given = (range(10_000), drive, BRANCHING, BRANCHER, 200)
    lied = branch_outcomes(Lying(), *given, judge=JUDGE)
    for name in ("scores", "seconds", "state", "reward"):
        np.testing.assert_array_equal(getattr(lied, name), getattr(outcomes, name))
    assert lied.events != outcomes.events


def test_states_are_chosen_where_frames_look_dangerous() -> None:
    calm, afraid = (Judge(make_scorer(f"constant:{p}")) for p in (1.0, 0.0))
    few, many = (ledge_outcomes(judge=judge, every=3.0) for judge in (calm, afraid))
    assert many.drive_steps < 0.7 * few.drive_steps


@pytest.mark.parametrize("seed", range(10))
def test_danger_beside_a_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.random((5, 6)).astype(np.float32)
    scores[rng.random((5, 6)) < 0.1] = np.nan
    scores[:3, 4:] = NO_FRAME
    for row, found in zip(scores, danger_ahead(scores, 5), strict=True):
        frames = [score for score in row[:5] if score != NO_FRAME]
        if any(np.isnan(score) for score in frames):
            assert np.isnan(found)
        else:
            assert found == max(np.float32(1) - score for score in frames)


def test_nothing_is_learnt_of_frames_without_a_label() -> None:
    silent = ledge_outcomes(judge=Judge(PlaceScorer(speechless=(2,))))
    target = silent.targets(4.0)
    for row in np.flatnonzero(silent.known(4.0)):
        assert np.isnan(target[row]) == (2 in places(silent, row))
    model = RiskModel(Ledge.observation_space, spaces.Discrete(2), ("go", "stay"), SMALL)
    risk = model.fit(silent).estimate({"place": np.ones((1, 1))}, np.array([[STAY]])).risk
    assert np.isfinite(risk).all()


def test_danger_is_learnt(outcomes: Outcomes) -> None:
    model = RiskModel(Ledge.observation_space, spaces.Discrete(2), ("go", "stay"), SMALL)
    model.fit(outcomes)
    assert model.judge == JUDGE.name
    at = {"place": np.arange(4, dtype=np.float32)[:, None]}
    risk = model.estimate(at, np.tile([[STAY, GO]], (4, 1))).risk  # (4, 2, 2)
    place, action, tail = np.indices((4, 2, 2))
    comes_to = np.minimum(place + action + np.where(tail == 0, 3, 0), 5)
    np.testing.assert_allclose(risk, comes_to / 10, atol=0.06)


# --- examination ----------------------------------------------------------------------------------


def test_the_judge_is_held_against_events() -> None:
    """Two of five branches end badly, one of them at once; the judge sees one coming."""
    table = ledge_outcomes(3, judge=JUDGE).select(np.arange(5))
    end = NO_FRAME
    scores = [[0.9, 0.3, 0.1], [0.2, end, end], [0.9, 0.9, 0.9], [0.9, 0.4, 0.9], [1, 1, 1]]
    given = replace(
        table,
        scores=np.array(scores, np.float32),
        event_time=np.array([3, 1, np.inf, np.inf, np.inf], np.float32),
        seconds=np.full(5, np.inf, np.float32),
    )
    found = judgement(given, 3.0)
    assert found.auroc.value == 1.0  # dangers 0.9 and 0.8 above 0.1, 0.6, 0
    assert found.auroc_before.value == 1.0  # 0.7 above them; the second shows only the event
    assert found.mean_danger_event == pytest.approx(0.85)
    assert found.mean_danger_calm == pytest.approx(0.7 / 3)
    late = judgement(replace(given, scores=np.where(given.scores == 0.3, 0.5, given.scores)), 3.0)
    assert late.auroc.value == 1.0
    assert late.auroc_before.value == pytest.approx(2 / 3)
    calm = judgement(given.select(np.arange(2, 5)), 3.0).to_json()
    assert calm["mean_danger_event"] is None


# --- files ----------------------------------------------------------------------------------------


def test_files_say_whose_word_they_hold(outcomes: Outcomes, tmp_path: Path) -> None:
    truth = ledge_outcomes(5)
    for number, table in enumerate((outcomes, truth)):
        table.save(tmp_path / f"{number}.npz")
        read = Outcomes.load(tmp_path / f"{number}.npz")
        assert read.judge == table.judge
        np.testing.assert_array_equal(read.targets(4.0), table.targets(4.0))
        twice = Outcomes.joined([table, read]).targets(4.0)
        np.testing.assert_array_equal(twice, np.tile(table.targets(4.0), 2))
    with pytest.raises(ValueError, match=r"the word of the simulator, not of .*place"):
        Outcomes.joined([outcomes, truth])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"judge": ""}, "scores by the judge ''"),
        ({"scores": None}, "no scores by the judge"),
        ({"scores": np.zeros((3, 4), np.float32)}, r"scores \(3, 4\)"),
        ({"interval": 0.0}, "0.0 s apart"),
        ({"scores": "high"}, "scores"),
    ],
)
def test_impossible_scores_are_refused(
    outcomes: Outcomes, changes: dict[str, Any], words: str
) -> None:
    if isinstance(changes.get("scores"), str):
        changes = {"scores": np.full((len(outcomes), 4), 1.5, np.float32)}
    with pytest.raises(ValueError, match=words):
        replace(outcomes, **changes)


def test_a_training_does_not_learn_from_another_word(tmp_path: Path) -> None:
    config = TrainingConfig(states=30, rounds=1, round_states=20, model=SMALL)
    given = (Ledge(), tmp_path, drive, BRANCHER, BRANCHING, config)
    model, again = (train(*given, judge=JUDGE) for _ in range(2))
    at, tried = {"place": np.arange(5.0)[:, None]}, np.tile([[STAY, GO]], (5, 1))
    np.testing.assert_array_equal(model.estimate(at, tried).risk, again.estimate(at, tried).risk)
    assert RiskModel.load(tmp_path).judge == JUDGE.name
    with pytest.raises(ValueError, match=r"0_0000_30.npz: these are outcomes by the word of"):
        train(*given)
    examined = examine_on_new_drives(model, 20, *given, judge=JUDGE)
    for outcomes, examination in examined.values():
        assert outcomes.judge == JUDGE.name
        assert examination.events == (outcomes.event_time <= SMALL.horizon).sum()  # crashes


@pytest.mark.parametrize(
    ("scorer", "words"),
    [
        ("oracle", "'oracle' reads the simulator's truth"),
        ("frames:2:constant:1", "looks at single frames"),
    ],
)
def test_judges_of_no_use_are_refused(scorer: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Judge(make_scorer(scorer))
