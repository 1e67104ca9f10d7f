"""The index of a large data set: all but the observations, read and checked once.

It lies in ``cache/index-STAMP/`` beside the data: ``rows.npy`` (one record a row, memory-mapped, so
that several processes share its pages), ``episodes.npy``, ``drivers.json`` and ``branches.json``.
The stamp is made of the data file's size and time, of what the metadata say of spaces and sizes,
and of the cost that was asked for: other data make another index.  Every opening compares some
episodes with the data.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vlsafe_agents.common.border import Array
from vlsafe_agents.data.columns import open_flat, write_flat
from vlsafe_agents.data.episode import Branch
from vlsafe_agents.data.layout import ACTIONS, MAIN_FILE, REWARDS
from vlsafe_agents.data.stored_array import StoredEpisodes
from wrappers.files import one_writer, read_json, replacing, write_json

VERSION = 2
FROM_EPISODES, FROM_STEPS = 500, 1_000_000  # smaller data sets are read in a second
_MADE_OF = ("observation_space", "action_space", "total_episodes", "total_steps", "jpeg_encoding")
_ROW = ("next_action", "reward", "env_cost", "safety_score", "is_terminal")
_CHUNK = 2**18  # rows written together
_LOOKS = 6  # episodes that are compared, beside the first and the last


@dataclass(frozen=True)
class Steps:
    """All of a data set but its observations; see :class:`~vlsafe_agents.data.rows.FlatRows`."""

    starts: npt.NDArray[np.int64]  # (E + 1,)
    next_action: Array  # (R,) or (R, A)
    reward: npt.NDArray[np.float32]  # (R,)
    env_cost: npt.NDArray[np.float32]  # (R,)
    safety_score: npt.NDArray[np.float32]  # (R,)
    is_terminal: npt.NDArray[np.bool_]  # (R,)
    seeds: tuple[int | None, ...]  # (E,)
    drivers: tuple[str, ...]  # (E,)
    branches: tuple[Branch | None, ...]  # (E,)


def is_large(metadata: Mapping[str, Any]) -> bool:
    """Whether a data set is worth an index."""
    return any(
        isinstance(metadata[name], int) and metadata[name] >= least
        for name, least in (("total_episodes", FROM_EPISODES), ("total_steps", FROM_STEPS))
    )


def index_path(data_path: Path, metadata: Mapping[str, Any], cost_key: str | None) -> Path:
    """Folder of the index of these data, whether it is there or not."""
    status = (data_path / MAIN_FILE).stat()
    made_of = {name: metadata.get(name) for name in _MADE_OF}
    made_of |= {"version": VERSION, "size": status.st_size, "time": status.st_mtime_ns}
    text = json.dumps({**made_of, "cost": cost_key}, sort_keys=True, default=str)
    stamp = hashlib.sha256(text.encode()).hexdigest()[:16]
    return data_path.parent / "cache" / f"index-{stamp}"


def read_index(path: Path, episodes: StoredEpisodes) -> Steps | None:
    """The index, if it is there, whole, and agrees with the data in the episodes looked at."""
    rows, table = open_flat(path / "rows.npy"), open_flat(path / "episodes.npy")
    if rows is None or table is None:
        return None
    try:
        names = read_json(path / "drivers.json", list)
        known = table["seeded"][:-1].tolist()
        seeds = table["seed"][:-1].tolist()
        steps = Steps(
            starts=np.array(table["start"]),
            seeds=tuple(s if k else None for s, k in zip(seeds, known, strict=True)),
            drivers=tuple(str(names[n]) for n in table["driver"][:-1].tolist()),
            branches=_read_branches(path, len(seeds)),
            **{name: rows[name] for name in _ROW},
        )
        return steps if _agrees(steps, len(rows), episodes) else None
    except (ValueError, KeyError, IndexError, TypeError, OSError):  # another layout, or damaged
        return None


def _agrees(steps: Steps, rows: int, episodes: StoredEpisodes) -> bool:
    """Whether some episodes, others at every call, are as in the data."""
    starts, count = steps.starts, len(episodes)
    if len(starts) != count + 1 or starts[0] or starts[-1] != rows or (np.diff(starts) < 2).any():
        return False
    picked = {0, count - 1, *np.random.default_rng().integers(count, size=_LOOKS).tolist()}
    for number in picked:
        begin, end = starts[number : number + 2]
        reward = episodes.array(number, REWARDS).read()
        action = episodes.array(number, ACTIONS).read()
        same = np.array_equal(reward.astype(np.float32), steps.reward[begin + 1 : end])
        acted = steps.next_action[begin : end - 1]
        if not same or not np.array_equal(action.astype(acted.dtype), acted):
            return False
    return True


def write_index(path: Path, steps: Steps) -> bool:
    """Write the index in place of all others of these data; whether that was possible."""
    try:
        with one_writer(path.parent, "indexing a data set", wait=True):
            shutil.rmtree(path, ignore_errors=True)
            with replacing(path) as temporary:
                temporary.mkdir()
                _write(temporary, steps)
            for old in set(path.parent.glob("index-*")) - {path}:
                shutil.rmtree(old, ignore_errors=True)
    except (OSError, NotImplementedError) as error:  # the latter: file systems without locks
        warnings.warn(
            f"no index of the data set in {path.parent} ({error}); it is read anew at every "
            "opening, and kept in memory",
            stacklevel=5,
        )
        return False
    return True


def _write(folder: Path, steps: Steps) -> None:
    columns = {name: getattr(steps, name) for name in _ROW}
    row = np.dtype([(n, x.dtype, x.shape[1:]) for n, x in columns.items()], align=True)
    total = int(steps.starts[-1])
    write_flat(folder / "rows.npy", (total,), row, _records(columns, row, total))
    names = sorted(set(steps.drivers))
    codes = {name: code for code, name in enumerate(names)}
    table = np.zeros(
        len(steps.starts),
        [("start", np.int64), ("seed", np.int64), ("seeded", bool), ("driver", np.int32)],
    )
    table["start"] = steps.starts
    for number, (seed, driver) in enumerate(zip(steps.seeds, steps.drivers, strict=True)):
        table[number] = (steps.starts[number], seed or 0, seed is not None, codes[driver])
    write_flat(folder / "episodes.npy", table.shape, table.dtype, [table])
    write_json(folder / "drivers.json", names)
    left = {n: vars(branch) for n, branch in enumerate(steps.branches) if branch is not None}
    write_json(folder / "branches.json", left)


def _read_branches(path: Path, episodes: int) -> tuple[Branch | None, ...]:
    found = read_json(path / "branches.json", dict)
    branches = [Branch(**found[str(n)]) if str(n) in found else None for n in range(episodes)]
    return tuple(branches)


def _records(columns: Mapping[str, Array], row: np.dtype[Any], total: int) -> Iterator[Array]:
    for begin, end in pairwise([*range(0, total, _CHUNK), total]):
        records = np.zeros(end - begin, row)
        for name, column in columns.items():
            records[name] = column[begin:end]
        yield records
