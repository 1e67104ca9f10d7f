"""Gymnasium spaces as JSON, so that a saved agent can be read without unpickling."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces


def space_to_json(space: spaces.Space[Any]) -> dict[str, Any]:
    """Describe a Box, Discrete or Dict space.

    :raises ValueError: for other spaces.
    """
    if isinstance(space, spaces.Discrete):
        return {"kind": "Discrete", "n": int(space.n), "start": int(space.start)}
    if isinstance(space, spaces.Dict):
        return {"kind": "Dict", "spaces": {k: space_to_json(s) for k, s in space.spaces.items()}}
    if isinstance(space, spaces.Box):
        return {
            "kind": "Box",
            "low": _bound(space.low),
            "high": _bound(space.high),
            "shape": list(space.shape),
            "dtype": np.dtype(space.dtype).name,
        }
    raise ValueError(f"cannot store the space {space}; known are Box, Discrete and Dict")


def space_from_json(data: dict[str, Any]) -> spaces.Space[Any]:
    """Inverse of :func:`space_to_json`."""
    if data["kind"] == "Discrete":
        return spaces.Discrete(data["n"], start=data["start"])
    if data["kind"] == "Dict":
        return spaces.Dict({k: space_from_json(s) for k, s in data["spaces"].items()})
    if data["kind"] == "Box":
        dtype, shape = np.dtype(data["dtype"]), tuple(data["shape"])
        low, high = (
            np.broadcast_to(np.asarray(data[side], dtype), shape).copy() for side in ("low", "high")
        )
        return spaces.Box(low, high, shape, dtype.type)
    raise ValueError(f"unknown kind of space {data['kind']!r}")


def _bound(values: np.ndarray) -> Any:
    """One number if all are equal, else nested lists."""
    return values.flat[0].item() if (values == values.flat[0]).all() else values.tolist()
