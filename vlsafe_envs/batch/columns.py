"""What many environments show, a column for each quantity and a row for each environment."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]


def joined(parts: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """The parts end to end; one part is not copied."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def info_rows(columns: dict[str, Any]) -> list[dict[str, Any]]:
    """Columns ``(K, ...)``, perhaps nested, as K dictionaries of plain values."""
    lists = []
    for column in columns.values():
        if isinstance(column, dict):
            lists.append(info_rows(column))
        else:
            lists.append(column.tolist() if column.ndim == 1 else list(column))
    names = tuple(columns)
    return [dict(zip(names, values, strict=True)) for values in zip(*lists, strict=True)]


def rows_of(columns: Any, rows: Integers) -> Any:
    """Rows of an array, or of all arrays in a dictionary or namespace; others stay as they are."""
    if isinstance(columns, np.ndarray):
        return columns[rows]
    if isinstance(columns, dict):
        return {name: rows_of(column, rows) for name, column in columns.items()}
    if isinstance(columns, SimpleNamespace):
        return SimpleNamespace(**rows_of(vars(columns), rows))
    return columns


def put_rows(arrays: Any, values: Any, rows: Integers) -> None:
    """Write ``values (K, ...)`` into rows of ``arrays (N, ...)``; both may be dictionaries."""
    if not isinstance(values, dict):
        arrays[rows] = values
        return
    for name, value in values.items():
        put_rows(arrays[name], value, rows)


def in_columns(settings: list[Any]) -> Any:
    """A setting common to all environments, or a namespace of its fields as arrays ``(N,)``."""
    first = settings[0]
    if all(setting == first for setting in settings[1:]):
        return first
    if isinstance(first, bool):
        return np.array(settings)
    fields = {name: np.array([getattr(s, name) for s in settings]) for name in vars(first)}
    return SimpleNamespace(**fields)
