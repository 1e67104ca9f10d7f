"""Reading the episodes of Minari data sets into flat rows, from an index where they are many."""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Sequence
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
from vlsafe_agents.data.storage import open_data, read_metadata, read_spaces, resolve_dataset
from vlsafe_agents.data.stored_array import COPY_AGAIN, StoredArray, StoredEpisodes
from wrappers.checks import FLOAT32_MAX, one_flag
from wrappers.files import read_json, write_json


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
        self._content = content_of(data_path, metadata)
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


def content_of(data_path: Path, metadata: dict[str, Any]) -> str:
    """Changes when the observations may have; labels do not touch it where a hash was stored."""
    content = metadata.get("content_hash")
    if content is None:
        status = (data_path / MAIN_FILE).stat()
        content = f"{status.st_size}-{status.st_mtime_ns}"
    return str(content)


def _file_name(name: str) -> str:
    """The name of an observation as part of a file name."""
    return re.sub(r"[^\w-]", "_", name)
