"""How the drawing functions are compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wrappers.machine_code import machine_code

_WHAT = "the drawing of frames for this processor, which takes up to half a minute"


def drawing(**options: Any) -> Callable[[Any], Any]:
    """Decorate a function that is compiled on first use; ``options`` of ``numba.njit``."""
    return lambda function: machine_code(function, _WHAT, **options)
