"""Scores of frames on disk, so that no frame is scored twice, in whichever run or process.

An entry's key is a hash of all that a score depends on: the scorer's identity (weights, prompts,
form, ...) and what determines the frame, which are its pixels, or the drawing's identity and the
scene that is drawn (quicker to hash).  An entry has a checksum over key and score: a damaged one is
dropped, never returned.  Two processes may score one frame twice; the first score is kept.
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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from wrappers.checks import whole_number
from wrappers.scorer import Scores, check_scores

DEFAULT_LIMIT = 1 << 30  # [bytes], some 20 million entries
KEPT_SHARE = 0.8  # of the limit, when entries have to go
_KEYS_AT_ONCE = 8192  # in one query
_FRESH = 24  # [h], as long an entry counts as just used
_PUTS_BETWEEN_CHECKS = 256  # of the size
_PATIENCE = 60.0  # [s], for other processes that write
_LOG_PAGES = 8000  # of 4 KiB, before the log is worked into the file
_MOST_DAMAGED = 3  # files in a row, before the folder counts as unusable
_SCHEMA = """
CREATE TABLE IF NOT EXISTS scores (
    key BLOB PRIMARY KEY, score REAL NOT NULL, checksum INTEGER NOT NULL, used INTEGER NOT NULL
) WITHOUT ROWID
"""  # ``used``: the hour of last use
_Row = tuple[bytes, float, int, int]
_Result = TypeVar("_Result")
_pack_entry = struct.Struct("<16sd").pack


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
    """Keys of N rows of content ``(N, ...)``; type and shape of a row count as well.

    Args:
        scope: JSON-able; what scores depend on besides the content: the scorer's identity and how
            frames come from rows.
        rows: pixels, or packed scenes.
    """
    facts = {"scope": scope, "type": rows.dtype.str, "shape": rows.shape[1:]}
    secret = hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=32).digest()
    if not len(rows):
        return []
    content = np.ascontiguousarray(rows).reshape(len(rows), -1).view(np.uint8)
    return [
        hashlib.blake2b(row, digest_size=16, key=secret).digest()  # type: ignore[arg-type]
        for row in content
    ]


class ScoreCache:
    """Scores by key in a SQLite file, shared by threads and processes of a machine.

    A killed process loses at most the batch that it was putting.  Of entries over the limit those
    go first that were not used for longest.  A damaged file is set aside with a warning and begun
    anew.  Where the folder cannot be used (read-only, full disk), a warning says so and this object
    keeps scores in memory.

    Args:
        folder: on a local disk; ``None`` for ``scores`` in :func:`cache_folder`.
        limit: greatest size of the file [bytes].

    Raises:
        ValueError: for a limit that holds nothing.
    """

    def __init__(self, folder: str | Path | None = None, limit: int = DEFAULT_LIMIT) -> None:
        whole_number(limit, "the limit of a cache [bytes]", "the score cache", 1)
        self.folder = cache_folder() / "scores" if folder is None else Path(folder)
        self.limit = limit
        self.path = self.folder / "scores.v1.0.sqlite"  # the number grows when one is damaged
        self._connection: sqlite3.Connection | None = None
        self._pid = -1
        self._inherited: list[sqlite3.Connection] = []  # a parent's; closing it would harm it
        self._lock = threading.RLock()
        self._puts = 0
        self._memory: dict[bytes, float] | None = None  # once the folder cannot be written

    keys = staticmethod(content_keys)

    def get(self, keys: Sequence[bytes]) -> Scores:
        """Scores ``(N,)`` of N keys; NaN where there is none."""
        found: dict[bytes, float] = {}
        hour = _hour()
        fresh = range(hour - _FRESH, hour + 1)
        wanted = sorted(set(keys))  # neighbours in the file
        try:
            for begin in range(0, len(wanted), _KEYS_AT_ONCE):
                rows = self._select(wanted[begin : begin + _KEYS_AT_ONCE])
                found |= (sound := {row[0]: row[1] for row in rows if _is_sound(row)})
                if len(sound) < len(rows):
                    damaged = [(row[0],) for row in rows if row[0] not in sound]
                    self._write("DELETE FROM scores WHERE key = ?", damaged)
                stale = [(row[0],) for row in rows if row[3] not in fresh]
                self._write(f"UPDATE scores SET used = {hour} WHERE key = ?", stale)
        except OSError as error:
            self._do_without(error)
        if self._memory:
            found = self._memory | found
        return np.array([found.get(key, np.nan) for key in keys], np.float32)

    def put(self, keys: Sequence[bytes], scores: npt.ArrayLike) -> None:
        """Keep scores ``(N,)`` of N keys; all at once, or none when killed.

        NaN means that there is no label, and is not kept.  What is there already stays.

        Raises:
            ValueError: for another shape and numbers outside [0, 1].
        """
        pairs = zip(keys, check_scores(scores, len(keys)).tolist(), strict=True)
        new = sorted((key, score) for key, score in pairs if score == score)  # not NaN
        if self._memory is None:
            rows = [(key, score, _checksum(key, score), _hour()) for key, score in new]
            try:
                self._write("INSERT OR IGNORE INTO scores VALUES (?, ?, ?, ?)", rows)
                self._puts += 1
                if self._puts % _PUTS_BETWEEN_CHECKS == 0:
                    self.prune()
                return
            except OSError as error:
                self._do_without(error)
        self._memory = dict(new) | (self._memory or {})

    def __len__(self) -> int:
        """How many scores the file has."""
        return self._ask("SELECT count(*) FROM scores")

    @property
    def size(self) -> int:
        """Size of the file [bytes], its log not counted."""
        return self._ask("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")

    def prune(self) -> int:
        """Drop the entries that were not used for longest while the file is over the limit.

        Returns how many.  Happens by itself now and then when scores are put.
        """
        size = self.size
        if size <= self.limit:
            return 0
        surplus = round((1.0 - KEPT_SHARE * self.limit / size) * len(self))
        oldest = "SELECT key FROM scores ORDER BY used LIMIT ?"
        self._write(f"DELETE FROM scores WHERE key IN ({oldest})", [(surplus,)])
        with contextlib.suppress(OSError):  # others kept the file busy: the next time, then
            # hashes lie all over the file, so deleting alone leaves no page empty
            self._run(lambda file: file.executescript("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)"))
        return surplus

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            if self._connection is not None and self._pid == os.getpid():
                self._connection.close()
                self._connection = None

    def _select(self, keys: list[bytes]) -> list[_Row]:
        marks = ",".join("?" * len(keys))
        question = f"SELECT key, score, checksum, used FROM scores WHERE key IN ({marks})"
        return self._run(lambda file: file.execute(question, keys).fetchall())

    def _ask(self, question: str) -> int:
        return int(self._run(lambda file: file.execute(question).fetchone())[0])

    def _write(self, command: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Execute a command for each row: for all of them, or for none."""

        def transaction(file: sqlite3.Connection) -> None:
            with file:  # commits, or rolls back
                file.execute("BEGIN IMMEDIATE")
                file.executemany(command, rows)

        if rows:
            self._run(transaction)

    def _run(self, action: Callable[[sqlite3.Connection], _Result]) -> _Result:
        """What ``action`` makes of the file, and of a new one where it is found to be damaged.

        Raises:
            OSError: where the folder cannot be used.
        """
        fault: Exception | None = None
        with self._lock:
            for _ in range(_MOST_DAMAGED):
                try:
                    return action(self._connect())
                except (sqlite3.Error, UnicodeError, OSError) as error:
                    fault = error
                if not _is_damage(fault, self.path):
                    break
                self._set_aside(fault)
        raise OSError(
            f"cannot use the score cache in {self.folder} ({fault}); choose another folder "
            "(--cache, or the environment variable VLSAFE_CACHE) or do without (--no-cache)"
        ) from fault

    def _connect(self) -> sqlite3.Connection:
        if self._connection is not None and self._pid != os.getpid():
            self._inherited.append(self._connection)
            self._connection = None
        if not self.path.exists():  # set aside by others, or the folder was emptied
            self.close()
        if self._connection is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            files = {_number(file): file for file in self.folder.glob("scores.v1.*.sqlite")}
            self.path = files[max(files)] if files else self.path
            self._connection, self._pid = _open(self.path), os.getpid()
        return self._connection

    def _set_aside(self, fault: Exception) -> None:
        """Go on with a file of another name: others may have this one open, and its log."""
        self.close()
        damaged, kept = self.path, self.folder / "scores.damaged"
        warnings.warn(
            f"the score cache {damaged} is damaged ({fault}); an empty one takes its place, and "
            f"the old one is now {kept}",
            stacklevel=5,
        )
        self.path = self.folder / f"scores.v1.{_number(damaged) + 1}.sqlite"
        self.path.touch()  # first, so that nobody begins the damaged one again
        with contextlib.suppress(FileNotFoundError):  # another process was faster
            damaged.replace(kept)
        for suffix in ("-wal", "-shm"):
            damaged.with_name(damaged.name + suffix).unlink(missing_ok=True)

    def _do_without(self, error: OSError) -> None:
        """Go on in memory; says so once."""
        if self._memory is None:
            self._memory = {}
            note = "for now scores are kept in memory, and lost when this process ends"
            warnings.warn(f"{error}; {note}", stacklevel=3)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.folder, self.limit)

    def __deepcopy__(self, memo: dict[int, Any]) -> ScoreCache:
        return self


