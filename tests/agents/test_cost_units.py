"""Discounted and episode cost."""

from __future__ import annotations

import pytest

from vlsafe_agents.common.returns import (
    discounted_limit,
    discounted_per_episode,
    episode_cost,
)


@pytest.mark.parametrize("gamma", [0.5, 0.97, 0.999])
@pytest.mark.parametrize("steps", [1, 7, 40])
def test_evenly_spread_cost_converts_exactly(gamma: float, steps: int) -> None:
    per_step = 0.3
    discounted = sum(per_step * gamma**t for t in range(steps))
    assert discounted_limit(per_step * steps, gamma, steps) == pytest.approx(discounted)
    assert episode_cost(discounted, gamma, steps) == pytest.approx(per_step * steps)


def test_no_discount_and_one_step_need_no_conversion() -> None:
    assert discounted_per_episode(1.0, 40) == 1.0
    assert discounted_per_episode(0.9, 1) == pytest.approx(1.0)


def test_late_cost_counts_less_than_early_cost() -> None:
    """The stated limit of the convention: the same episode cost, but all of it at the end."""
    gamma, steps = 0.97, 40
    at_the_end = 5.0 * gamma ** (steps - 1)
    assert episode_cost(at_the_end, gamma, steps) < 5.0 < episode_cost(5.0, gamma, steps)


@pytest.mark.parametrize(("gamma", "steps"), [(0.0, 10), (1.1, 10), (0.9, 0), (float("nan"), 5)])
def test_impossible_values_are_refused(gamma: float, steps: float) -> None:
    with pytest.raises(ValueError, match=r"gamma|episode_steps"):
        discounted_per_episode(gamma, steps)
