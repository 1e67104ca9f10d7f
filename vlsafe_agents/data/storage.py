"""Reading Minari data sets into flat rows, with a memory-mapped cache for the images."""

from __future__ import annotations

import json
import os
import re
import sys
import warnings
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
    check_observations,
)
from vlsafe_agents.common.progress import shown
from vlsafe_agents.data.columns import Column, mapped
from vlsafe_agents.data.costs import read_costs
from vlsafe_agents.data.index import Steps, index_path, is_large, read_index, write_index
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
    info_name,
    observation_name,
)
from vlsafe_agents.data.rows import (
    FlatRows,
    bare_name,
    check_spaces,
    matching_names,
    named_spaces,
)
from vlsafe_agents.data.stored_array import COPY_AGAIN, StoredArray, StoredEpisodes
from wrappers.checks import FLOAT32_MAX, one_flag
from wrappers.files import read_json, reading, write_json, write_text

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
    id_or_path: str | os.PathLike[str],
    cache: bool = True,
    cost_key: str | None = None,
    seen: gym.Space[Any] | None = None,
) -> tuple[FlatRows, gym.Space[Any], gym.Space[Any], dict[str, Any]]:
    """All rows of a Minari data set with its spaces and metadata.

    A safety score of NaN stands for a frame without a label, a cost of NaN for data without costs.

    Args:
        seen: the observations that are read; the others stay on disk.  None: all.

    Raises:
        ValueError: for damaged files, impossible numbers and wrong lengths, and where there is no
            info ``cost_key``, or nothing of the kind of ``seen``.
    """
    data_path = resolve_dataset(id_or_path)
    metadata = read_metadata(data_path)
    stored, action_space = read_spaces(data_path, metadata)
    names = _names_of(stored, seen)
    with open_data(data_path) as file:
        index = index_path(data_path, metadata, cost_key) if cache and is_large(metadata) else None
        episodes, steps = _read_steps(file, metadata, action_space, cost_key, index)
        layout = _Observations(data_path, metadata, episodes, steps.starts, cache)
        obs = {name: layout.column(stored, kept) for name, kept in names.items()}
        infos = partial(_read_infos, data_path, steps.starts)
        rows = FlatRows(obs=obs, infos=infos, **vars(steps))
        space = stored if seen is None else seen
        check_spaces(rows, space, action_space)
        layout.check(rows, space)
    return rows, space, action_space, metadata


def _names_of(stored: gym.Space[Any], seen: gym.Space[Any] | None) -> dict[str, str]:
    """Stored names of the observations to read, by the names that they get."""
    names = list(named_spaces(stored, [bare_name(stored)]))
    return {n: n for n in names} if seen is None else matching_names(stored, seen, names)


class _Observations:
    """The observations of a data set: where they are kept, and whether they were checked."""

    def __init__(
        self,
        data_path: Path,
        metadata: dict[str, Any],
        episodes: StoredEpisodes,
        starts: Array,
        cache: bool,
    ) -> None:
        self._metadata, self._episodes, self._starts = metadata, episodes, starts
        self._folder = data_path.parent / "cache" if cache else None
        self._content = _content(data_path, metadata)
        self._title = f"lay out {data_path.parent.name}" if is_large(metadata) else ""

    def column(self, stored: gym.Space[Any], name: str) -> Array:
        """All rows ``(R, ...)`` of one kind of observation, mapped where that pays."""
        space = named_spaces(stored, [bare_name(stored)])[name]
        where = observation_name(name) if isinstance(stored, gym.spaces.Dict) else OBSERVATIONS
        column: Column
        if is_stored_as_jpeg(space, self._metadata):
            column = JpegColumn(self._episodes, where, self._starts, space.shape or ())
        else:
            column = Column(self._episodes, where, self._starts)
        if self._folder is None or (len(space.shape or ()) < 2 and not self._title):
            return column.load()
        title = f"{self._title}, {name}" if self._title else ""
        return mapped(column, self._folder, _file_name(name), f"{name} {self._content}", title)

    def check(self, rows: FlatRows, space: gym.Space[Any]) -> None:
        """Check all values, of mapped files of a large data set only once."""
        for name, part in named_spaces(space, list(rows.obs)).items():
            values = rows.obs[name]
            file = getattr(values, "filename", None)
            if not self._title or file is None:
                check_observations(values, f"observation {name!r}", part, self._starts)
            else:
                self._check_once(Path(file).with_suffix(".json"), values, name, part)

    def _check_once(self, report: Path, values: Array, name: str, space: gym.Space[Any]) -> None:
        found = read_json(report) if report.is_file() else {}
        if found.get("space") != str(space) or found.get("rows") != len(values):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                check_observations(values, f"observation {name!r}", space, self._starts)
            said = [str(warning.message) for warning in caught]
            found = {"space": str(space), "rows": len(values), "warnings": said}
            write_json(report, found)
        for warning in found["warnings"]:
            warnings.warn(warning, stacklevel=5)


