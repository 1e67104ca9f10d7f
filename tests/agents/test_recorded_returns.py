"""Recorded returns in the units of imagined ones."""

from __future__ import annotations

import warnings

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


def test_a_growing_gap_between_dream_and_record_warns_once_per_growth() -> None:
    recorded = RecordedReturns(
        torch.tensor([[0.0, 1.0, 2.0]]), torch.zeros(1, 3), torch.ones(1, 3, dtype=torch.bool)
    )
    gap = GapWarning(every=2, return_limit=1.5, decay=0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(4):
            assert gap.update(2.0, recorded)["imagined/gap"] == pytest.approx(1.0)
    with pytest.warns(UserWarning, match=r"4\.0 standard deviations"):
        [gap.update(5.0, recorded) for _ in range(2)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        [gap.update(5.1, recorded) for _ in range(2)]
