"""Minari data sets on disk: where they are, their metadata and spaces, and the open data file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py

from vlsafe_agents.data.layout import BRANCHES_OF, MAIN_FILE, METADATA_FILE
from vlsafe_agents.data.remote import fetched
from vlsafe_agents.data.stored_array import COPY_AGAIN
from wrappers.files import read_json, reading, write_text

_NEEDED = {"total_episodes", "total_steps", "observation_space", "action_space"}
# What `vlsafe collect`, `label` and `audit` add, and what others may have written there.
_KINDS: dict[str, type] = {
    "env_id": str,
    "env_kwargs": dict,
    "contents": dict,
    "labelling": dict,
    "audits": list,
}
# observations that are one array a row
_ARRAYS = (
    gym.spaces.Box,
    gym.spaces.Discrete,
    gym.spaces.MultiDiscrete,
    gym.spaces.MultiBinary,
)
_JSON_NAMES: dict[type, str] = {str: "text", dict: "object", list: "array"}


def resolve_dataset(id_or_path: str | os.PathLike[str]) -> Path:
    """Folder with the HDF5 file of a data set, given its Minari id or a folder at or above it.

    The path of the file itself will do as well, and so will the address of a data set on Hugging
    Face, ``hf://owner/namespace/env/name-v0``, which is downloaded once.

    Raises:
        FileNotFoundError: when there is none.
        OSError: when one on Hugging Face cannot be had.
        ValueError: when there are several or something else.
        TypeError: for what is no path.
    """
    if not isinstance(id_or_path, str | os.PathLike):
        raise TypeError(
            f"a data set is opened by its path or Minari id, not by a {type(id_or_path).__name__}"
        )
    if not os.fspath(id_or_path):
        raise ValueError("the path of the data set is empty; name a folder or a Minari id")
    elsewhere = fetched(os.fspath(id_or_path), _minari_root())
    path = Path(id_or_path).expanduser() if elsewhere is None else elsewhere
    if path.is_file():
        if path.name not in (MAIN_FILE, METADATA_FILE):
            raise ValueError(
                f"{path} is a file but not {MAIN_FILE}; name the folder of a Minari data set, as "
                "`vlsafe collect` writes it"
            )
        return path.parent
    if path.is_dir():
        return _only_one(path)
    data_path = _minari_root() / str(id_or_path) / "data"
    if data_path.is_dir():
        return _only_one(data_path)
    raise FileNotFoundError(
        f"no data set at {id_or_path}: there is no such folder, nor such a Minari id in "
        f"{_minari_root()}; make one with `vlsafe collect`, or set MINARI_DATASETS_PATH when it "
        "was given by its Minari id"
    )


def _only_one(path: Path) -> Path:
    """The data folder at or below ``path``."""
    found = _folders_with(MAIN_FILE, path)
    if len(found) > 1:  # branches lie beside the drives that they leave, which are meant
        found = [one for one in found if not _is_of_branches(one)] or found
    if len(found) > 1:
        raise ValueError(f"{path} holds several data sets, name one of {[*map(str, found)]}")
    if found:
        return found[0]
    described = _folders_with(METADATA_FILE, path)
    if described:
        kind = read_json(described[0] / METADATA_FILE, dict).get("data_format", "unknown")
        raise ValueError(
            f"{described[0]} describes a data set of Minari's format {kind!r} but holds no "
            f"{MAIN_FILE}; only HDF5 is read: {COPY_AGAIN}"
        )
    begun = next(path.rglob(".*.shards"), None)
    if begun is not None:
        raise FileNotFoundError(
            f"the data set in {path} is not finished; the `vlsafe collect` command that began it "
            f"goes on where it stopped ({begun})"
        )
    raise FileNotFoundError(
        f"no Minari data set in {path}; make one with `vlsafe collect --out {path}`"
    )


def _is_of_branches(data_path: Path) -> bool:
    file = data_path / METADATA_FILE
    return file.is_file() and BRANCHES_OF in read_json(file, dict, COPY_AGAIN)


def _folders_with(name: str, path: Path) -> list[Path]:
    return sorted(
        file.parent
        for file in path.rglob(name)
        if not any(part.startswith(".") for part in file.relative_to(path).parts)
    )


def _minari_root() -> Path:
    """Where Minari keeps data sets; its own function makes the folder, here nothing is made."""
    root = os.environ.get("MINARI_DATASETS_PATH")
    return Path(root) if root else Path("~/.minari/datasets").expanduser()


def read_metadata(data_path: Path) -> dict[str, Any]:
    """Metadata of a data set; the scorer's identity comes from the file that holds its scores.

    Raises:
        FileNotFoundError: where there are none; names the file.
        ValueError: where they cannot be read; names the file.
    """
    path = data_path / METADATA_FILE
    metadata = read_json(path, dict, COPY_AGAIN)
    missing = _NEEDED - metadata.keys()
    if missing:
        raise ValueError(f"{path} is not Minari's: it has no {sorted(missing)}; {COPY_AGAIN}")
    for name, kind in _KINDS.items():
        if not isinstance(metadata.get(name, kind()), kind):
            raise ValueError(
                f"{path}: {name} is {str(metadata[name])[:60]!r}; expected a JSON "
                f"{_JSON_NAMES[kind]}: {COPY_AGAIN}"
            )
    with open_data(data_path) as file:
        scorer = file.attrs.get("scorer")
        try:
            metadata["scorer"] = None if scorer is None else json.loads(str(scorer))
        except json.JSONDecodeError:
            raise ValueError(
                f"the scorer of its labels is {str(scorer)[:60]!r}, which is no JSON; run `vlsafe "
                "label` again"
            ) from None
    return metadata


def update_metadata(data_path: Path, changes: dict[str, Any]) -> None:
    """Set entries of a data set's metadata; killed at any moment, the old or the new ones stand."""
    path = data_path / METADATA_FILE
    # not strict JSON: other people's metadata may hold NaN, which Minari reads
    write_text(path, json.dumps(read_json(path, dict, COPY_AGAIN) | changes))


