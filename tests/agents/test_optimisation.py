"""The course of learning rates, threads, and the check of losses."""

from __future__ import annotations

import json

import pytest
import torch

from vlsafe_agents.common.optim import LaProp
from vlsafe_agents.vlsafe.optimisation import Schedule, anneal, optimise, torch_threads


def make_optimizer() -> LaProp:
    return LaProp([torch.nn.Parameter(torch.ones(2))], lr=0.5, warmup=0)


@pytest.mark.parametrize(("remaining", "share"), [(1.0, 1.0), (0.5, 1.0), (0.25, 0.55), (0.0, 0.1)])
def test_rates_fall_linearly_to_a_tenth_in_the_second_half(remaining: float, share: float) -> None:
    optimizer = make_optimizer()
    anneal([(optimizer, 0.2)], remaining)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.2 * share)


def test_threads_are_given_back_also_after_an_error() -> None:
    before = torch.get_num_threads()

    def fail() -> None:
        with torch_threads(before + 1):
            raise KeyError(torch.get_num_threads())

    with pytest.raises(KeyError, match=str(before + 1)):
        fail()
    assert torch.get_num_threads() == before


def test_a_loss_that_is_not_finite_is_refused_before_it_does_harm() -> None:
    optimizer = make_optimizer()
    (parameter,) = optimizer.param_groups[0]["params"]
    with pytest.raises(FloatingPointError, match="world model"):
        optimise([optimizer], (parameter * torch.nan).sum(), "world model")
    assert torch.equal(parameter, torch.ones(2))


def test_one_loss_may_move_several_optimisers() -> None:
    optimizers = [make_optimizer(), make_optimizer()]
    parameters = [o.param_groups[0]["params"][0] for o in optimizers]
    optimise(optimizers, torch.stack(parameters).square().sum(), "both")
    assert all((p < 1.0).all() for p in parameters)


def test_a_schedule_has_three_phases_and_rates_start_afresh_for_the_policy() -> None:
    schedule = Schedule.fresh(begin=0, total=100, model_warmup=0.6, critic_warmup=0.25)
    assert [schedule.warming_up(n) for n in (0, 59, 60, 99)] == [True, True, False, False]
    assert [schedule.improving(n) for n in (59, 69, 70, 99)] == [False, False, True, True]
    assert schedule.remaining(0) == 1.0
    assert schedule.remaining(30) == pytest.approx(0.5)
    assert schedule.remaining(60) == 1.0
    assert schedule.remaining(80) == pytest.approx(0.5)


def test_a_schedule_without_policy_or_without_model_is_one_phase() -> None:
    assert Schedule.fresh(0, 10, 1.0, 0.2).warming_up(9)
    assert not Schedule.fresh(0, 10, 0.0, 0.2).warming_up(0)
    assert Schedule.fresh(0, 10, 0.0, 0.2).remaining(5) == pytest.approx(0.5)


def test_a_later_schedule_is_the_first_one_moved() -> None:
    first, later = (Schedule.fresh(begin, 100, 0.6, 0.25) for begin in (0, 1000))
    for n in range(100):
        assert first.warming_up(n) == later.warming_up(1000 + n)
        assert first.improving(n) == later.improving(1000 + n)
        assert first.remaining(n) == pytest.approx(later.remaining(1000 + n))


def test_going_on_opens_no_warm_up_again_and_moves_only_the_end() -> None:
    schedule = Schedule.fresh(0, 100, 0.6, 0.25).going_on(150)
    assert not any(schedule.warming_up(n) for n in range(60, 150))
    assert all(schedule.improving(n) for n in range(70, 150))
    assert schedule.remaining(105) == pytest.approx(0.5)
    assert schedule.remaining(59) == pytest.approx(1 / 60)


@pytest.mark.parametrize("update", [0, 10**9])
def test_what_is_left_is_a_share_whatever_the_update(update: int) -> None:
    """Negative shares were negative learning rates."""
    for schedule in (Schedule.fresh(5, 10, 0.6, 0.2), Schedule.fresh(5, 10, 1.0, 1.0)):
        assert 0.0 <= schedule.remaining(update) <= 1.0


def test_warm_ups_that_are_everything_never_end() -> None:
    schedule = Schedule.fresh(0, 10, 1.0, 0.2).going_on(20)
    assert schedule.warming_up(19)
    schedule = Schedule.fresh(0, 10, 0.5, 1.0).going_on(20)
    assert not schedule.warming_up(19)
    assert not schedule.improving(19)


def test_a_schedule_survives_json() -> None:
    for schedule in (Schedule.fresh(3, 10, 0.6, 0.2), Schedule.fresh(0, 10, 1.0, 1.0)):
        assert Schedule.from_json(json.loads(json.dumps(schedule.to_json()))) == schedule
