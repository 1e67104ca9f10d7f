"""Saved agents without pickles: spaces as JSON, and a check of files before they are read."""

from __future__ import annotations

import io
import json
import pathlib
import zipfile
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.save_util import open_path


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


def refuse_pickles(path: str | pathlib.Path | io.BufferedIOBase) -> None:
    """Look into an agent's file before it is loaded.

    :raises ValueError: if an attribute in it would be unpickled.
    """
    file = open_path(path, "r", suffix="zip")
    with zipfile.ZipFile(file) as archive:
        data = json.loads(archive.read("data"))
    if isinstance(path, str | pathlib.Path):
        file.close()
    else:
        file.seek(0)
    pickled = [k for k, v in data.items() if isinstance(v, dict) and ":serialized:" in v]
    if pickled:
        raise ValueError(
            f"{path} holds pickled objects ({', '.join(pickled)}), which could run code; "
            "VLSafe writes none, so this is not one of its files"
        )
