"""Numbers from a user's environment, data set or file, checked where they enter.

Each error names the value, the place and what is allowed there.
"""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np
import numpy.typing as npt


def one_number(
    value: Any, name: str, where: str, low: float | None = None, high: float | None = None
) -> float:
    """A finite number as a float: Python's, NumPy's, a tensor's, or an array of exactly one.

    Args:
        name: what it is, such as ``info['cost']``.
        where: where it came from, such as "environment 3, step 17".

    Raises:
        ValueError: for anything else, a number that is not finite, or one outside [low, high].
    """
    if isinstance(value, str | bytes | bool) or value is None:
        raise ValueError(f"{where}: {name} is {value!r}; expected {_wanted(low, high)}")
    if isinstance(value, numbers.Real):
        number = float(value)
    else:
        try:
            array = np.asarray(value)
            number = float(array.reshape(-1)[0].item()) if array.size == 1 else np.nan
        except (TypeError, ValueError, AttributeError):
            raise ValueError(
                f"{where}: {name} is {_shown(value)}; expected {_wanted(low, high)}"
            ) from None
        if array.size != 1:
            raise ValueError(
                f"{where}: {name} holds {array.size} numbers {array.shape}; expected "
                f"{_wanted(low, high)}: sum them up, or take the largest, in a wrapper"
            )
    if not _fits(np.asarray(number), low, high).all():
        raise ValueError(f"{where}: {name} is {number:g}; expected {_wanted(low, high)}")
    return number


def whole_number(value: Any, name: str, where: str, low: int = 0) -> int:
    """An integer of at least ``low``; 3.0 counts as one, True does not.

    Raises:
        ValueError: for anything else.
    """
    is_number = isinstance(value, numbers.Real | np.generic) and not isinstance(value, bool)
    if not is_number or not np.isfinite(value) or value != int(value) or value < low:
        raise ValueError(
            f"{where}: {name} is {_shown(value)}; expected a whole number of at least {low}"
        )
    return int(value)


def check_numbers(
    values: npt.NDArray[Any],
    name: str,
    where: str = "",
    low: float | None = None,
    high: float | None = None,
) -> None:
    """Check an array of numbers.

    Raises:
        ValueError: naming the first entry that is not finite or lies outside [low, high].
    """
    values = np.asarray(values)
    place = f"{where}: " if where else ""
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{place}{name} holds {values.dtype} values; expected numbers")
    bad = ~_fits(values, low, high)
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        at = first[0] if len(first) == 1 else first
        raise ValueError(
            f"{place}{name} holds {values[first]} at entry {at}; expected {_wanted(low, high)}"
        )


def _fits(values: npt.NDArray[Any], low: float | None, high: float | None) -> npt.NDArray[np.bool_]:
    fits = np.isfinite(values)
    if low is not None:
        fits = fits & (values >= low)
    if high is not None:
        fits = fits & (values <= high)
    return fits


def _wanted(low: float | None, high: float | None) -> str:
    if low is None and high is None:
        return "a finite number"
    if high is None:
        return f"a finite number of at least {low:g}"
    if low is None:
        return f"a finite number of at most {high:g}"
    return f"a number in [{low:g}, {high:g}]"


def _shown(value: Any, most: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= most else text[: most - 3] + "..."
