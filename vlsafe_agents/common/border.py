"""Recorded drives as they come in from outside: their numbers are checked here, once.

Errors name the column, the episode with the entry in it, and what to do.  What environments report
while an agent drives is checked in :mod:`~vlsafe_agents.common.checked_steps`.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from wrappers.checks import FLOAT32_MAX, check_numbers, first_of

Array = npt.NDArray[Any]

_COUNTED = (gym.spaces.Discrete, gym.spaces.MultiDiscrete, gym.spaces.MultiBinary)
_NAMES = "Discrete, MultiDiscrete, MultiBinary or Box"
_CHUNK = 2**16  # rows that are checked together
RECORD_AGAIN = "record this episode again, or leave it out"


def numbers_of(values: Any, name: str, where: str = "") -> Array:
    """What a user calls a column, as an array of numbers with at least one axis.

    Raises:
        ValueError: for texts, objects, ragged lists and single numbers.
    """
    try:
        array = np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:  # ragged lists; tensors on a GPU
        raise ValueError(f"{_at(where)}{name} is no array of numbers ({error})") from None
    if array.ndim == 0 or array.dtype.kind not in "biuf":
        kind = type(values).__name__ if array.ndim == 0 else f"an array of {array.dtype}"
        raise ValueError(f"{_at(where)}{name} is {kind}; expected an array of numbers")
    return array


def check_column(
    values: Array,
    name: str,
    starts: npt.NDArray[np.int64],
    low: float | None = None,
    high: float | None = None,
) -> None:
    """Check one column ``(R, ...)`` of all episodes, which begin at the rows ``starts (E + 1,)``.

    Raises:
        ValueError: naming the first entry that is not finite or outside [low, high].
    """
    try:
        for begin in range(0, len(values), _CHUNK):  # they may be more than fits into memory
            check_numbers(values[begin : begin + _CHUNK], name, "", low, high)
    except ValueError:
        for number, (begin, end) in enumerate(pairwise(starts)):
            where = f"episode {number}"
            check_numbers(values[begin:end], name, where, low, high, RECORD_AGAIN)
        raise


def actions_of(actions: Any, space: gym.Space[Any], steps: int, where: str = "") -> Array:
    """Recorded actions as they are stored, ``(T, *space.shape)``: int64, of a ``Box`` float32.

    Actions of a ``Discrete`` or ``MultiDiscrete`` space are its own numbers: from ``start``, where
    it has one.

    Raises:
        ValueError: for another shape or another kind of space, for fractions where whole numbers
            are expected, and for actions outside the space.
    """
    values = numbers_of(actions, "action", where)
    shape = (steps, *(space.shape or ()))
    if values.shape != shape:
        raise ValueError(
            f"{_at(where)}action has shape {values.shape}, expected {shape} for {space}"
            f"{_reshaping(values, space)}"
        )
    check_numbers(values, "action", where, -FLOAT32_MAX, FLOAT32_MAX, RECORD_AGAIN)
    if isinstance(space, _COUNTED) and (values % 1 != 0).any():
        at, value = first_of(values % 1 != 0, values)
        raise ValueError(
            f"{_at(where)}action holds {value} at entry {at}, but actions of {space} are whole "
            "numbers; give a Box, or make whole numbers of them yourself"
        )
    outside = _outside(values, space)
    if outside.any():
        at, value = first_of(outside, values)
        raise ValueError(
            f"{_at(where)}action holds {value} at entry {at}, outside {space}; give the space of "
            "the environment that was driven, or map the actions into it"
        )
    return values.astype(action_dtype(space))


def blank_actions(count: int, space: gym.Space[Any]) -> Array:
    """Actions that stand where none was taken: zeros, or the first one of a space that counts."""
    dtype = action_dtype(space)  # raises for other spaces
    return np.full((count, *(space.shape or ())), first_action(space), dtype)


def first_action(space: gym.Space[Any]) -> Any:
    """The lowest action of a ``Discrete`` or ``MultiDiscrete`` space; 0 for others."""
    if isinstance(space, gym.spaces.Discrete):
        return int(space.start)
    return space.start if isinstance(space, gym.spaces.MultiDiscrete) else 0


def from_first(actions: Array, space: gym.Space[Any]) -> Array:
    """Actions of SB3's policies, which count those of a ``Discrete`` space from 0, in the space."""
    first = first_action(space)
    return np.asarray(actions + first) if np.any(first) else actions


def action_dtype(space: gym.Space[Any]) -> type[np.generic]:
    """int64 for spaces that count, float32 for ``Box``.

    Raises:
        ValueError: for other spaces.
    """
    if isinstance(space, _COUNTED):
        return np.int64
    if isinstance(space, gym.spaces.Box):
        return np.float32
    raise ValueError(f"actions must be {_NAMES}, not {space}")


