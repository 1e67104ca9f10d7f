"""What a refusal must look like: one sentence that names the argument, none of Python's own."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

# What Python and NumPy say when a wrong value has got too far.
INTERNAL = re.compile(
    r"object has no attribute|not supported between|unsupported operand|not subscriptable|"
    r"could not convert|invalid literal|truth value|not iterable|unhashable|no len\(\)|"
    r"must be real number|inhomogeneous|zip\(\) argument|cannot be interpreted|positional argument|"
    r"out of bounds|expected str|list index"
)
# No value of any option.
NEVER = ("x", b"x", float("nan"), float("inf"), 10**400, [1], {"a": 1}, int, object(), 1j, set())
# No value of a number or of settings, either.
NOT_EVEN = (True, "", [], {}, np.array([1, 2]))


def refused(call: Callable[[], Any], *names: str) -> str:
    """The message of the ``ValueError`` that ``call`` must raise; it holds all ``names``."""
    with pytest.raises(ValueError) as caught:
        call()
    message = str(caught.value)
    for name in names:
        assert name in message, message
    assert not INTERNAL.search(message), message
    assert "\n" not in message, message
    return message
