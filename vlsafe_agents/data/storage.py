"""Reading Minari data sets into flat rows, with a memory-mapped cache for the images."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py
import numpy as np

from .episode import Array, check_numbers
from .rows import FlatRows, action_dtype

MAIN_FILE = "main_data.hdf5"
METADATA_FILE = "metadata.json"


def resolve_dataset(id_or_path: str | Path) -> Path:
    """Folder with the HDF5 file of a data set, given its Minari id or a folder at or above it.

    Raises ``FileNotFoundError`` when there is none and ``ValueError`` when there are several.
    """
    path = Path(id_or_path)
    if path.is_dir():
        found = sorted(
            file.parent
            for file in path.rglob(MAIN_FILE)
            if not any(part.startswith(".") for part in file.relative_to(path).parts)
        )
        if len(found) > 1:
            raise ValueError(f"{path} holds several data sets, name one of {[*map(str, found)]}")
        if not found:
            raise FileNotFoundError(
                f"no Minari data set in {path}; make one with `vlsafe collect --out {path}`"
            )
        return found[0]
    from minari.storage.datasets_root_dir import get_dataset_path

    try:
        data_path = Path(get_dataset_path(str(id_or_path))) / "data"
    except ValueError as error:  # not a well-formed id: so it was meant as a path
        raise FileNotFoundError(f"no folder and no Minari id: {id_or_path}") from error
    if not (data_path / MAIN_FILE).is_file():
        raise FileNotFoundError(
            f"no data set at {id_or_path}; make one with `vlsafe collect`, or set "
            "MINARI_DATASETS_PATH when it was given by its Minari id"
        )
    return data_path


def read_metadata(data_path: Path) -> dict[str, Any]:
    """Metadata of a data set; the scorer's identity comes from the file that holds its scores."""
    metadata: dict[str, Any] = json.loads((data_path / METADATA_FILE).read_text())
    with h5py.File(data_path / MAIN_FILE, "r") as file:
        scorer = file.attrs.get("scorer")
    metadata["scorer"] = None if scorer is None else json.loads(str(scorer))
    return metadata


def update_metadata(data_path: Path, changes: dict[str, Any]) -> None:
    """Set entries of a data set's metadata; killed at any moment, the old or the new ones stand."""
    path = data_path / METADATA_FILE
    metadata = json.loads(path.read_text()) | changes
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(metadata))
    os.replace(temporary, path)


def read_spaces(metadata: dict[str, Any]) -> tuple[gym.spaces.Dict, gym.Space[Any]]:
    """Observation and action space; raises ``ValueError`` for observations of another layout."""
    from minari.serialization import deserialize_space  # minari loads slowly

    observation_space = deserialize_space(metadata["observation_space"])
    if not isinstance(observation_space, gym.spaces.Dict):
        raise ValueError(
            f"the data hold {observation_space}; expected a Dict of named observations, as "
            "`vlsafe collect` writes them"
        )
    if metadata.get("jpeg_encoding", True) and _image_names(observation_space):
        raise ValueError("the images are stored as lossy JPEG; write with jpeg_encoding=False")
    return observation_space, deserialize_space(metadata["action_space"])


def read_flat_rows(
    id_or_path: str | Path, cache: bool = True
) -> tuple[FlatRows, gym.Space[Any], gym.Space[Any], dict[str, Any]]:
    """All rows of a Minari data set with its spaces and metadata.

    A safety score of NaN stands for a frame without a label.

    Raises ``ValueError`` for missing costs, numbers that are not finite and wrong lengths.
    """
    data_path = resolve_dataset(id_or_path)
    metadata = read_metadata(data_path)
    observation_space, action_space = read_spaces(metadata)
    with h5py.File(data_path / MAIN_FILE, "r") as file:
        groups = [file[f"episode_{number}"] for number in range(metadata["total_episodes"])]
        if not groups:
            raise ValueError(f"the data set at {data_path} holds no episode")
        lengths = [len(group["rewards"]) + 1 for group in groups]
        starts = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
        obs = {}
        for name in observation_space.spaces:
            arrays = _Stacked(groups, f"observations/{name}", starts)
            if cache and name in _image_names(observation_space):
                obs[name] = _mapped(arrays, data_path, name, _content_stamp(data_path, metadata))
            else:
                obs[name] = arrays.load()
        rows = FlatRows(obs=obs, starts=starts, **_read_steps(groups, starts, action_space))
    return rows, observation_space, action_space, metadata