def check_observations(
    values: Array, name: str, space: gym.Space[Any], starts: npt.NDArray[np.int64]
) -> None:
    """Check one kind of observation ``(R, ...)`` of all episodes against its space.

    Values beyond the bounds of a ``Box`` are only warned of: no agent here computes anything from
    them, and simulators that declare them too narrow are many.

    Raises:
        ValueError: naming the first entry that is not finite, or that float32 cannot hold.
    """
    if values.dtype.kind == "f":
        check_column(values, name, starts, -FLOAT32_MAX, FLOAT32_MAX)
    if not isinstance(space, gym.spaces.Box) or _holds_all(space):
        return
    rows, first = 0, -1
    for begin in range(0, len(values), _CHUNK):
        part = values[begin : begin + _CHUNK]
        outside = ((part < space.low) | (part > space.high)).reshape(len(part), -1).any(1)
        if first < 0 and outside.any():
            first = begin + int(np.argmax(outside))
        rows += int(outside.sum())
    if not rows:
        return
    episode = int(np.searchsorted(starts, first, "right")) - 1
    found = values[starts[episode] : first + 1]
    at, value = first_of((found < space.low) | (found > space.high), found)
    place = at[1:] if isinstance(at, tuple) else ()
    warnings.warn(
        f"{name} leaves the bounds of its space in {rows:,} of {len(values):,} rows, first in "
        f"episode {episode} at entry {at}: {value} is not in [{space.low[place]}, "
        f"{space.high[place]}].  If the values are right, give the space wider bounds; if not, "
        "look for other units or a scaling in the environment",
        stacklevel=4,
    )


def check_seen(observation: Any) -> None:
    """Check what an agent is to act on: one observation or a batch, an array or a dict of them.

    Raises:
        ValueError: naming the first entry that is not finite; for an observation with its infos.
    """
    pair = isinstance(observation, tuple) and len(observation) == 2
    if pair and isinstance(observation[1], dict):
        raise ValueError(
            "predict: the observation is a pair with infos, as reset() of Gymnasium returns; that "
            "is mixing Gym API with the one of vector environments; give the observation alone"
        )
    parts = observation if isinstance(observation, Mapping) else {"": observation}
    for name, part in parts.items():
        what = f"observation {name!r}" if name else "the observation"
        if isinstance(part, np.ndarray) and part.dtype.kind == "f":
            check_numbers(np.atleast_1d(part), what, "predict")


def _at(where: str) -> str:
    return f"{where}: " if where else ""


def _reshaping(values: Array, space: gym.Space[Any]) -> str:
    """What to do about actions of a wrong shape, where that is plain."""
    if isinstance(space, gym.spaces.Discrete) and values.ndim == 2:
        if values.shape[1] == 1:
            return "; take action.reshape(-1)"
        if values.shape[1] == space.n:
            plus = f" + {int(space.start)}" if space.start else ""
            return f"; of one-hot actions take action.argmax(-1){plus}"
    if isinstance(space, gym.spaces.Box) and space.shape == (1,) and values.ndim == 1:
        return "; take action.reshape(-1, 1)"
    return ""


def _outside(values: Array, space: gym.Space[Any]) -> npt.NDArray[np.bool_]:
    """Which entries are no action of the space, but for rounding."""
    if isinstance(space, gym.spaces.Discrete):
        last = int(space.start) + int(space.n) - 1
        return (values < int(space.start)) | (values > last)
    if isinstance(space, gym.spaces.MultiDiscrete):
        return (values < space.start) | (values >= space.start + space.nvec)
    if isinstance(space, gym.spaces.MultiBinary):
        return (values < 0) | (values > 1)
    if isinstance(space, gym.spaces.Box):
        low, high = space.low.astype(np.float64), space.high.astype(np.float64)
        slack = 1e-6 * np.maximum(1.0, np.maximum(np.abs(low), np.abs(high)))
        slack = np.where(np.isfinite(slack), slack, 0.0)
        return (values < low - slack) | (values > high + slack)
    raise ValueError(f"actions must be {_NAMES}, not {space}")


def _holds_all(space: gym.spaces.Box) -> bool:
    """Whether no number of the space's own type can lie outside of its bounds."""
    dtype: Any = np.dtype(space.dtype)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return bool(((space.low == limits.min) & (space.high == limits.max)).all())
    return dtype.kind != "f" or bool((np.isneginf(space.low) & np.isposinf(space.high)).all())
