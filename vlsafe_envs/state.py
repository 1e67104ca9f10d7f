"""Attributes put aside and put back: what simulators, tasks and environments save themselves with.

Arrays are copied both ways, since compiled code changes them in place.  Everything else has to be a
value that nobody changes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

State = dict[str, Any]


def save_attributes(thing: Any, names: Iterable[str]) -> State:
    """The attributes of these names."""
    return {name: _kept(getattr(thing, name)) for name in names}


def restore_attributes(thing: Any, state: State) -> None:
    """Inverse of :func:`save_attributes`; a state may be put back as often as one likes."""
    for name, value in state.items():
        setattr(thing, name, _kept(value))


def _kept(value: Any) -> Any:
    return value.copy() if isinstance(value, np.ndarray) else value
