"""``torch.compile`` that gives way to eager execution where it fails."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch


class Compiled:
    """A function without side effects that is compiled at its first call.

    A compiler may be missing, or fail for reasons of its own; then a warning says so, and the
    function runs as it is, in that call and all later ones.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self._fast: Callable[..., Any] | None = torch.compile(function, dynamic=False)

    def __call__(self, *args: Any) -> Any:
        if self._fast is not None:
            try:
                return self._fast(*args)
            except Exception as error:  # of any class: there are many compilers
                self._fast = None
                lines = str(error).strip().splitlines() or [type(error).__name__]
                warnings.warn(
                    f"train.compile: compiling failed, learning goes on without it ({lines[0]})",
                    stacklevel=2,
                )
        return self.function(*args)
