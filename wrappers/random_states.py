"""States of NumPy's random generators as plain numbers, which any file can hold."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np


def generator_state(generator: np.random.Generator) -> dict[str, Any]:
    """Where a generator is; names, whole numbers and lists of them."""
    return dict(_plain(generator.bit_generator.state))


def set_generator_state(generator: np.random.Generator, state: dict[str, Any]) -> None:
    """Inverse of :func:`generator_state`.

    Raises:
        ValueError: for the state of another kind of generator, or one that is damaged.
    """
    try:
        generator.bit_generator.state = state
    except (KeyError, TypeError, IndexError, OverflowError) as error:
        raise ValueError(f"this is no state of a random generator ({error!r})") from error


def space_generators(space: gym.Space[Any]) -> list[np.random.Generator]:
    """The generators that a space samples with: its own, and those of its parts."""
    parts: Any = getattr(space, "spaces", ())
    parts = parts.values() if hasattr(parts, "values") else parts
    return [space.np_random, *(one for part in parts for one in space_generators(part))]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return value
