"""Scores of frames on disk, so that no frame is judged twice, in whichever run or process.

An entry's key is a hash of all that a score depends on: the scorer's identity (weights, prompts,
form, ...), what determines the frame, and that alone.  What determines a frame are its pixels, or
the drawing's identity and the scene that is drawn, which is quicker to hash.

Every entry has a checksum over key and score: a damaged one is dropped, never returned.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import struct
import sys
import tempfile
import threading
import time
import warnings
import zlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wrappers.byte_locks import ByteLocks
from wrappers.checks import whole_number
from wrappers.score_database import ScoreDatabase
from wrappers.scorer import Scores

DEFAULT_LIMIT = 1 << 30  # [bytes], some 20 million entries
KEPT_SHARE = 0.8  # of the limit, when entries have to go
_KEY_BYTES = 16
_KEYS_AT_ONCE = 8192  # in one query
_FRESH = 24  # [h], as long an entry counts as just used
_PUTS_BETWEEN_CHECKS = 256  # of the size
_PRUNING = 1 << 62  # claimed by who prunes; those of keys lie below


def cache_folder() -> Path:
    """Where caches lie: ``VLSAFE_CACHE``, else ``vlsafe`` in the system's place for caches."""
    own = os.environ.get("VLSAFE_CACHE")
    if own:
        return Path(own)
    try:
        home = Path.home()
    except RuntimeError:  # of a user without one, as in some containers
        return Path(tempfile.gettempdir()) / "vlsafe"
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "vlsafe"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", home / "AppData" / "Local")) / "vlsafe"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "vlsafe"


def content_keys(scope: Mapping[str, Any], rows: npt.NDArray[Any]) -> list[bytes]:
    """Keys of N rows of content ``(N, ...)`` within a scope.

    ``scope`` is JSON-able and says what scores depend on besides the content: the scorer's
    identity and how frames come from rows.  Type and shape of a row count as well.
    """
    facts = {"scope": scope, "type": rows.dtype.str, "shape": rows.shape[1:]}
    secret = hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=32).digest()
    if not len(rows):
        return []
    content = np.ascontiguousarray(rows).reshape(len(rows), -1).view(np.uint8)
    return [
        hashlib.blake2b(row, digest_size=_KEY_BYTES, key=secret).digest()  # type: ignore[arg-type]
        for row in content
    ]


