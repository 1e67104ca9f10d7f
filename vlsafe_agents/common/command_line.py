"""Settings as options of a command line, as the commands read them back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def option(name: str, value: Any) -> list[str]:
    """An option with its value; nothing where there is none."""
    if value is None:
        return []
    short = f"{value:g}" if isinstance(value, float) else ""
    return [name, short if short and float(short) == value else str(value)]


def pairs(name: str, values: Any) -> list[str]:
    """``key=value`` for each entry, as the command line reads it back: JSON, or else text."""
    parts: list[str] = []
    for key, value in values.items() if isinstance(values, Mapping) else ():
        parts += [name, f"{key}={_text(value)}"]
    return parts


def density(value: Any) -> Any:
    """A density, or the two ends of a range, as options have it."""
    return ":".join(f"{end:g}" for end in value) if isinstance(value, list | tuple) else value


def _text(value: Any) -> str:
    if isinstance(value, str) and value not in ("None", "True", "False"):
        try:
            json.loads(value)
        except ValueError:
            return value
    return json.dumps(value)
