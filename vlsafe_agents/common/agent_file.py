"""Agents' files: SB3's zip layout with JSON and weights, and nothing that could run code."""

from __future__ import annotations

import io
import json
import pathlib
import pickle
import sys
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.save_util import open_path, save_to_zip_file
from stable_baselines3.common.utils import FloatSchedule, LinearSchedule, get_device

from wrappers.files import fault_of, replacing

AgentPath = str | pathlib.Path | io.BufferedIOBase

LARGEST_DATA = 16 * 2**20  # [bytes] of the JSON part
LARGEST_RATIO = 50  # of inflated to stored bytes; weights hardly shrink
LARGEST_SPACE = 2**28  # entries of a Box
_SERIALIZED = ":serialized:"  # how SB3 marks pickled entries
_CLASS, _LINEAR = "__class__", "__linear_schedule__"
# Classes that a file may name: networks and optimisers, which loading does not run.
_CLASS_HOMES = ("torch.nn.", "torch.optim.", "stable_baselines3.common.", "vlsafe_agents.")


class CannotStoreError(TypeError):
    """A value is neither plain data nor one of the classes that files may name."""


class HoldsPicklesError(ValueError):
    """A file has parts that would run code."""


# --- values ---------------------------------------------------------------------------------------


def to_plain(value: Any) -> Any:
    """A value as JSON holds it: plain data, constant and linear schedules, networks' classes.

    Raises:
        CannotStoreError: for functions, objects and foreign classes.
    """
    if isinstance(value, FloatSchedule):
        value = value.value_schedule
    if isinstance(value, LinearSchedule):
        return {_LINEAR: [value.start, value.end, value.end_fraction]}
    if hasattr(value, "val") and type(value).__name__ == "ConstantSchedule":
        return float(value.val)
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [to_plain(entry) for entry in value]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: to_plain(entry) for key, entry in value.items()}
    if isinstance(value, type) and _may_be_named(value):
        return {_CLASS: f"{value.__module__}:{value.__qualname__}"}
    raise CannotStoreError(f"{value!r} cannot be stored without pickling")


