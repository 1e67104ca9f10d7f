"""Recorded returns in the units of imagined ones."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from tiny_batch import batch_of

from vlsafe_agents.vlsafe.imagination import GapWarning, RecordedReturns, recorded_returns


def test_recorded_returns_are_discounted_sums_within_an_episode() -> None:
    batch = batch_of(
        reward=[0, 1, 2, 0, 4, 8, 16, 32],
        cost=[0, 0, 10, 0, 0, 0, 0, 1],
        is_first=[1, 0, 0, 1, 0, 0, 0, 0],
        is_terminal=[0, 0, 1, 0, 0, 0, 0, 0],
        has_action=[1, 1, 0, 1, 1, 1, 1, 1],
    )
    found = recorded_returns(batch, gamma=0.5, horizon=3)
    assert found.valid.tolist() == [[True, True, False, True, True, False, False, False]]
    assert found.reward[found.valid].tolist() == [2.0, 2.0, 4 + 4.0 + 4.0, 8 + 8.0 + 8.0]
    assert found.cost[found.valid].tolist() == [5.0, 10.0, 0.0, 0.25]


def test_a_time_out_within_the_horizon_makes_a_window_invalid() -> None:
    batch = batch_of(reward=[0, 1, 0, 1], is_first=[1, 0, 1, 0], has_action=[1, 0, 1, 1])
    assert recorded_returns(batch, 0.9, 2).valid.tolist() == [[False, False, False, False]]
    assert recorded_returns(batch, 0.9, 1).valid.tolist() == [[True, False, True, False]]


def test_windows_at_the_end_of_a_sequence_are_not_chosen_by_how_they_ended() -> None:
    """Half of the drives crash on their last row; no window may be valid only because of that."""
    batch = batch_of(
        cost=[0, 0, 0, 10], is_terminal=[0, 0, 0, 1], has_action=[1, 1, 1, 0], is_first=[0] * 4
    )
    assert recorded_returns(batch, 0.9, 2).valid.tolist() == [[True, True, False, False]]


# --- the warning ----------------------------------------------------------------------------------


def windows(reward: list[float], cost: list[float]) -> RecordedReturns:
    rows = torch.tensor([reward]), torch.tensor([cost])
    return RecordedReturns(*rows, torch.ones(1, len(reward), dtype=torch.bool))


QUIET = windows([0.0, 1.0, 2.0], [0.0, 0.0, 0.0])
COSTLY = windows([0.0, 1.0, 2.0], [0.0, 0.0, 3.0])  # 1 on average


def feed(
    gap: GapWarning,
    updates: int,
    recorded: RecordedReturns = QUIET,
    reward: float = 1.0,
    cost: float = 0.0,
    improving: bool = True,
) -> float:
    imagined = {"imagined/return": reward, "imagined/cost_return": cost}
    return [gap.update(imagined, recorded, improving)["imagined/gap"] for _ in range(updates)][-1]


def silent(*args: Any, **kwargs: Any) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return feed(*args, **kwargs)


def test_a_growing_gap_between_dream_and_record_warns_once_per_growth() -> None:
    gap = GapWarning(after=2, decay=0.0)
    assert silent(gap, 4, reward=2.0) == pytest.approx(1.0)
    with pytest.warns(UserWarning, match=r"4\.0 standard deviations"):
        feed(gap, 2, reward=5.0)
    silent(gap, 2, reward=5.1)
    with pytest.warns(UserWarning, match=r"6\.0 standard deviations"):
        feed(gap, 1, reward=7.0)


def test_a_policy_of_300_updates_is_warned_of() -> None:
    """It looked every 500 updates."""
    with pytest.warns(UserWarning, match="standard deviations above"):
        feed(GapWarning(), 240, reward=5.0)
    with pytest.warns(UserWarning, match="imagined cost"):
        feed(GapWarning(), 60, COSTLY, cost=0.1, improving=False)


def test_averages_are_not_drawn_towards_zero_at_first() -> None:
    assert silent(GapWarning(), 3, reward=2.0) == pytest.approx(1.0)


def test_a_model_that_misses_costs_of_the_priors_own_is_warned_of() -> None:
    gap = GapWarning()
    silent(gap, 60, COSTLY, cost=0.6, improving=False)
    with pytest.warns(UserWarning, match=r"behaviour prior.* is 10% of the recorded one"):
        feed(GapWarning(), 60, COSTLY, cost=0.1, improving=False)


def test_a_policy_may_be_safer_than_the_data_but_not_by_any_amount() -> None:
    gap = GapWarning()
    silent(gap, 200, COSTLY, cost=0.1)
    with pytest.warns(UserWarning, match=r"cost of the policy is 2% .*may exploit"):
        feed(gap, 400, COSTLY, cost=0.0)
    silent(gap, 50, COSTLY, cost=0.001)


def test_costs_are_not_compared_where_hardly_any_were_recorded() -> None:
    silent(GapWarning(), 200, QUIET)
    silent(GapWarning(), 25, COSTLY)
    silent(GapWarning(least_costs=300), 200, COSTLY)


def test_each_phase_is_judged_by_its_own_dreams() -> None:
    gap = GapWarning()
    silent(gap, 60, COSTLY, reward=2.0, cost=0.9, improving=False)
    assert silent(gap, 1, COSTLY, reward=1.0, cost=0.9) == pytest.approx(0.0)
    with pytest.warns(UserWarning, match="cost of the policy"):
        feed(gap, 60, COSTLY, cost=0.0)
