"""Functions compiled by numba, whose machine code is kept on disk and never stands in the way.

Numba's own ``cache=True`` refuses to define a function where no folder can be written (package and
home are read-only, say), fails when the disk is full or a cached file is damaged, and takes stale
code when only a function that is compiled into it has changed, in another file.  Here code is kept
where ``NUMBA_CACHE_DIR`` says, else beside the source, in the user's cache, in a temporary folder
of the user's, or nowhere: then it is compiled at every start.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import logging
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core.caching import (
    CompileResultCacheImpl,
    FunctionCache,
    IndexDataCacheFile,
    NullCache,
)

Function = TypeVar("Function", bound=Callable[..., Any])

_LOCATORS = tuple(CompileResultCacheImpl._locator_classes)  # numba's places, in its order
_BESIDE: Any = next(kind for kind in _LOCATORS if kind.__name__.endswith("InTreeCacheLocator"))

_log = logging.getLogger("vlsafe")
_said: set[str] = set()  # what is said once in a process


def machine_code(
    function: Function, what: str = "", folders: tuple[Path, ...] = (), **options: Any
) -> Function:
    """``numba.njit(**options)(function)``, compiled on first use and kept.

    Args:
        function: what to compile.
        what: what is compiled and how long it takes; said, once in a process, by the logger
            ``vlsafe`` when it is not kept yet.  Empty for what takes no time.
        folders: further ones than the function's own, whose functions are compiled into it: a
            change in any of their source files has it compiled anew.
    """
    dispatcher: Any = numba.njit(**options)(function)
    if hasattr(dispatcher, "enable_caching"):  # not with NUMBA_DISABLE_JIT=1
        try:
            dispatcher._cache = _KeptCode(function, what, folders)
        except RuntimeError:  # numba's word for: no folder can be written
            dispatcher._cache = _NoCode(what)
    return dispatcher


class _TemporaryFolder(_BESIDE):
    """The last place where code is kept."""

    def __init__(self, py_func: Any, py_file: str) -> None:
        super().__init__(py_func, py_file)
        self._cache_path = str(_own_folder() / self.get_suitable_cache_subpath(py_file))

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> Any:
        """``None`` where there is no such folder."""
        try:
            return super().from_function(py_func, py_file)
        except OSError:
            return None


class _CodeFiles(CompileResultCacheImpl):
    _locator_classes = (*_LOCATORS, _TemporaryFolder)


class _KeptCode(FunctionCache):
    """Numba's cache of one function, in which nothing that fails ends the program."""

    _impl_class = _CodeFiles

    def __init__(self, function: Callable[..., Any], what: str, folders: tuple[Path, ...]) -> None:
        super().__init__(function)
        self._what = what
        own = Path(inspect.getfile(function)).parent
        self._cache_file = IndexDataCacheFile(
            cache_path=self.cache_path,
            filename_base=self._impl.filename_base,
            source_stamp=(self._impl.locator.get_source_stamp(), _sources((own, *folders))),
        )

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The code of a signature; ``None``, to have it compiled, where none is usable."""
        try:
            code = super().load_overload(sig, target_context)
        except Exception:  # what reading a damaged file ends in
            code = None
            with contextlib.suppress(Exception):
                self.flush()
        if code is None:
            _say_compiling(self._what, f"once: it is kept in {self.cache_path}")
        return code

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep the code, if that is possible."""
        try:
            super().save_overload(sig, data)
        except OSError as error:
            self.disable()
            _say_once(
                f"machine code cannot be kept in {self.cache_path} ({error.strerror}): it will be "
                "compiled again at the next start; NUMBA_CACHE_DIR names another folder"
            )


class _NoCode(NullCache):
    """No cache, where no folder can be written."""

    def __init__(self, what: str) -> None:
        self._what = what

    def load_overload(self, sig: Any, target_context: Any) -> None:
        """Nothing is kept."""
        _say_compiling(
            self._what,
            "at every start: no folder can be written to keep it; NUMBA_CACHE_DIR names one",
        )


def _own_folder() -> Path:
    """A temporary folder that nobody else can write: what lies in it is executed.

    Raises:
        OSError: where it is somebody else's.
    """
    user = os.getuid() if hasattr(os, "getuid") else 0  # Windows gives each user another place
    folder = Path(tempfile.gettempdir()) / f"vlsafe-machine-code-{user}"
    folder.mkdir(mode=0o700, exist_ok=True)
    facts = folder.lstat()
    mine = not hasattr(os, "getuid") or (facts.st_uid == user and not facts.st_mode & 0o022)
    if not (stat.S_ISDIR(facts.st_mode) and mine):
        raise PermissionError(f"{folder} can be written by others")
    return folder


@functools.cache
def _sources(folders: tuple[Path, ...]) -> str:
    """A hash of all source files in some folders."""
    digest = hashlib.sha256()
    for file in sorted(file for folder in set(folders) for file in folder.glob("*.py")):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def _say_compiling(what: str, how_often: str) -> None:
    if what and what not in _said:
        _said.add(what)
        _say_once(f"compiling {what} ({how_often})")


def _say_once(message: str) -> None:
    if message not in _said:
        _said.add(message)
        _log.warning("vlsafe: %s", message)
