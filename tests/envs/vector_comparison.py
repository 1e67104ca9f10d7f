"""Exact comparison of what vector environments return, nested as they please."""

from __future__ import annotations

from typing import Any

import numpy as np


def assert_same(ours: Any, reference: Any, where: str = "") -> None:
    """Same structure, types and every bit of every number."""
    if isinstance(reference, dict):
        assert ours.keys() == reference.keys(), where
        for name, value in reference.items():
            assert_same(ours[name], value, f"{where}.{name}")
    elif isinstance(reference, list | tuple) or (
        isinstance(reference, np.ndarray) and reference.dtype == object
    ):
        assert len(ours) == len(reference), where
        for k, (mine, theirs) in enumerate(zip(ours, reference, strict=True)):
            assert_same(mine, theirs, f"{where}[{k}]")
    elif isinstance(reference, np.ndarray):
        assert (ours.dtype, ours.shape) == (reference.dtype, reference.shape), where
        assert np.array_equal(ours, reference), where
    else:
        assert type(ours) is type(reference), where
        assert ours == reference, where
