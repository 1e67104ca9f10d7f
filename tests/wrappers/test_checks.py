"""Numbers from outside: the error names value, place and what is allowed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from wrappers.checks import check_numbers, one_number, whole_number


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


def test_whole_numbers_are_told_from_others() -> None:
    for value in (3, 3.0, np.int64(3), np.float32(3)):
        assert whole_number(value, "batch_size", "BC", low=1) == 3
    for value in (0, -1, 2.5, "3", None, True, float("nan"), [3], np.inf):
        with pytest.raises(ValueError, match=r"BC: batch_size is .*whole number of at least 1"):
            whole_number(value, "batch_size", "BC", low=1)
