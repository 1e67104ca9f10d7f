"""Results as values that JSON holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np


def fields_of(value: Any) -> dict[str, Any]:
    """The fields of a dataclass's object, by name."""
    return {field.name: getattr(value, field.name) for field in fields(value)}


def plain(value: Any, parts: Callable[[Any], Mapping[str, Any]] = fields_of) -> Any:
    """A result as JSON: dataclasses become objects, arrays lists, NaN and infinity null.

    Args:
        value: of anything; what is none of these stays as it is.
        parts: what a dataclass's object becomes.
    """
    if is_dataclass(value) and not isinstance(value, type):
        value = parts(value)
    if isinstance(value, Mapping):
        return {str(key): plain(inner, parts) for key, inner in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(inner, parts) for inner in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return value
