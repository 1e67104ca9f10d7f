"""Reading Minari data sets into flat rows, with a memory-mapped cache for the images."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py
import numpy as np

from vlsafe_agents.common.border import (
    RECORD_AGAIN,
    Array,
    actions_of,
    blank_actions,
    check_column,
)
from vlsafe_agents.data.columns import Column, column_of, mapped
from vlsafe_agents.data.costs import read_costs
from vlsafe_agents.data.jpeg import JpegColumn, is_stored_as_jpeg
from vlsafe_agents.data.layout import (
    ACTIONS,
    BRANCHES_OF,
    MAIN_FILE,
    METADATA_FILE,
    OBSERVATIONS,
    REWARDS,
    SAFETY_SCORE,
    TERMINATIONS,
    branch_of,
    episode_name,
    info_name,
    observation_name,
)
from vlsafe_agents.data.rows import (
    FlatRows,
    bare_name,
    check_spaces,
    check_values,
    named_spaces,
)
from wrappers.checks import FLOAT32_MAX, one_flag
from wrappers.files import read_json, reading, write_text

COPY_AGAIN = "copy or download the data set again, or record it anew with `vlsafe collect`"
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

    The path of the file itself will do as well.

    Raises:
        FileNotFoundError: when there is none.
        ValueError: when there are several or something else.
        TypeError: for what is no path.
    """
    if not isinstance(id_or_path, str | os.PathLike):
        raise TypeError(
            f"a data set is opened by its path or Minari id, not by a {type(id_or_path).__name__}"
        )
    if not os.fspath(id_or_path):
        raise ValueError("the path of the data set is empty; name a folder or a Minari id")
    path = Path(id_or_path).expanduser()
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


def read_flat_rows(
    id_or_path: str | os.PathLike[str], cache: bool = True, cost_key: str | None = None
) -> tuple[FlatRows, gym.Space[Any], gym.Space[Any], dict[str, Any]]:
    """All rows of a Minari data set with its spaces and metadata.

    A safety score of NaN stands for a frame without a label, a cost of NaN for data without costs.

    Raises:
        ValueError: for damaged files, impossible numbers and wrong lengths, and where there is no
            info ``cost_key``.
    """
    data_path = resolve_dataset(id_or_path)
    metadata = read_metadata(data_path)
    observation_space, action_space = read_spaces(data_path, metadata)
    with open_data(data_path) as file:
        groups = _episodes(file, metadata)
        rewards = [column_of(group, REWARDS, number) for number, group in enumerate(groups)]
        for number, part in enumerate(rewards):
            if part.ndim != 1:
                raise ValueError(
                    f"episode {number}: rewards has shape {part.shape}, expected one number a step"
                )
        lengths = [len(part) + 1 for part in rewards]
        starts = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
        _check_total(metadata, int(starts[-1]) - len(groups))
        nested = isinstance(observation_space, gym.spaces.Dict)
        parts = named_spaces(observation_space, [bare_name(observation_space)])
        obs = {}
        for name, space in parts.items():
            where = observation_name(name) if nested else OBSERVATIONS
            column: Column
            if is_stored_as_jpeg(space, metadata):
                column = JpegColumn(groups, where, starts, space.shape or ())
            else:
                column = Column(groups, where, starts)
            if cache and len(space.shape or ()) >= 2:
                content = f"{name} {_content(data_path, metadata)}"
                obs[name] = mapped(column, data_path.parent / "cache", _file_name(name), content)
            else:
                obs[name] = column.load()
        steps = _read_steps(groups, rewards, starts, action_space, cost_key)
        infos = partial(_read_infos, data_path, starts)
        rows = FlatRows(obs=obs, starts=starts, infos=infos, **steps)
        check_spaces(rows, observation_space, action_space)
        check_values(rows, observation_space)
    return rows, observation_space, action_space, metadata


def _episodes(file: h5py.File, metadata: dict[str, Any]) -> list[h5py.Group]:
    """The groups of all episodes, as many as the metadata say."""
    stated = metadata["total_episodes"]
    present = sum(1 for name in file if re.fullmatch(r"episode_\d+", str(name)))
    if stated != present or isinstance(stated, bool):
        raise ValueError(
            f"the file holds {present} episodes, but {METADATA_FILE} says {stated!r}; {COPY_AGAIN}"
        )
    if not present:
        raise ValueError(f"the data set holds no episode; {COPY_AGAIN}")
    groups = [file[episode_name(number)] for number in range(present)]
    for number, group in enumerate(groups):
        if not isinstance(group, h5py.Group):
            raise ValueError(f"episode {number} is a single array, not a group; {COPY_AGAIN}")
    return groups