def _read_steps(
    groups: Sequence[h5py.Group], starts: Array, action_space: gym.Space[Any]
) -> dict[str, Any]:
    """Everything but the observations, checked."""
    total = int(starts[-1])
    action = np.zeros((total, *(action_space.shape or ())), action_dtype(action_space))
    reward = np.zeros(total, np.float32)
    terminal = np.zeros(total, bool)
    for number, group in enumerate(groups):
        begin, end = starts[number : number + 2]
        rewards = group["rewards"][()]
        check_numbers(f"reward of episode {number}", rewards)
        reward[begin + 1 : end] = rewards
        action[begin : end - 1] = group["actions"][()]
        terminal[end - 1] = bool(group["terminations"][-1])
    infos = groups[0].get("infos", {})
    name = next((name for name in ("env_cost", "cost") if name in infos), None)
    if name is None:
        raise ValueError(
            "the data set has no cost: neither infos/env_cost nor infos/cost; collect it with "
            "`vlsafe collect`, from an environment that reports info['cost']"
        )
    env_cost = _Stacked(groups, f"infos/{name}", starts).load().astype(np.float32)
    check_numbers(f"infos/{name}", env_cost, low=0.0)
    score = np.full(total, np.nan, np.float32)
    if "safety_score" in infos:
        score = _Stacked(groups, "infos/safety_score", starts).load().astype(np.float32)
        check_numbers("infos/safety_score", score[~np.isnan(score)], low=0.0, high=1.0)
    return {
        "next_action": action,
        "reward": reward,
        "env_cost": env_cost,
        "safety_score": score,
        "is_terminal": terminal,
        "seeds": tuple(int(g.attrs["seed"]) if "seed" in g.attrs else None for g in groups),
        "drivers": tuple(str(g.attrs.get("driver", "")) for g in groups),
    }


class _Stacked:
    """One array a group, to be laid end to end."""

    def __init__(self, groups: Sequence[h5py.Group], name: str, starts: Array) -> None:
        self.starts = starts
        # opened once: looking a data set up costs more than reading a small one
        self.parts = [group.get(name) for group in groups]
        for number, part in enumerate(self.parts):
            rows = int(starts[number + 1] - starts[number])
            found = 0 if part is None else len(part)
            if found != rows:
                raise ValueError(
                    f"{name} of episode {number} has {found} entries, expected {rows} "
                    "(one more than its actions)"
                )
        self.shape = (int(starts[-1]), *self.parts[0].shape[1:])
        self.dtype = self.parts[0].dtype

    def fill(self, out: Array) -> Array:
        for number, part in enumerate(self.parts):
            out[self.starts[number] : self.starts[number + 1]] = part[()]
        return out

    def load(self) -> Array:
        return self.fill(np.empty(self.shape, self.dtype))


def _mapped(arrays: _Stacked, data_path: Path, name: str, stamp: str) -> Array:
    """The array memory-mapped from a cache file, which is written first if need be.

    The stamp in the file's name makes a changed data set write a new file; falls back to memory
    where the folder cannot be written.
    """
    folder = data_path.parent / "cache"
    path = folder / f"{name}-{stamp}.npy"
    if not path.exists():
        temporary = folder / f".{name}-{stamp}.{os.getpid()}.tmp"
        try:
            folder.mkdir(exist_ok=True)
            stale = set(folder.glob(f"{name}-*.npy")) - {path}
            out = np.lib.format.open_memmap(temporary, "w+", arrays.dtype, arrays.shape)
            arrays.fill(out)
            out.flush()
            os.replace(temporary, path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            warnings.warn(f"no image cache in {folder} ({error}); using memory", stacklevel=2)
            return arrays.load()
        for old in stale:
            old.unlink(missing_ok=True)
    return np.load(path, mmap_mode="r")


def _content_stamp(data_path: Path, metadata: dict[str, Any]) -> str:
    """Changes when the observations may have; labels do not touch it where a hash was stored."""
    content = metadata.get("content_hash")
    if content is None:
        status = (data_path / MAIN_FILE).stat()
        content = f"{status.st_size}-{status.st_mtime_ns}"
    return hashlib.sha256(str(content).encode()).hexdigest()[:16]


def _image_names(space: gym.spaces.Dict) -> list[str]:
    return [name for name, part in space.spaces.items() if len(part.shape or ()) >= 2]
