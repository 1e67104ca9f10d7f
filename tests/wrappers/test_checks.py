"""Numbers from outside: the error names value, place and what is allowed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from wrappers.checks import (
    FLOAT32_MAX,
    check_numbers,
    one_cost,
    one_flag,
    one_number,
    reset_values,
    step_values,
    whole_number,
)


@pytest.mark.parametrize(
    "value",
    [0.5, np.float32(0.5), np.array(0.5), np.array([0.5]), np.array([[0.5]]), torch.tensor([0.5])],
)
def test_one_number_in_any_clothing_is_a_float(value: Any) -> None:
    number = one_number(value, "info['cost']", "environment 3, step 17", low=0.0)
    assert type(number) is float
    assert number == 0.5


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("much", "'much'"),
        (True, "True"),
        (None, "None"),
        (np.array([0.1, 0.2]), "holds 2 numbers"),
        ([], "holds 0 numbers"),
        (float("nan"), "nan"),
        (np.inf, "inf"),
        (-1, "-1"),
        ({"a": 1}, "{'a': 1}"),
        (1 + 2j, "1+2j"),
    ],
)
def test_anything_else_is_refused_with_name_place_and_range(value: Any, said: str) -> None:
    with pytest.raises(ValueError, match="environment 3, step 17") as caught:
        one_number(value, "info['cost']", "environment 3, step 17", low=0.0)
    assert "info['cost']" in str(caught.value)
    assert said in str(caught.value)
    assert "at least 0" in str(caught.value)


def test_the_first_bad_entry_of_an_array_is_named() -> None:
    with pytest.raises(ValueError, match=r"episode 4: reward holds nan at entry 2"):
        check_numbers(np.array([0.0, 1.0, np.nan, np.nan]), "reward", "episode 4")
    with pytest.raises(ValueError, match=r"obs holds inf at entry \(1, 0\)"):
        check_numbers(np.array([[0.0], [np.inf]]), "obs")
    with pytest.raises(ValueError, match=r"safety_score holds 1.5 at entry 0.*\[0, 1\]"):
        check_numbers(np.array([1.5]), "safety_score", low=0.0, high=1.0)
    with pytest.raises(ValueError, match="object"):
        check_numbers(np.array([{}]), "reward")


def test_finite_numbers_pass() -> None:
    for values in (np.zeros(3), np.zeros(3, bool), np.zeros((2, 2), np.uint8), np.zeros(0)):
        check_numbers(values, "x", low=0.0, high=1.0)


@pytest.mark.parametrize("value", [0, 5, 3.0, np.int64(3), np.uint8(3)])
def test_whole_numbers_pass_as_int(value: Any) -> None:
    assert type(whole_number(value, "steps", low=0, high=5)) is int


@pytest.mark.parametrize("value", [-1, 6, 2.5, True, None, "3", np.array([3]), float("nan")])
def test_other_numbers_are_no_whole_ones(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^here: steps is .*expected a whole number in \[0, 5\]$"):
        whole_number(value, "steps", "here", 0, 5)


@pytest.mark.parametrize("value", [True, np.True_, 1, 1.0, np.array([True]), torch.tensor(True)])
def test_truth_values_in_any_clothing_are_bools(value: Any) -> None:
    assert one_flag(value, "terminated") is True


@pytest.mark.parametrize("value", [False, np.False_, 0, 0.0, np.array([0]), torch.tensor([False])])
def test_so_are_those_that_are_not_true(value: Any) -> None:
    assert one_flag(value, "terminated") is False


@pytest.mark.parametrize(
    "value", ["False", b"", None, np.nan, 2, -1, 0.5, [], [True, False], {}, np.array("x")]
)
def test_what_only_counts_as_true_is_no_truth_value(value: Any) -> None:
    with pytest.raises(ValueError, match=r"terminated is .*; expected True or False"):
        one_flag(value, "terminated")


@pytest.mark.parametrize("value", ["0.5", np.array("0.5"), np.array(["0.5"]), b"1", 10**400])
def test_texts_and_what_no_float_can_hold_are_no_numbers(value: Any) -> None:
    with pytest.raises(ValueError, match="cost"):
        one_number(value, "cost")


def test_a_steps_values_are_gymnasiums() -> None:
    right = (np.zeros(2), np.float32(1), np.False_, True, {"cost": 0.0})
    observation, reward, terminated, truncated, info = step_values(right, "step 1")
    assert (reward, terminated, truncated, info) == (1.0, False, True, {"cost": 0.0})
    assert observation is right[0]
    for wrong in (right[:4], (*right, 1), None, 3, "abcde", right[0]):
        with pytest.raises(ValueError, match=r"step 1: step returned .*SafetyGymnasium2Gymnasium"):
            step_values(wrong, "step 1")
    for place, value in ((1, np.nan), (1, None), (2, "no"), (3, np.nan), (4, None), (4, [])):
        changed = [*right]
        changed[place] = value
        with pytest.raises(ValueError, match="step 1: "):
            step_values(tuple(changed), "step 1")


def test_a_resets_values_are_gymnasiums() -> None:
    assert reset_values((1, {"a": 2}), "reset") == (1, {"a": 2})
    for wrong in (np.zeros(2), None, (1,), (1, {}, 3), (1, None)):
        with pytest.raises(ValueError, match="reset: "):
            reset_values(wrong, "reset")


@pytest.mark.parametrize("value", [True, np.True_, 1, np.array([1.0]), torch.tensor(1)])
def test_a_cost_may_be_a_truth_value(value: Any) -> None:
    assert one_cost(value, "info['cost']") == 1.0
    with pytest.raises(ValueError, match=r"env 1: info\['cost'\] is -1; .*at least 0"):
        one_cost(-1.0, "info['cost']", "env 1")


def test_errors_end_with_the_remedy_where_there_is_one() -> None:
    with pytest.raises(ValueError, match=r"expected a finite number; leave it out$"):
        check_numbers(np.array([np.nan]), "cost", remedy="leave it out")
    limits = (-FLOAT32_MAX, FLOAT32_MAX)
    with pytest.raises(ValueError, match=r"expected a finite number that float32 can hold$"):
        check_numbers(np.array([1e39]), "cost", "", *limits)
    with pytest.raises(ValueError, match=r"a finite number of at least 0 that float32 can hold$"):
        check_numbers(np.array([-1.0]), "cost", "", 0.0, FLOAT32_MAX)


def test_whole_numbers_are_told_from_others() -> None:
    for value in (3, 3.0, np.int64(3), np.float32(3)):
        assert whole_number(value, "batch_size", "BC", low=1) == 3
    for value in (0, -1, 2.5, "3", None, True, float("nan"), [3], np.inf):
        with pytest.raises(ValueError, match=r"BC: batch_size is .*whole number of at least 1"):
            whole_number(value, "batch_size", "BC", low=1)