@contextmanager
def open_data(data_path: Path) -> Iterator[h5py.File]:
    """The data file, open for reading; errors in the block become ones that name the file.

    Raises:
        FileNotFoundError: where there is none.
        ValueError: where it is damaged.
    """
    path = data_path / MAIN_FILE
    with open_file(data_path) as file:
        try:
            yield file
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        except MemoryError as error:
            raise ValueError(f"{path} holds more than fits into memory ({error})") from error
        except (OSError, RuntimeError, KeyError) as error:  # h5py's, for damaged parts
            reason = str(error).strip("'\"")
            raise ValueError(f"{path} cannot be read ({reason}); {COPY_AGAIN}") from error


def open_file(data_path: Path) -> h5py.File:
    """The data file, open for reading, which the caller closes.

    Raises:
        FileNotFoundError: where there is none.
        ValueError: where it cannot be opened.
    """
    path = data_path / MAIN_FILE
    return reading(path, "a Minari data set (HDF5)", lambda p: h5py.File(p, "r"), COPY_AGAIN)


def read_spaces(data_path: Path, metadata: dict[str, Any]) -> tuple[gym.Space, gym.Space]:
    """Observation and action space.

    Raises:
        ValueError: for observations of another layout.
    """
    from minari.serialization import deserialize_space  # minari loads slowly

    path, found = data_path / METADATA_FILE, []
    for name in ("observation_space", "action_space"):
        try:
            found.append(deserialize_space(metadata[name]))
        except Exception as error:  # whatever a space's own constructor dislikes
            raise ValueError(
                f"{path}: {name} is no space that Minari can read ({error}); {COPY_AGAIN}"
            ) from error
    space = found[0]
    parts = space.spaces if isinstance(space, gym.spaces.Dict) else {"": space}
    for name, part in parts.items():
        if not isinstance(part, _ARRAYS):
            what = f"observation {name!r}" if name else "the observation"
            raise ValueError(
                f"{data_path}: {what} is {part}; expected an array, or a Dict of named arrays: "
                "record it again with the environment in gymnasium.wrappers.FlattenObservation"
            )
    return space, found[1]
