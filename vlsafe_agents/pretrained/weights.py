"""Weights as a shared agent's file holds them: matrices as float16, some parts left out.

Vectors (biases, scales, what was measured of observations) stay float32: they are small, and
differences of squares among them would not survive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

HALF_LIMIT = 65504.0  # largest finite float16
Weights = Mapping[str, Any]


def halved(weights: Weights, leave_out: Sequence[str]) -> dict[str, Any]:
    """Weights to be shared.

    Args:
        leave_out: beginnings of the names of those that are not.

    Raises:
        ValueError: for one that is not finite, or beyond float16.
    """
    done: dict[Any, Any] = {}  # some networks have one matrix under several names
    found = {}
    for name, value in weights.items():
        if name.startswith(tuple(leave_out)):
            continue
        key = (value.data_ptr(), value.shape) if isinstance(value, Tensor) and value.dim() else name
        if key not in done:
            done[key] = _half(name, value)
        found[name] = done[key]
    return found


def _half(name: str, value: Any) -> Any:
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return value
    if not value.isfinite().all():
        raise ValueError(f"the weight {name} holds numbers that are not finite; it is not shared")
    if value.dim() < 2:
        return value.cpu()
    if value.abs().max() > HALF_LIMIT:
        raise ValueError(f"the weight {name} holds {value.abs().max():g}, beyond float16's range")
    return value.cpu().to(torch.float16)


def completed(stored: Weights, own: Weights, left_out: Sequence[str]) -> dict[str, Any]:
    """Stored weights in the types of an agent's own, which stand in for those left out.

    Raises:
        ValueError: for weights that are missing, unknown, or of another shape.
    """
    missing = [k for k in own if k not in stored and not k.startswith(tuple(left_out))]
    unknown = sorted(set(stored) - set(own))
    if missing or unknown:
        raise ValueError(f"its weights lack {missing[:3]} and hold unknown {unknown[:3]}")
    found = dict(own)
    for name, value in stored.items():
        mine = own[name]
        if isinstance(value, Tensor) and isinstance(mine, Tensor):
            if value.shape != mine.shape and not name.endswith("_extra_state"):
                raise ValueError(
                    f"its weight {name} has shape {tuple(value.shape)}, not {tuple(mine.shape)}"
                )
            value = value.to(mine.device, mine.dtype)
        found[name] = value
    return found