def _read_steps(
    file: h5py.File,
    metadata: dict[str, Any],
    action_space: gym.Space[Any],
    cost_key: str | None,
    index: Path | None,
) -> tuple[StoredEpisodes, Steps]:
    """Everything but the observations, checked; from the index where there is a good one."""
    if index is not None and index.exists():
        episodes = StoredEpisodes(file, int(metadata["total_episodes"]))
        steps = read_index(index, episodes)
        if steps is not None:
            return episodes, steps
    episodes = StoredEpisodes.of(file, metadata["total_episodes"])
    title = "" if index is None else f"index {Path(file.filename).parent.parent.name}"
    steps = _steps_of(episodes, metadata, action_space, cost_key, title)
    if index is not None and write_index(index, steps):
        steps = read_index(index, episodes) or steps
    return episodes, steps


def _starts_of(episodes: StoredEpisodes, metadata: dict[str, Any]) -> Array:
    """First row of each episode, then the number of rows ``(E + 1,)``."""
    lengths = []
    for number in range(len(episodes)):
        part = episodes.array(number, REWARDS)
        if len(part.shape) != 1:
            raise ValueError(
                f"episode {number}: rewards has shape {part.shape}, expected one number a step"
            )
        lengths.append(len(part) + 1)
    starts = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    steps, stated = int(starts[-1]) - len(episodes), metadata["total_steps"]
    if stated != steps:
        raise ValueError(
            f"the file holds {steps:,} steps, but {METADATA_FILE} says {stated!r}; {COPY_AGAIN}"
        )
    return starts


def _steps_of(
    episodes: StoredEpisodes,
    metadata: dict[str, Any],
    action_space: gym.Space[Any],
    cost_key: str | None,
    title: str,
) -> Steps:
    starts = _starts_of(episodes, metadata)
    total = int(starts[-1])
    action = blank_actions(total, action_space)
    reward = np.zeros(total, np.float64)
    terminal = np.zeros(total, bool)
    seeds, drivers, branches = [], [], []
    numbers = range(len(episodes))
    for number in shown(numbers, title, len(episodes), "episodes", bool(title)):
        begin, end = starts[number : number + 2]
        where, steps = f"episode {number}", int(end - begin) - 1
        if not steps:
            raise ValueError(f"{where} has no step; {RECORD_AGAIN}")
        reward[begin + 1 : end] = episodes.array(number, REWARDS).read()
        taken = episodes.array(number, ACTIONS).read()
        action[begin : end - 1] = actions_of(taken, action_space, steps, where)
        terminal[end - 1] = _terminated(episodes.array(number, TERMINATIONS), steps, where)
        attributes = episodes.group(number).attrs
        seeds.append(_seed(attributes))
        drivers.append(sys.intern(str(attributes.get("driver", ""))))
        branches.append(branch_of(attributes, where))
    given = np.delete(reward, starts[:-1])  # without the resets'
    check_column(given, "reward", starts - np.arange(len(starts)), -FLOAT32_MAX, FLOAT32_MAX)
    score = np.full(total, np.nan, np.float32)
    if episodes.any_has(SAFETY_SCORE):
        score = Column(episodes, SAFETY_SCORE, starts, single=True).load()
        labelled = np.where(np.isnan(score), 0.0, score)
        check_column(labelled, SAFETY_SCORE, starts, low=0.0, high=1.0)
    return Steps(
        starts=starts,
        next_action=action,
        reward=reward.astype(np.float32),
        env_cost=read_costs(episodes, starts, cost_key),
        safety_score=score.astype(np.float32),
        is_terminal=terminal,
        seeds=tuple(seeds),
        drivers=tuple(drivers),
        branches=tuple(branches),
    )


def _read_infos(data_path: Path, starts: Array, names: Sequence[str]) -> dict[str, Array]:
    """Infos ``(R, ...)`` that all episodes have."""
    with open_data(data_path) as file:
        episodes = StoredEpisodes(file, len(starts) - 1)
        numbers = range(len(episodes))
        found = [n for n in names if all(episodes.has(e, info_name(n)) for e in numbers)]
        return {name: Column(episodes, info_name(name), starts).load() for name in found}


def _terminated(column: StoredArray, steps: int, where: str) -> bool:
    """Whether an episode ended by itself, which only its last step may say."""
    if column.shape != (steps,):
        raise ValueError(
            f"{where}: terminations has shape {column.shape}, expected ({steps},); {COPY_AGAIN}"
        )
    flags = column.read()
    if flags.dtype.kind not in "bui" or (flags > 1).any() or (flags < 0).any():
        for entry, flag in enumerate(flags):
            one_flag(flag, f"terminations[{entry}]", where)
    if flags[:-1].any():
        raise ValueError(
            f"{where} terminated at step {int(np.argmax(flags)) + 1} of {steps}, yet it goes on; "
            "split it into episodes"
        )
    return bool(flags[-1])


def _seed(attributes: Any) -> int | None:
    try:
        return int(attributes["seed"])
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
