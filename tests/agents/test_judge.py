"""Events by a judge's word: nothing but frames decides them, and files say whose word it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from ledge import BRANCHER, BRANCHING, GO, SMALL, STAY, Ledge, drive, ledge_outcomes

from vlsafe_agents.risk import Outcomes, RiskModel, branch_outcomes
from vlsafe_agents.risk.examination import agree, examine_on_new_drives
from vlsafe_agents.risk.judge import Judge, first_event
from vlsafe_agents.risk.outcomes import SIMULATOR
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


JUDGE = Judge(PlaceScorer(), below=0.75)  # places from 3 on are events, those from 5 on crashes


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


def test_the_first_unsafe_frame_is_the_event(outcomes: Outcomes) -> None:
    for row in range(len(outcomes)):
        seen = places(outcomes, row)
        if outcomes.seconds[row] < 4 and np.isinf(outcomes.event_time[row]):
            continue  # the episode's time was up
        event = [step for step, place in enumerate(seen, 1) if place >= 3]
        assert outcomes.event_time[row] == (event[0] if event else np.inf)
        crash = [step for step, place in enumerate(seen, 1) if place >= 5]
        if outcomes.seconds[row] >= 4:
            assert outcomes.crash_time[row] == (crash[0] if crash else np.inf)
    assert 0 < outcomes.crashes < outcomes.events
    assert outcomes.counts["branch_crashes"] == outcomes.crashes
    assert outcomes.counts["branch_events"] == outcomes.events


def test_costs_do_not_enter(outcomes: Outcomes) -> None:
    class Lying(Ledge):
        def step(self, action: Any) -> Any:
            *rest, info = super().step(action)
            return *rest, {"cost": 1.0 - info["cost"]}

    given = (range(10_000), drive, BRANCHING, BRANCHER, 200)
    lied = branch_outcomes(Lying(), *given, judge=JUDGE)
    for name in ("event_time", "seconds", "state", "reward"):
        np.testing.assert_array_equal(getattr(lied, name), getattr(outcomes, name))
    assert lied.crashes != outcomes.crashes


def test_states_are_chosen_where_frames_look_dangerous() -> None:
    calm, afraid = (Judge(make_scorer(f"constant:{p}"), 0.5) for p in (1.0, 0.0))
    few, many = (ledge_outcomes(judge=judge, every=3.0) for judge in (calm, afraid))
    assert many.drive_steps < 0.7 * few.drive_steps
    assert few.events == 0
    assert many.events == len(many)
    assert (many.event_time == 1).all()


@pytest.mark.parametrize("seed", range(20))
def test_the_first_event_beside_a_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.random(6).astype(np.float32)
    scores[rng.random(6) < 0.2] = np.nan
    event, known = 0, 0
    for score in scores:
        if np.isnan(score):
            break
        known += 1
        if score < 0.2 and not event:
            event = known
    assert first_event(scores, 0.2) == (event, known)


def test_of_frames_without_a_label_nothing_is_known() -> None:
    silent = ledge_outcomes(judge=Judge(PlaceScorer(speechless=(2, 3, 4)), 0.75))
    for row in range(len(silent)):
        seen = places(silent, row)
        if 2 in seen and silent.seconds[row] < 4:
            before = seen.index(2)
            assert silent.seconds[row] == (before or 0.5)
            assert np.isinf(silent.event_time[row])
    assert silent.known(4.0).mean() < 0.8


def test_agreement_of_events_and_crashes(outcomes: Outcomes) -> None:
    found = agree(outcomes)
    assert found.crashes == outcomes.crashes
    assert found.foreseen + found.seen == found.crashes  # whoever falls came by place 3
    both = np.isfinite(outcomes.crash_time)
    lead = outcomes.crash_time[both] - outcomes.event_time[both]
    assert found.lead == pytest.approx(np.mean(lead))
    assert found.false_alarms == (np.isfinite(outcomes.event_time) & ~both).sum()
    nobody = agree(outcomes.select(~both)).to_json()
    assert (nobody["crashes"], nobody["lead"]) == (0, None)


# --- files ----------------------------------------------------------------------------------------


def test_files_say_whose_word_their_events_are(outcomes: Outcomes, tmp_path: Path) -> None:
    outcomes.save(tmp_path / "o.npz")
    read = Outcomes.load(tmp_path / "o.npz")
    assert read.source == JUDGE.source
    np.testing.assert_array_equal(read.crash_time, outcomes.crash_time)
    truth = outcomes.of_crashes()
    assert truth.source == ledge_outcomes(3).source == SIMULATOR
    assert truth.events == outcomes.crashes
    with pytest.raises(ValueError, match=r"events are by the word of simulator, not of .*place"):
        Outcomes.joined([outcomes, truth])
    assert Outcomes.joined([outcomes, read]).source == JUDGE.source


def test_a_training_does_not_learn_from_anothers_events(tmp_path: Path) -> None:
    config = TrainingConfig(states=30, rounds=1, round_states=20, model=SMALL)
    given = (Ledge(), tmp_path, drive, BRANCHER, BRANCHING, config)
    model = train(*given, judge=JUDGE)
    again = train(*given, judge=JUDGE)
    at = {"place": np.arange(5, dtype=np.float32)[:, None]}
    tried = np.tile([[STAY, GO]], (5, 1))
    np.testing.assert_array_equal(model.estimate(at, tried).risk, again.estimate(at, tried).risk)
    with pytest.raises(ValueError, match=r"0_0000_30.npz: its events are by the word of .*place"):
        train(*given)
    examined = examine_on_new_drives(model, 20, *given, judge=JUDGE)["mixed drives"]
    assert examined.crashes is not None
    assert examined.agreement is not None
    assert examined.found.events == examined.outcomes.events
    assert examined.crashes.events == examined.agreement.crashes == examined.outcomes.crashes


def test_what_the_judge_says_is_learnt(outcomes: Outcomes) -> None:
    model = RiskModel(Ledge.observation_space, spaces.Discrete(2), ("go", "stay"), SMALL)
    model.fit(outcomes)
    at = {"place": np.arange(3, dtype=np.float32)[:, None]}
    risk = model.estimate(at, np.tile([[STAY, GO]], (3, 1))).risk  # (3, 2, 2)
    place, action, tail = np.indices((3, 2, 2))
    unsafe = place + action + np.where(tail == 0, 3, 0) >= 3
    assert risk[unsafe].min() > 0.9
    assert risk[~unsafe].max() < 0.1


@pytest.mark.parametrize(
    ("scorer", "below", "words"),
    [
        ("oracle", 0.5, "'oracle' reads the simulator's truth"),
        ("frames:2:constant:1", 0.5, "looks at single frames"),
        ("constant:1", 0.0, "nothing would be an event"),
        ("constant:1", 1.5, "below is 1.5"),
    ],
)
def test_judges_of_no_use_are_refused(scorer: str, below: float, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Judge(make_scorer(scorer), below)
