"""The random generators that a process has in common: Python's, NumPy's and PyTorch's."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def common_random_states() -> dict[str, Any]:
    """Where they are, with those of all GPUs in use; plain data and tensors."""
    version, words, gauss = random.getstate()
    numpy_state: Any = np.random.get_state(legacy=False)  # noqa: NPY002  # SB3 draws from it
    return {
        "python": [version, list(words), gauss],
        "numpy": {**numpy_state, "state": {**numpy_state["state"], "key": _key(numpy_state)}},
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
    }


def set_common_random_states(states: dict[str, Any]) -> None:
    """Inverse of :func:`common_random_states`; GPUs that are not there are passed over.

    Raises:
        ValueError, TypeError, KeyError, RuntimeError: for what is no such state.
    """
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words), gauss))
    np.random.set_state(states["numpy"])  # noqa: NPY002
    torch.set_rng_state(states["torch"].cpu())
    for device, state in enumerate(states["cuda"]):
        if torch.cuda.is_available() and device < torch.cuda.device_count():
            torch.cuda.set_rng_state(state.cpu(), device)


@contextmanager
def common_random_states_kept() -> Iterator[None]:
    """Leave them after the block as they were before."""
    states = common_random_states()
    try:
        yield
    finally:
        set_common_random_states(states)


def _key(state: dict[str, Any]) -> list[int]:
    return [int(word) for word in state["state"]["key"]]