def from_plain(value: Any) -> Any:
    """Inverse of :func:`to_plain`; tuples have become lists.

    Raises:
        ValueError: for a class that files may not name.
    """
    if isinstance(value, list):
        return [from_plain(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    if _LINEAR in value:
        return LinearSchedule(*(float(number) for number in value[_LINEAR]))
    if _CLASS in value:
        return _named_class(str(value[_CLASS]))
    return {key: from_plain(entry) for key, entry in value.items()}


def _may_be_named(value: type) -> bool:
    home = f"{value.__module__}."
    kinds = (torch.nn.Module, torch.optim.Optimizer)
    return home.startswith(_CLASS_HOMES) and issubclass(value, kinds)


def _named_class(name: str) -> type:
    home, _, path = name.partition(":")
    value: Any = sys.modules.get(home)  # nothing is imported because a file says so
    if f"{home}.".startswith(_CLASS_HOMES):
        for part in path.split("."):
            value = getattr(value, part, None)
    if not isinstance(value, type) or not _may_be_named(value):
        raise ValueError(f"{name!r} is no network or optimiser that an agent's file may name")
    return value


def space_to_json(space: spaces.Space[Any]) -> dict[str, Any]:
    """Describe a Box, Discrete, MultiDiscrete, MultiBinary or Dict space.

    Raises:
        ValueError: for other spaces.
    """
    if isinstance(space, spaces.Discrete):
        return {"kind": "Discrete", "n": int(space.n), "start": int(space.start)}
    if isinstance(space, spaces.MultiDiscrete):
        parts = {"nvec": space.nvec.tolist(), "start": space.start.tolist()}
        return {"kind": "MultiDiscrete", **parts, "dtype": np.dtype(space.dtype).name}
    if isinstance(space, spaces.MultiBinary):
        return {"kind": "MultiBinary", "shape": list(space.shape)}
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
    raise ValueError(
        f"cannot store the space {space}; known are Box, Discrete, MultiDiscrete, MultiBinary, Dict"
    )


def space_from_json(data: dict[str, Any]) -> spaces.Space[Any]:
    """Inverse of :func:`space_to_json`.

    Raises:
        ValueError: for an unknown kind, or a Box too large to be meant.
    """
    if data["kind"] == "Discrete":
        return spaces.Discrete(data["n"], start=data["start"])
    if data["kind"] == "MultiDiscrete":
        dtype = np.dtype(data["dtype"]).type
        return spaces.MultiDiscrete(data["nvec"], dtype, start=data["start"])
    if data["kind"] == "MultiBinary":
        shape = tuple(data["shape"])
        if np.prod(shape, dtype=np.float64) > LARGEST_SPACE:
            raise ValueError(f"a MultiBinary of shape {shape} is too large to be meant")
        return spaces.MultiBinary(shape[0] if len(shape) == 1 else shape)
    if data["kind"] == "Dict":
        return spaces.Dict({k: space_from_json(s) for k, s in data["spaces"].items()})
    if data["kind"] == "Box":
        dtype, shape = np.dtype(data["dtype"]), tuple(data["shape"])
        if np.prod(shape, dtype=np.float64) > LARGEST_SPACE:
            raise ValueError(f"a Box of shape {shape} is too large to be an observation")
        low, high = (
            np.broadcast_to(np.asarray(data[side], dtype), shape).copy() for side in ("low", "high")
        )
        return spaces.Box(low, high, shape, dtype.type)
    raise ValueError(f"unknown kind of space {data['kind']!r}")


def _bound(values: np.ndarray) -> Any:
    """One number if all are equal, else nested lists."""
    return values.flat[0].item() if (values == values.flat[0]).all() else values.tolist()


# --- files ----------------------------------------------------------------------------------------


def write_agent(path: AgentPath, data: dict[str, Any], params: dict[str, Any]) -> None:
    """Write plain ``data`` and ``params`` (``state_dict`` by name), whole or not at all.

    As with SB3, ``.zip`` is added to a path without an ending.
    """
    if isinstance(path, io.IOBase):
        save_to_zip_file(path, data=data, params=params)
        return
    buffer = io.BytesIO()
    save_to_zip_file(buffer, data=data, params=params)
    final = pathlib.Path(path)
    final = final if final.suffix else final.with_suffix(".zip")
    with replacing(final) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def read_agent(
    path: AgentPath, device: torch.device | str = "cpu"
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Plain data and ``state_dict`` by name; nothing in the file is run.

    Raises:
        FileNotFoundError: where there is no file.
        ValueError: for a file that is cut off or no agent, holds pickled objects, or would inflate
            beyond measure; the message names it.
    """
    name = _name(path)
    try:
        file = open_path(path, "r", suffix="zip")
    except (FileNotFoundError, IsADirectoryError):
        raise FileNotFoundError(f"there is no agent at {name}") from None
    try:
        with zipfile.ZipFile(file) as archive:
            return _read(archive, name, device)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
        found = "" if isinstance(path, io.IOBase) else fault_of(pathlib.Path(file.name))
        fault = found or f"is no agent's file, or was cut off ({error})"
        raise ValueError(f"{name} {fault}; save the agent again") from error
    finally:
        if isinstance(path, io.IOBase):
            file.seek(0)
        else:
            file.close()


def _name(path: AgentPath) -> str:
    return "the given file" if isinstance(path, io.IOBase) else str(path)


def _read(
    archive: zipfile.ZipFile, name: str, device: torch.device | str
) -> tuple[dict[str, Any], dict[str, Any]]:
    _refuse_bombs(archive, name)
    names = archive.namelist()
    if "data" not in names or "policy.pth" not in names:
        raise ValueError(f"{name} is a zip file, but holds no agent (no data, no policy.pth)")
    if archive.getinfo("data").file_size > LARGEST_DATA:
        raise ValueError(f"{name}: its part 'data' is too large to hold an agent's settings")
    try:
        data = json.loads(archive.read("data"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name}: its part 'data' is no JSON ({error})") from error
    if not isinstance(data, dict):
        raise ValueError(f"{name}: its part 'data' holds no JSON object")
    pickled = [k for k, v in data.items() if isinstance(v, dict) and _SERIALIZED in v]
    if pickled:
        raise HoldsPicklesError(
            f"{name} holds pickled objects ({', '.join(pickled)}), which run code when they are "
            "loaded: it was saved by Stable-Baselines3's own classes, or by vlsafe up to November "
            "2026. If you trust where it came from, load it with allow_pickle=True "
            "(--allow-pickle) and save it again"
        )
    params = {}
    for part in names:
        if part.endswith(".pth") and part != "pytorch_variables.pth":  # SB3's; ours have none
            params[part.removesuffix(".pth")] = _weights(archive.read(part), name, part, device)
    return data, params


def _weights(content: bytes, name: str, part: str, device: torch.device | str) -> Any:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as inner:
            _refuse_bombs(inner, f"{name}: {part}")
    except zipfile.BadZipFile:
        pass  # torch's older format, or no weights: torch says which
    try:
        return torch.load(io.BytesIO(content), map_location=get_device(device), weights_only=True)
    except (pickle.UnpicklingError, EOFError, RuntimeError) as error:
        raise ValueError(
            f"{name}: {part} holds more than weights, or was cut off; it is not loaded"
        ) from error


def _refuse_bombs(archive: zipfile.ZipFile, name: str) -> None:
    for part in archive.infolist():
        if part.file_size > LARGEST_RATIO * max(part.compress_size, 1) + LARGEST_DATA:
            raise ValueError(
                f"{name}: {part.filename} would inflate from {part.compress_size:,} to "
                f"{part.file_size:,} bytes; no agent does"
            )
