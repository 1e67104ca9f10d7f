"""Observations that count, such as ``Discrete``, as vectors of zeros and ones.

Stable-Baselines3's ``preprocess_obs`` does the same.  Agents that drive take such spaces; recorded
drives have Boxes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

Array = npt.NDArray[Any]
COUNTED = (spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)


def as_box(space: spaces.Space[Any]) -> spaces.Space[Any]:
    """The Box of the vectors that stand for a space that counts; other spaces as they are."""
    if isinstance(space, spaces.MultiBinary):
        return spaces.Box(0, 1, (math.prod(space.shape),), np.uint8)
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        return spaces.Box(0, 1, (int(_choices(space).sum()),), np.uint8)
    return space


def as_vector(values: Any, space: spaces.Space[Any]) -> Any:
    """Observations as vectors of the Box that :func:`as_box` gives; those of others as they are.

    Args:
        values: ``(..., *space.shape)``; of a space that counts they become ``(..., D)`` uint8.

    Raises:
        ValueError: for what is not in the space.
    """
    if not isinstance(space, COUNTED):
        return values
    array = np.asarray(values)
    shape = space.shape or ()
    lead = array.shape[: array.ndim - len(shape)]
    if array.shape != (*lead, *shape):
        raise ValueError(f"an observation has shape {array.shape}, expected {shape} for {space}")
    array = array.reshape(*lead, math.prod(shape))
    if isinstance(space, spaces.MultiBinary):
        choices, first = np.full(array.shape[-1], 2), np.zeros(1, np.int64)
    else:
        choices, first = _choices(space), np.reshape(space.start, -1)
    counted = array - first  # (..., K)
    outside = (counted < 0) | (counted >= choices) | (counted % 1 != 0)
    if outside.any():
        raise ValueError(f"the observation {array[outside][0]} is not in {space}")
    if isinstance(space, spaces.MultiBinary):
        return array.astype(np.uint8)
    codes = [counted[..., k, None] == np.arange(n) for k, n in enumerate(choices.tolist())]
    return np.concatenate(codes, -1).astype(np.uint8)


def _choices(space: spaces.Discrete | spaces.MultiDiscrete) -> npt.NDArray[np.int64]:
    """How many values each of the K numbers of an observation can have, ``(K,)``."""
    counts = space.n if isinstance(space, spaces.Discrete) else space.nvec
    return np.reshape(counts, -1).astype(np.int64)
