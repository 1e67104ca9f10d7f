"""Arguments from users, checked where they enter; messages name argument, value and remedy."""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
from gymnasium.vector import AutoresetMode

from wrappers.checks import did_you_mean

T = TypeVar("T")

MOST_ENVS = 100_000  # in one vector environment


def shown(value: Any, most: int = 80) -> str:
    """``repr(value)`` on one line, cut where it is long."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # a foreign object's own fault
        text = f"<{type(value).__name__}>"
    return text if len(text) <= most else text[: most - 3] + "..."


def check_number(name: str, value: Any, low: float, high: float, unit: str = "") -> None:
    """Raise ``ValueError`` unless ``value`` is a finite number in ``[low, high]``."""
    ok = isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_)
    if not ok or not low <= value <= high:
        unit = f" [{unit}]" if unit else ""
        raise ValueError(f"{name}={shown(value)}: give a number between {low:g} and {high:g}{unit}")


def check_range(name: str, value: Any) -> tuple[float, float]:
    """Two numbers, the least and the greatest; else ``ValueError``."""
    ends = value.tolist() if isinstance(value, np.ndarray) else value
    if not isinstance(ends, list | tuple) or len(ends) != 2:
        raise ValueError(f"{name}={shown(value)}: give a number, or two: (least, greatest)")
    for end in ends:
        check_number(name, end, -1e6, 1e6)
    if ends[0] >= ends[1]:
        raise ValueError(f"{name}={shown(value)}: the first number has to be the smaller one")
    return float(ends[0]), float(ends[1])


def check_integer(name: str, value: Any, low: int, high: int) -> None:
    """Raise ``ValueError`` unless ``value`` is an integer in ``[low, high]``."""
    ok = isinstance(value, numbers.Integral) and not isinstance(value, bool | np.bool_)
    if not ok or not low <= value <= high:
        raise ValueError(f"{name}={shown(value)}: give an integer between {low} and {high}")


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Raise ``ValueError`` unless ``value`` is one of ``choices``."""
    if not isinstance(value, str) or value not in choices:
        known = ", ".join(map(repr, choices)) + did_you_mean(value, choices)
        raise ValueError(f"{name}={shown(value)}: choose one of {known}")


def check_flag(name: str, value: Any) -> None:
    """Raise ``ValueError`` unless ``value`` is ``True`` or ``False``."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name}={shown(value)}: give True or False")


def check_kind(name: str, value: Any, kind: Any, what: str) -> None:
    """Raise ``ValueError`` unless ``value`` is of a ``kind``; ``what`` describes it."""
    if not isinstance(value, kind):
        raise ValueError(f"{name}={shown(value)}: give {what}")


def settings(name: str, value: Any, kind: type[T]) -> T:
    """A dataclass of settings: ``value``, or the default one for ``None``; else ``ValueError``."""
    if value is None:
        return kind()
    first = dataclasses.fields(kind)[0]  # type: ignore[arg-type]
    example = f"{kind.__name__}({first.name}={first.default!r})"
    check_kind(name, value, kind, f"a {kind.__name__}, such as {example}")
    return value


class Setting(Generic[T]):
    """An attribute that holds a dataclass of settings, or a flag, whoever sets it."""

    def __init__(self, kind: type[T]) -> None:
        self._kind = kind

    def __set_name__(self, owner: type[Any], name: str) -> None:
        self._name = name

    def __get__(self, env: Any, owner: type[Any] | None = None) -> T:
        return env.__dict__[self._name]

    def __set__(self, env: Any, value: T | None) -> None:
        if self._kind is bool:
            check_flag(self._name, value)
        else:
            value = settings(self._name, value, self._kind)
        env.__dict__[self._name] = value


def check_seed(seed: Any, name: str = "seed") -> int | None:
    """A seed as Gymnasium wants it, ``None`` or a Python integer; ``ValueError`` for others."""
    if seed is None:
        return None
    whole = isinstance(seed, numbers.Integral) and not isinstance(seed, bool | np.bool_)
    if not whole or seed < 0:
        raise ValueError(f"{name}={shown(seed)}: give an integer that is not negative, or None")
    return int(seed)


def check_seeds(seed: Any, count: int) -> list[int | None]:
    """A seed for each of ``count`` environments, from one for all (i gets ``seed + i``) or many."""
    if isinstance(seed, Sequence | np.ndarray) and not isinstance(seed, str | bytes):
        if len(seed) != count:
            raise ValueError(f"seed has {len(seed)} entries, expected {count}")
        return [check_seed(one, f"seed[{i}]") for i, one in enumerate(seed)]
    first = check_seed(seed)
    return [None if first is None else first + i for i in range(count)]


def refuse_reset_options(options: Any) -> None:
    """Raise ``ValueError`` for options of ``reset``: an environment has none."""
    if options is not None and options != {}:
        raise ValueError(f"options={shown(options)}: reset has no options; set them in gym.make")


def reset_mask(options: Any, count: int) -> np.ndarray:
    """The only option of a vector environment's reset: which of ``count`` are reset, ``(count,)``.

    Raises:
        ValueError: for other options, and for a mask that is no boolean array ``(count,)`` with at
            least one True.
    """
    if options is None:
        return np.ones(count, bool)
    check_kind("options", options, Mapping, "a dictionary, or None")
    others = [key for key in options if key != "reset_mask"]
    if others:
        raise ValueError(f"options={shown(options)}: the only option of reset is reset_mask")
    mask = options.get("reset_mask")
    if "reset_mask" not in options:
        return np.ones(count, bool)
    if not isinstance(mask, np.ndarray) or mask.shape != (count,) or mask.dtype != bool:
        raise ValueError(f"reset_mask={shown(mask)}: give a boolean array ({count},)")
    if not mask.any():
        raise ValueError("reset_mask holds no True: nothing to reset")
    return mask


def check_autoreset(mode: Any) -> AutoresetMode:
    """Gymnasium's mode of a name or itself.

    Raises:
        ValueError: for others.
    """
    if isinstance(mode, AutoresetMode):
        return mode
    check_choice("autoreset_mode", mode, tuple(known.value for known in AutoresetMode))
    return AutoresetMode(mode)


def check_num_envs(count: Any, name: str = "num_envs") -> None:
    """Raise ``ValueError`` unless so many environments can be made."""
    check_integer(name, count, 1, MOST_ENVS)


def check_rng(rng: Any) -> None:
    """Raise ``ValueError`` unless ``rng`` is a random generator of NumPy's."""
    check_kind("rng", rng, np.random.Generator, "a generator, such as np.random.default_rng(0)")