def _open(path: Path) -> sqlite3.Connection:
    file = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
    try:
        file.text_factory = bytes  # what damage made into text need not be text
        with contextlib.suppress(sqlite3.OperationalError):  # else a writer locks readers out
            file.execute("PRAGMA journal_mode = WAL")
        # the last entries may be lost when the power fails; the file stays whole
        file.execute("PRAGMA synchronous = NORMAL")
        file.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
        file.execute(_SCHEMA)
    except BaseException:
        file.close()
        raise
    return file


def _number(path: Path) -> int:
    part = path.name.split(".")[2]
    return int(part) if part.isdigit() else -1


def _is_damage(fault: Exception, path: Path) -> bool:
    """Whether the file is at fault, not its place (full, busy, ...) and not what is asked."""
    code = getattr(fault, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    if code & 0xFF == sqlite3.SQLITE_READONLY:  # a damaged header may say so, too
        return os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
    if isinstance(fault, sqlite3.OperationalError):
        return code in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_IOERR_SHORT_READ)
    return not isinstance(fault, OSError | sqlite3.ProgrammingError | sqlite3.InterfaceError)


def _checksum(key: bytes, score: float) -> int:
    return zlib.crc32(_pack_entry(key, score))


def _is_sound(row: _Row) -> bool:
    key, score, checksum, _ = row
    return type(score) is float and 0.0 <= score <= 1.0 and _checksum(key, score) == checksum


def _hour() -> int:
    return int(time.time() // 3600)
