"""Numbers from a user's environment, data set or file, checked where they enter.

Each error names the value, the place and what is allowed there.
"""

from __future__ import annotations

import difflib
import numbers
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

FLOAT32_MAX = float(np.finfo(np.float32).max)  # rewards and costs are stored in float32

GYMNASIUM_STEP = (
    "Gymnasium's are (observation, reward, terminated, truncated, info), with the cost in "
    "info['cost'].  Wrap the environment: Safety-Gymnasium's, which gives the cost apart, in "
    "wrappers.costs.CostFromTuple or its own SafetyGymnasium2Gymnasium, others in a "
    "gymnasium.Wrapper whose step() puts the cost into info"
)


def did_you_mean(given: Any, known: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` where one of the names that are known looks alike, or nothing."""
    alike = difflib.get_close_matches(given, list(known), n=1) if isinstance(given, str) else []
    return f"; did you mean {alike[0]!r}?" if alike else ""


def one_number(
    value: Any, name: str, where: str = "", low: float | None = None, high: float | None = None
) -> float:
    """A finite number as a float: Python's, NumPy's, a tensor's, or an array of exactly one.

    Args:
        name: what it is, such as ``info['cost']``.
        where: where it came from, such as "environment 3, step 17".

    Raises:
        ValueError: for anything else, a number that is not finite, or one outside [low, high].
    """
    wanted = f"expected {_wanted(low, high)}"
    try:
        if isinstance(value, bool):
            raise TypeError("a truth value")
        number = float(value if isinstance(value, numbers.Real) else _only_entry(value))
    except _SeveralError as error:
        raise ValueError(
            f"{_at(where)}{name} holds {error}; {wanted}: sum them up, or take the largest, in a "
            "wrapper"
        ) from None
    except (TypeError, ValueError, AttributeError, RuntimeError, OverflowError):
        raise ValueError(f"{_at(where)}{name} is {_shown(value)}; {wanted}") from None
    if not _fits(np.asarray(number), low, high).all():
        raise ValueError(f"{_at(where)}{name} is {number:g}; {wanted}")
    return number


def whole_number(
    value: Any, name: str, where: str = "", low: int = 0, high: int | None = None
) -> int:
    """An integer in [low, high]; 3.0 counts as one, True does not.

    Raises:
        ValueError: for anything else.
    """
    is_whole = isinstance(value, numbers.Integral)  # of any size
    if not is_whole and isinstance(value, numbers.Real):
        number = float(value)
        is_whole = bool(np.isfinite(number) and number == int(number))
    if (
        is_whole
        and not isinstance(value, bool)
        and value >= low
        and (high is None or value <= high)
    ):
        return int(value)
    bounds = f"of at least {low}" if high is None else f"in [{low}, {high}]"
    raise ValueError(f"{_at(where)}{name} is {_shown(value)}; expected a whole number {bounds}")


def number_or_range(text: str, name: str, example: str) -> float | tuple[float, float]:
    """A number as it is typed, or the two ends of ``"0.8:1.3"``.

    Args:
        name: of the option.
        example: of a range, for the message.

    Raises:
        ValueError: for what is neither.
    """
    try:
        ends = [float(part) for part in text.split(":")]
    except ValueError:
        ends = []
    if len(ends) not in (1, 2):
        raise ValueError(f"{name} {text!r}: give a number, or a range such as {example}")
    return ends[0] if len(ends) == 1 else (ends[0], ends[1])


def one_flag(value: Any, name: str, where: str = "") -> bool:
    """A truth value as a bool: Python's, NumPy's, a tensor's, or an array of exactly one.

    Raises:
        ValueError: for anything else but 0 and 1: texts and NaN would count as true.
    """
    try:
        flag = _only_entry(value)
        fits = isinstance(flag, bool | int | float) and flag in (0, 1)
    except (_SeveralError, TypeError, ValueError, AttributeError, RuntimeError):
        fits = False
    if not fits:
        raise ValueError(f"{_at(where)}{name} is {_shown(value)}; expected True or False")
    return bool(flag)


def one_cost(value: Any, name: str, where: str = "") -> float:
    """A cost as a float: a finite number of at least 0 that float32 can hold; True counts as 1.

    Raises:
        ValueError: for anything else.
    """
    value = float(value) if isinstance(value, bool) else value
    return one_number(value, name, where, 0.0, FLOAT32_MAX)


def check_numbers(
    values: npt.NDArray[Any],
    name: str,
    where: str = "",
    low: float | None = None,
    high: float | None = None,
    remedy: str = "",
) -> None:
    """Check an array of numbers.

    Args:
        remedy: what to do about it; ends the error's sentence.

    Raises:
        ValueError: naming the first entry that is not finite or lies outside [low, high].
    """
    values = np.asarray(values)
    end = f"; {remedy}" if remedy else ""
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{_at(where)}{name} holds {values.dtype} values; expected numbers{end}")
    bad = ~_fits(values, low, high)
    if bad.any():
        at, value = first_of(bad, values)
        raise ValueError(
            f"{_at(where)}{name} holds {value} at entry {at}; expected {_wanted(low, high)}{end}"
        )


def first_of(marks: npt.NDArray[np.bool_], values: npt.NDArray[Any]) -> tuple[Any, Any]:
    """Index (a number where there is one axis) and value of the first marked entry."""
    index = tuple(int(i) for i in np.argwhere(marks)[0])
    return (index[0] if len(index) == 1 else index), values[index]


class _SeveralError(ValueError):
    """How many there are, where one was expected."""


def _only_entry(value: Any) -> Any:
    """The one entry of an array, a tensor or a number, as Python's own type."""
    array = np.asarray(value)
    if array.size != 1:
        raise _SeveralError(f"{array.size} numbers {array.shape}")
    entry = array.reshape(-1)[0].item() if array.dtype.kind in "biufO" else None
    if entry is None or isinstance(entry, str | bytes):
        raise TypeError("no number")
    return entry


def _at(where: str) -> str:
    return f"{where}: " if where else ""


def step_values(result: Any, where: str) -> tuple[Any, float, bool, bool, dict[str, Any]]:
    """What an environment's ``step`` returned, with a finite reward and truth values as ends.

    Raises:
        ValueError: for other numbers of values, such as Safety-Gymnasium's six or the four of old
            Gym, and for rewards, ends and infos that are none.
    """
    if not isinstance(result, tuple | list) or len(result) != 5:
        count = len(result) if isinstance(result, tuple | list) else f"one {type(result).__name__},"
        raise ValueError(f"{where}: step returned {count} values; {GYMNASIUM_STEP}")
    observation, reward, terminated, truncated, info = result
    return (
        observation,
        one_number(reward, "the reward", where, -FLOAT32_MAX, FLOAT32_MAX),
        one_flag(terminated, "terminated", where),
        one_flag(truncated, "truncated", where),
        _info(info, where),
    )


def reset_values(result: Any, where: str) -> tuple[Any, dict[str, Any]]:
    """What an environment's ``reset`` returned.

    Raises:
        ValueError: for anything but an observation and a mapping.
    """
    if not isinstance(result, tuple | list) or len(result) != 2:
        raise ValueError(
            f"{where}: reset returned a {type(result).__name__}, not Gymnasium's (observation, "
            "info); wrap the environment, or port it from Gym to Gymnasium"
        )
    return result[0], _info(result[1], where)


def _info(info: Any, where: str) -> dict[str, Any]:
    if not isinstance(info, Mapping):
        raise ValueError(f"{where}: info is {_shown(info)}; expected a dict")
    return dict(info)


def _fits(values: npt.NDArray[Any], low: float | None, high: float | None) -> npt.NDArray[np.bool_]:
    fits = np.isfinite(values)
    if low is not None:
        fits = fits & (values >= low)
    if high is not None:
        fits = fits & (values <= high)
    return fits


def _wanted(low: float | None, high: float | None) -> str:
    if high == FLOAT32_MAX:
        return f"{_wanted(None if low == -high else low, None)} that float32 can hold"
    if low is None and high is None:
        return "a finite number"
    if high is None:
        return f"a finite number of at least {low:g}"
    if low is None:
        return f"a finite number of at most {high:g}"
    return f"a number in [{low:g}, {high:g}]"


def _shown(value: Any, most: int = 60) -> str:
    text = str(value) if isinstance(value, np.generic) else repr(value)
    return text if len(text) <= most else text[: most - 3] + "..."
