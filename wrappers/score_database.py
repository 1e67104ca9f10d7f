"""A SQLite file that many processes share, and that is replaced when it is found to be damaged."""

from __future__ import annotations

import os
import re
import sqlite3
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")
Action = Callable[[sqlite3.Connection], Result]

_FORMAT = 1  # of the tables; another format lives in files of another name
_APPLICATION = 0x564C5301  # marks our files
_PATIENCE = 60.0  # [s], for other processes that write
_LOG_PAGES = 8000  # of 4 KiB, before the log is worked into the file
_CIRCUMSTANCES = {  # what may go wrong with a sound file; all else is damage
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
}
_MOST_DAMAGED = 3  # files in a row, before we give up
_SCHEMA = """
CREATE TABLE IF NOT EXISTS scores (
    key BLOB PRIMARY KEY, score REAL NOT NULL, checksum INTEGER NOT NULL, used INTEGER NOT NULL
) WITHOUT ROWID
"""


class ScoreDatabase:
    """The table ``scores``, in the newest file of a folder.

    Files are numbered.  A damaged one is given up for the next number instead of being replaced
    under its name: other processes may still have it open, and SQLite finds its log by name.
    Threads may share an object, and a forked process opens the file afresh.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._pid = -1
        self._number = 0
        self._left_behind: list[sqlite3.Connection] = []  # a parent's; closing it would harm it

    @property
    def path(self) -> Path:
        """The file in use."""
        return self._folder / f"scores.v{_FORMAT}.{self._number}.sqlite"

    def read(self, action: Action[Result]) -> Result:
        """What ``action`` makes of the connection.

        Called again, with an empty file, where the present one is damaged.  Raises ``OSError``
        where the folder cannot be used.
        """
        with self._lock:
            for _ in range(_MOST_DAMAGED):
                try:
                    return action(self._connect())
                except (sqlite3.Error, UnicodeError) as error:
                    if not self._is_damage(error):
                        raise self._unusable(error) from error
                    self._give_up(error)
        raise self._unusable(f"{_MOST_DAMAGED} damaged files in a row")

    def write(self, action: Action[Result]) -> Result:
        """The same as one transaction: all of it is kept, or nothing."""

        def transaction(connection: sqlite3.Connection) -> Result:
            connection.execute("BEGIN IMMEDIATE")
            try:
                result = action(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            return result

        return self.read(transaction)

    def check(self) -> None:
        """Look the whole file through, and replace it if its structure is damaged."""
        self.read(_check_integrity)

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            if self._connection is not None and self._pid == os.getpid():
                self._connection.close()
                self._connection = None

    def _connect(self) -> sqlite3.Connection:
        if self._connection is not None and self._pid != os.getpid():
            self._left_behind.append(self._connection)
            self._connection = None
        if not self.path.exists():  # another process gave it up, or somebody emptied the folder
            self.close()
        if self._connection is None:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._number = max(self._number, *self._numbers(), 0)
            except OSError as error:
                raise self._unusable(error) from error
            self._connection, self._pid = self._open(), os.getpid()
        return self._connection

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
        )
        connection.text_factory = bytes  # what damage made into text need not be text
        try:
            (owner,) = connection.execute("PRAGMA application_id").fetchone()
            if owner != _APPLICATION:
                if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                    raise _Unsound("another program's database")
                connection.execute(f"PRAGMA application_id = {_APPLICATION}")
            _log_ahead(connection)
            # the last entries may be lost when the power fails; the file stays whole
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
            connection.execute(_SCHEMA)
        except BaseException:
            connection.close()
            raise
        return connection

    def _is_damage(self, error: Exception) -> bool:
        if isinstance(error, UnicodeError | _Unsound):  # the first: of a damaged error message
            return True
        code = getattr(error, "sqlite_errorcode", None)
        if code is None or isinstance(error, sqlite3.ProgrammingError | sqlite3.InterfaceError):
            return False
        if code == sqlite3.SQLITE_IOERR_SHORT_READ:
            return True
        kind = code & 0xFF  # the other bits are details
        if kind == sqlite3.SQLITE_READONLY:  # its header may say so, too
            return os.access(self.path, os.W_OK) and os.access(self._folder, os.W_OK)
        return kind not in _CIRCUMSTANCES

    def _give_up(self, error: Exception) -> None:
        """Go on to the next file and delete the damaged one."""
        self.close()
        damaged = self.path
        warnings.warn(
            f"the score cache {damaged} is damaged ({error}); an empty one takes its place",
            stacklevel=2,
        )
        self._number += 1
        self.path.touch()  # before the old one goes, so that nobody begins that again
        for suffix in ("", "-wal", "-shm"):
            damaged.with_name(damaged.name + suffix).unlink(missing_ok=True)

    def _numbers(self) -> list[int]:
        pattern = re.compile(rf"scores\.v{_FORMAT}\.(\d+)\.sqlite")
        found = (pattern.fullmatch(path.name) for path in self._folder.iterdir())
        return [int(match[1]) for match in found if match]

    def _unusable(self, reason: object) -> OSError:
        return OSError(
            f"cannot use the score cache in {self._folder} ({reason}); choose another folder "
            "(--cache, or the environment variable VLSAFE_CACHE) or do without (--no-cache)"
        )


def _log_ahead(connection: sqlite3.Connection) -> None:
    """Write-ahead logging: readers and a writer do not wait for each other."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            # SQLite does not wait for others that open it just now
            busy = error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
            if not busy or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _check_integrity(connection: sqlite3.Connection) -> None:
    found = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if found != b"ok":
        raise _Unsound(found.decode(errors="replace"))


class _Unsound(sqlite3.Error):
    """Damage that SQLite did not meet by itself."""