class ScoreCache:
    """Scores by key, shared by threads and processes of a machine; see :func:`content_keys`.

    Nothing is lost or half written when a process is killed.  Of entries over the limit those go
    first that were not used for longest.  Pickles are reopened where they are read.  Where the
    folder cannot be used (read-only, full disk), a warning says so and this object keeps scores in
    memory.

    Args:
        folder: on a local disk; ``None`` for ``scores`` in :func:`cache_folder`.
        limit: greatest size of the file [bytes].

    Raises ``ValueError`` for a limit that holds nothing.
    """

    def __init__(self, folder: str | Path | None = None, limit: int = DEFAULT_LIMIT) -> None:
        whole_number(limit, "the limit of a cache [bytes]", "the score cache", 1)
        self.folder = cache_folder() / "scores" if folder is None else Path(folder)
        self.limit = limit
        self.damaged = 0  # entries found damaged, and dropped, by this object
        self._database = ScoreDatabase(self.folder)
        self._claims = ByteLocks(self.folder / "claims")
        self._puts = 0
        self._lock = threading.Lock()
        self._memory: dict[bytes, float] | None = None  # once the folder cannot be used

    keys = staticmethod(content_keys)

    def get(self, keys: Sequence[bytes]) -> Scores:
        """Scores ``(N,)`` of N keys; NaN where there is none."""
        found: dict[bytes, float] = {}
        try:
            self._look_up(keys, found)
        except OSError as error:
            self._do_without(error)
        if self._memory is not None:
            found.update((key, self._memory[key]) for key in set(keys) & self._memory.keys())
        return np.array([found.get(key, np.nan) for key in keys], np.float32)

    def _look_up(self, keys: Sequence[bytes], found: dict[bytes, float]) -> None:
        """Add what the file knows to ``found``."""
        hour = _hour()
        fresh = range(hour - _FRESH, hour + 1)
        wanted = sorted(set(keys))  # neighbours in the file
        for begin in range(0, len(wanted), _KEYS_AT_ONCE):
            part = wanted[begin : begin + _KEYS_AT_ONCE]
            rows = self._database.read(partial(_select, keys=part))
            sound = [row for row in rows if _is_sound(row)]
            if len(sound) < len(rows):
                self._drop({row[0] for row in rows} - {row[0] for row in sound})
            found.update((key, score) for key, score, _, _ in sound)
            self._touch([row[0] for row in sound if row[3] not in fresh], hour)

    def put(self, keys: Sequence[bytes], scores: npt.ArrayLike) -> None:
        """Keep scores ``(N,)`` in [0, 1] of N keys; all at once, or none when killed.

        NaN means that there is no label, and is not kept.  What is there already stays.  Raises
        ``ValueError`` for other numbers.
        """
        values = np.asarray(scores, np.float32)
        if values.shape != (len(keys),):
            raise ValueError(f"{len(keys)} keys cannot have scores of shape {values.shape}")
        labelled = ~np.isnan(values)
        if not ((values >= 0) & (values <= 1))[labelled].all():
            raise ValueError(f"scores lie in [0, 1], got {values.min()} to {values.max()}")
        hour = _hour()
        rows = sorted(
            (key, score, _checksum(key, score), hour)
            for key, score, known in zip(keys, values.tolist(), labelled, strict=True)
            if known
        )
        if not rows:
            return
        if self._memory is not None:
            self._keep_in_memory(rows)
            return
        try:
            self._database.write(
                lambda connection: connection.executemany(
                    "INSERT INTO scores VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", rows
                )
            )
            with self._lock:
                self._puts += 1
                due = self._puts % _PUTS_BETWEEN_CHECKS == 0
            if due:
                self.prune()
        except OSError as error:
            self._do_without(error)
            self._keep_in_memory(rows)

    def claim(self, keys: Sequence[bytes]) -> npt.NDArray[np.bool_]:
        """Which of N keys this process may score now: those that no other process has claimed.

        A claim ends with :meth:`release`, and with the process.  Look claimed keys up again:
        another process may have scored them just before.
        """
        if self._memory is None:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                return np.array(self._claims.take(map(_number, keys)), bool)
            except OSError as error:
                self._do_without(error)
        return np.ones(len(keys), bool)  # others cannot know of ours

    def release(self, keys: Sequence[bytes]) -> None:
        """Give claimed keys back."""
        with contextlib.suppress(OSError):
            self._claims.drop(map(_number, keys))

    def __len__(self) -> int:
        """How many scores there are."""
        count: int = self._database.read(
            lambda connection: connection.execute("SELECT count(*) FROM scores").fetchone()[0]
        )
        return count

    @property
    def size(self) -> int:
        """Size of the file [bytes], its log not counted."""
        return self._database.read(_size)

    def prune(self) -> int:
        """Drop the entries that were not used for longest while the file is over the limit.

        Returns how many.  Happens by itself now and then when scores are put.
        """
        if self.size <= self.limit or not all(self._claims.take([_PRUNING])):
            return 0
        try:
            surplus = 1.0 - KEPT_SHARE * self.limit / self.size
            dropped = self._database.write(lambda connection: _drop_oldest(connection, surplus))
            with contextlib.suppress(OSError):  # others kept the file busy: the next time, then
                self._database.read(_compact)
        finally:
            self._claims.drop([_PRUNING])
        return dropped

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        self._database.close()

    def _do_without(self, error: OSError) -> None:
        """Go on in memory."""
        with self._lock:
            if self._memory is not None:
                return
            self._memory = {}
        warnings.warn(
            f"{error}; for now scores are kept in memory, and lost when this process ends",
            stacklevel=3,
        )

    def _keep_in_memory(self, rows: list[_Row]) -> None:
        assert self._memory is not None
        for key, score, *_ in rows:
            self._memory.setdefault(key, score)

    def _drop(self, keys: set[bytes]) -> None:
        self.damaged += len(keys)
        self._database.check()  # there may be more damage than in single entries
        rows = [(key,) for key in keys]
        self._database.write(
            lambda connection: connection.executemany("DELETE FROM scores WHERE key = ?", rows)
        )

    def _touch(self, keys: list[bytes], hour: int) -> None:
        rows = [(hour, key) for key in keys]
        if rows:
            self._database.write(
                lambda connection: connection.executemany(
                    "UPDATE scores SET used = ? WHERE key = ?", rows
                )
            )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.folder, self.limit)

    def __deepcopy__(self, memo: dict[int, Any]) -> ScoreCache:
        return self


_Row = tuple[bytes, float, int, int]  # key, score, checksum, hour of last use


def _select(connection: sqlite3.Connection, keys: list[bytes]) -> list[_Row]:
    marks = ",".join("?" * len(keys))
    rows: list[_Row] = connection.execute(
        f"SELECT key, score, checksum, used FROM scores WHERE key IN ({marks})", keys
    ).fetchall()
    return rows


_pack_entry = struct.Struct("<16sd").pack


def _checksum(key: bytes, score: float) -> int:
    return zlib.crc32(_pack_entry(key, score))


def _is_sound(row: _Row) -> bool:
    key, score, checksum, _ = row
    return type(score) is float and zlib.crc32(_pack_entry(key, score)) == checksum


def _size(connection: sqlite3.Connection) -> int:
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (page,) = connection.execute("PRAGMA page_size").fetchone()
    return int(pages) * int(page)


def _drop_oldest(connection: sqlite3.Connection, share: float) -> int:
    """Delete a share of all entries, the longest unused first; returns how many."""
    by_hour = connection.execute(
        "SELECT used, count(*) FROM scores GROUP BY used ORDER BY used"
    ).fetchall()
    surplus = round(share * sum(count for _, count in by_hour))
    left = surplus
    for used, count in by_hour:
        if left <= 0:
            break
        connection.execute(
            "DELETE FROM scores WHERE key IN (SELECT key FROM scores WHERE used = ? LIMIT ?)",
            (used, min(left, count)),
        )
        left -= count
    return surplus


def _compact(connection: sqlite3.Connection) -> None:
    """Make the file smaller: hashes lie all over it, so deleting alone leaves no page empty."""
    connection.execute("VACUUM")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _hour() -> int:
    return int(time.time() // 3600)


def _number(key: bytes) -> int:
    """Where a key's claim lies in the file of claims, below 2**62."""
    return int.from_bytes(key[:8], "little") >> 2