def _check_total(metadata: dict[str, Any], steps: int) -> None:
    stated = metadata["total_steps"]
    if stated != steps:
        raise ValueError(
            f"the file holds {steps:,} steps, but {METADATA_FILE} says {stated!r}; {COPY_AGAIN}"
        )


def _read_steps(
    groups: Sequence[h5py.Group],
    rewards: Sequence[h5py.Dataset],
    starts: Array,
    action_space: gym.Space[Any],
    cost_key: str | None,
) -> dict[str, Any]:
    """Everything but the observations, checked."""
    total = int(starts[-1])
    action = blank_actions(total, action_space)
    reward = np.zeros(total, np.float64)
    terminal = np.zeros(total, bool)
    for number, group in enumerate(groups):
        begin, end = starts[number : number + 2]
        where, steps = f"episode {number}", int(end - begin) - 1
        if not steps:
            raise ValueError(f"{where} has no step; {RECORD_AGAIN}")
        reward[begin + 1 : end] = rewards[number][()]
        taken = column_of(group, ACTIONS, number)
        action[begin : end - 1] = actions_of(taken[()], action_space, steps, where)
        terminal[end - 1] = _terminated(column_of(group, TERMINATIONS, number), steps, where)
    given = np.delete(reward, starts[:-1])  # without the resets'
    check_column(given, "reward", starts - np.arange(len(starts)), -FLOAT32_MAX, FLOAT32_MAX)
    score = np.full(total, np.nan, np.float32)
    if _any_has(groups, SAFETY_SCORE):
        score = Column(groups, SAFETY_SCORE, starts, single=True).load()
        labelled = np.where(np.isnan(score), 0.0, score)
        check_column(labelled, SAFETY_SCORE, starts, low=0.0, high=1.0)
    return {
        "next_action": action,
        "reward": reward.astype(np.float32),
        "env_cost": read_costs(groups, starts, cost_key),
        "safety_score": score.astype(np.float32),
        "is_terminal": terminal,
        "seeds": tuple(_seed(group) for group in groups),
        "drivers": tuple(str(g.attrs.get("driver", "")) for g in groups),
        "branches": tuple(branch_of(g.attrs, f"episode {n}") for n, g in enumerate(groups)),
    }


def _read_infos(data_path: Path, starts: Array, names: Sequence[str]) -> dict[str, Array]:
    """Infos ``(R, ...)`` that all episodes have."""
    with open_data(data_path) as file:
        groups = [file[episode_name(number)] for number in range(len(starts) - 1)]
        found = [n for n in names if all(info_name(n) in group for group in groups)]
        return {name: Column(groups, info_name(name), starts).load() for name in found}


def _terminated(column: h5py.Dataset, steps: int, where: str) -> bool:
    """Whether an episode ended by itself, which only its last step may say."""
    if column.shape != (steps,):
        raise ValueError(
            f"{where}: terminations has shape {column.shape}, expected ({steps},); {COPY_AGAIN}"
        )
    flags = column[()]
    if flags.dtype.kind not in "bui" or (flags > 1).any() or (flags < 0).any():
        for entry, flag in enumerate(flags):
            one_flag(flag, f"terminations[{entry}]", where)
    if flags[:-1].any():
        raise ValueError(
            f"{where} terminated at step {int(np.argmax(flags)) + 1} of {steps}, yet it goes on; "
            "split it into episodes"
        )
    return bool(flags[-1])


def _any_has(groups: Sequence[h5py.Group], name: str) -> bool:
    """Whether an episode has this info; then all must."""
    return any(name in group for group in groups)


def _seed(group: h5py.Group) -> int | None:
    try:
        return int(group.attrs["seed"])
    except (KeyError, TypeError, ValueError):  # Minari writes "None" for none
        return None


def _content(data_path: Path, metadata: dict[str, Any]) -> str:
    """Changes when the observations may have; labels do not touch it where a hash was stored."""
    content = metadata.get("content_hash")
    if content is None:
        status = (data_path / MAIN_FILE).stat()
        content = f"{status.st_size}-{status.st_mtime_ns}"
    return str(content)


def _file_name(name: str) -> str:
    """The name of an observation as part of a file name."""
    return re.sub(r"[^\w-]", "_", name)
