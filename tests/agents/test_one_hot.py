"""Observations that count, as vectors of zeros and ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from vlsafe_agents.vlsafe.one_hot import as_box, as_vector


def slow(value: Any, space: Any) -> list[int]:
    """One observation, one number at a time."""
    if isinstance(space, spaces.Discrete):
        return [int(value == space.start + i) for i in range(space.n)]
    if isinstance(space, spaces.MultiBinary):
        return [int(one) for one in value.flat]
    triples = zip(value.flat, space.nvec.flat, space.start.flat, strict=True)
    return [int(one == first + i) for one, n, first in triples for i in range(n)]


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(5),
        spaces.Discrete(3, start=-1),
        spaces.MultiDiscrete([3, 2, 4]),
        spaces.MultiDiscrete([[3, 2], [1, 4]], start=[[0, 7], [2, -1]]),
        spaces.MultiBinary(6),
        spaces.MultiBinary((2, 3)),
    ],
    ids=str,
)
def test_each_number_is_a_one_among_zeros(space: Any) -> None:
    space.seed(0)
    box = as_box(space)
    samples = [space.sample() for _ in range(20)]
    for sample in samples:
        vector = as_vector(sample, space)
        assert vector.tolist() == slow(np.asarray(sample), space)
        assert box.contains(vector)
    batch = as_vector(np.array(samples).reshape(4, 5, *space.shape), space)
    assert batch.shape == (4, 5, *box.shape)
    assert (batch.reshape(20, -1) == [as_vector(sample, space) for sample in samples]).all()


@pytest.mark.parametrize(
    ("space", "value", "said"),
    [
        (spaces.Discrete(3), 3, "the observation 3 is not in Discrete"),
        (spaces.Discrete(3, start=2), 1, "the observation 1 is not in Discrete"),
        (spaces.Discrete(3), 0.5, "the observation 0.5 is not in Discrete"),
        (spaces.MultiBinary(2), [0, 2], "the observation 2 is not in MultiBinary"),
        (spaces.MultiDiscrete([2, 2]), [1, 2], "the observation 2 is not in MultiDiscrete"),
        (spaces.MultiDiscrete([2, 2]), [1, 1, 1], r"has shape \(3,\), expected \(2,\)"),
    ],
)
def test_what_is_not_in_the_space_is_named(space: Any, value: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        as_vector(value, space)


def test_other_spaces_are_left_alone() -> None:
    space = spaces.Box(0, 255, (4, 4), np.uint8)
    frame = space.sample()
    assert as_box(space) is space
    assert as_vector(frame, space) is frame
