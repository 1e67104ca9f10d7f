"""Files that are never half there, whose faults are named, in folders with one writer at a time.

Writing goes to a temporary file beside the target, which is synced and renamed: after ``kill -9``
or a power failure the old content stands, or the new one.  Reading raises errors that name the
file, what is wrong with it and what to do.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import shutil
import socket
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout

T = TypeVar("T")

MOST_TEXT = 64 << 20  # [bytes] of a text file that is read whole; JSON takes many times as much
_LFS_MARK = b"version https://git-lfs.github.com/spec/"
LARGEST_ARRAYS = 1 << 30  # [bytes], all of an .npz together; an hour of frames has less
_JSON_KINDS: dict[type, str] = {dict: "object", list: "array", str: "string"}


class FolderInUseError(RuntimeError):
    """Another process is writing here; the message says which."""


# --- writing --------------------------------------------------------------------------------------


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path; what is written there takes the place of ``path`` at the end.

    The folder is made where it is missing.  If the block raises, nothing changes.

    Args:
        path: the file, or the folder, to write.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
        _sync_one(path.parent)
    except OSError as error:
        _remove(temporary)
        if error.filename in (None, str(temporary)) and error.errno is not None:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    except BaseException:
        _remove(temporary)
        raise


def file_sha256(path: Path) -> str:
    """Of a file's contents, in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text; a file that has this content already is not touched."""
    content = text.encode("utf-8")
    if path.is_file() and path.read_bytes() == content:
        return
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, value: Any, indent: int | None = 1) -> None:
    """Write strict JSON (no NaN), as :func:`write_text`.

    Raises:
        ValueError: for a number that is not finite.
        TypeError: for what JSON cannot hold.
    """
    text = json.dumps(value, indent=indent, allow_nan=False, ensure_ascii=False)
    write_text(path, text + "\n")


def write_npz(path: Path | BinaryIO, arrays: Mapping[str, npt.ArrayLike]) -> None:
    """Write arrays to a compressed .npz, or to a file that is open; :func:`read_npz` reads it."""
    if not isinstance(path, Path):
        np.savez_compressed(path, allow_pickle=False, **arrays)
        return
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def reserve(folder: Path, size: int) -> None:
    """Raise ``OSError`` unless ``folder`` has room for ``size`` bytes, by quota too.

    For libraries that end in a signal where a disk is full, as HDF5 and memory-mapped files do.
    """
    file = folder / f".room.{os.getpid()}.tmp"
    try:
        with file.open("wb") as room:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(room.fileno(), 0, size)
            elif shutil.disk_usage(folder).free < size:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
    finally:
        file.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Have the disk take what was written, of a folder all that is in it."""
    if path.is_dir():
        for file in path.rglob("*"):
            if file.is_file():
                _sync_one(file)
    _sync_one(path)


def _sync_one(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:  # some systems open no folders
        if path.is_dir():
            return
        raise
    try:
        os.fsync(descriptor)
    except OSError:  # some file systems sync no folders
        if not path.is_dir():
            raise
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


# --- reading --------------------------------------------------------------------------------------


def read_text(path: Path, remedy: str = "", most: int = MOST_TEXT) -> str:
    """UTF-8 text, with or without a byte order mark.

    Args:
        remedy: what to do about a faulty file; ends the error's sentence.
        most: [bytes] that the file may have.

    Raises:
        FileNotFoundError: where there is no file.
        ValueError: for a file that is no UTF-8 text, or a larger one.
    """
    if not path.is_file():
        kind = "is a folder, not a file" if path.is_dir() else "does not exist"
        raise FileNotFoundError(_sentence(f"{path} {kind}", remedy))
    if (size := path.stat().st_size) > most:
        fault = f"has {size / 1e6:,.0f} MB, more than such a file can have ({most / 1e6:,.0f} MB)"
        raise ValueError(_sentence(f"{path} {fault}", remedy))
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        fault = fault_of(path) or f"is not UTF-8 text (byte {error.start} is not); save it as UTF-8"
        raise ValueError(_sentence(f"{path} {fault}", remedy)) from None


def read_json(path: Path, kind: type = dict, remedy: str = "", most: int = MOST_TEXT) -> Any:
    """The JSON in a file, an object unless another ``kind`` is asked for.

    Args:
        remedy: what to do about a faulty file; ends the error's sentence.
        most: [bytes] that the file may have.

    Raises:
        FileNotFoundError: where there is no file.
        ValueError: for an empty file, one that is no JSON, JSON of another kind, or a larger file.
    """
    text = read_text(path, remedy, most)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:  # the first also for numbers of too many digits
        fault = fault_of(path) or f"is no JSON file ({error})"
        raise ValueError(_sentence(f"{path} {fault}", remedy)) from None
    if not isinstance(value, kind):
        wanted = _JSON_KINDS.get(kind, kind.__name__)
        raise ValueError(_sentence(f"{path} holds no JSON {wanted}", remedy))
    return value


def read_yaml(path: Path, kind: type = dict, remedy: str = "") -> Any:
    """The YAML in a file, of which JSON is a part; a mapping unless another ``kind`` is asked for.

    Args:
        remedy: what to do about a faulty file; ends the error's sentence.

    Raises:
        FileNotFoundError: where there is no file.
        ValueError: for a file that is no YAML, one of another kind, and a key that is given twice,
            of which YAML would forget the first.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        """Refuses a key that is given twice; 5e-4 is a number, as in YAML 1.2."""

    Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
    number = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$")
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", number, list("-+.0123456789"))
    try:
        value = yaml.load(read_text(path, remedy), Loader)
    except (yaml.YAMLError, RecursionError) as error:
        fault = f"is no YAML file: {' '.join(str(error).split())}"
        raise ValueError(_sentence(f"{path} {fault}", remedy)) from None
    if not isinstance(value, kind):
        raise ValueError(_sentence(f"{path} holds no YAML mapping", remedy))
    return value


def _mapping(loader: Any, node: Any) -> dict[Any, Any]:
    import yaml

    given = set()
    for key_node, _ in node.value:
        if isinstance(key_node, yaml.ScalarNode) and key_node.value != "<<":
            if key_node.value in given:
                line = key_node.start_mark.line + 1
                raise yaml.YAMLError(f"line {line} has {key_node.value!r} a second time")
            given.add(key_node.value)
    loader.flatten_mapping(node)  # merges <<
    found: dict[Any, Any] = loader.construct_mapping(node, deep=True)
    return found


def fault_of(path: Path) -> str:
    """What is plainly wrong with a file that a reader has refused; empty if nothing is."""
    with path.open("rb") as file:
        head = file.read(512)
    if not head.strip(b"\0 \t\r\n"):
        return "is empty: writing it was interrupted"
    if head.startswith(_LFS_MARK):
        return "is a pointer of Git LFS, not the file itself; fetch it with `git lfs pull`"
    if head.lstrip()[:15].lower().startswith((b"<!doctype html", b"<html")):
        return "is a web page, not the file itself; download it again"
    return ""


def reading(path: Path, what: str, read: Callable[[Path], T], remedy: str = "") -> T:
    """``read(path)``, whose every failure becomes an error that names the file.

    Libraries raise a zoo of types for damaged files (zipfile, zlib, h5py, safetensors, numpy).

    Args:
        what: what the file should be, such as "a recorded episode (.npz)".

    Raises:
        FileNotFoundError: where there is no file.
        ValueError: where it cannot be read.
    """
    if not path.exists():
        raise FileNotFoundError(_sentence(f"{path} does not exist", remedy))
    try:
        return read(path)
    except (MemoryError, NotImplementedError):
        raise
    except Exception as error:
        fault = fault_of(path) if path.is_file() else ""
        if not fault:
            fault = f"cannot be read as {what} ({_short(error)})"
        raise ValueError(_sentence(f"{path} {fault}", remedy)) from error


def read_npz(
    path: Path | BinaryIO, what: str, remedy: str = "", limit: int = LARGEST_ARRAYS
) -> dict[str, npt.NDArray[Any]]:
    """The arrays of an .npz, or of a file that is open, as :func:`reading`; none may run code.

    Args:
        limit: of all arrays together [bytes]; a larger file is refused before it is inflated.
    """
    if isinstance(path, Path):
        return reading(path, what, partial(_load_npz, limit), remedy)
    try:
        return _load_npz(limit, path)
    except (MemoryError, NotImplementedError):
        raise
    except Exception as error:
        fault = f"the given file cannot be read as {what} ({_short(error)})"
        raise ValueError(_sentence(fault, remedy)) from error


def _load_npz(limit: int, path: Path | BinaryIO) -> dict[str, npt.NDArray[Any]]:
    with zipfile.ZipFile(path) as archive:
        inflated = sum(entry.file_size for entry in archive.infolist())
        if inflated > limit:
            raise ValueError(f"its arrays take {inflated:,} bytes; at most {limit:,} are read")
        for entry in archive.infolist():
            with archive.open(entry) as file:
                _check_header(entry, file)
    if not isinstance(path, Path):
        path.seek(0)  # where NumPy looks for what kind of file it is
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def _check_header(entry: zipfile.ZipInfo, file: Any) -> None:
    """NumPy makes room for as many values as a header claims, before it looks for them."""
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }[np.lib.format.read_magic(file)]
    shape, _, dtype = read(file)
    if math.prod(shape) * dtype.itemsize > entry.file_size:
        raise ValueError(f"{entry.filename} claims to hold {shape} values, and is smaller")


def _short(error: Exception, most: int = 160) -> str:
    lines = str(error).strip().splitlines()
    text = lines[0] if lines else type(error).__name__
    return text if len(text) <= most else text[: most - 3] + "..."


def _sentence(fault: str, remedy: str) -> str:
    return f"{fault}; {remedy}" if remedy else fault


# --- one writer -----------------------------------------------------------------------------------


@contextmanager
def one_writer(path: Path, command: str, wait: bool = False) -> Iterator[None]:
    """Hold the right to write ``path``, a file or folder, inside the block (a kill ends it, too).

    The lock lies beside ``path``, so that the folder itself may be removed meanwhile.  Temporary
    files that killed writers left in the folder are removed.

    Args:
        command: what is being done, for the message to others, such as "vlsafe collect".
        wait: until whoever holds it has ended, for writers that write the same.

    Raises:
        FolderInUseError: if another process holds it; the message says which and since when.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.with_name(f".{path.name}.lock")
    lock = FileLock(file)
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        raise FolderInUseError(
            f"{path} is being written by {_holder(file)}; wait until it has ended, or write "
            "somewhere else"
        ) from None
    try:
        holder = {
            "command": command,
            "process": os.getpid(),
            "host": socket.gethostname(),
            "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        }
        file.write_text(json.dumps(holder), encoding="utf-8")  # the lock is on the file's inode
        if path.is_dir():
            for leftover in path.glob(".*.tmp"):
                _remove(leftover)
        yield
    finally:
        file.unlink(missing_ok=True)  # whoever waits on the old file notices that it has no name
        lock.release()


def _holder(file: Path) -> str:
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
        return "`{command}` (process {process} on {host}, since {since})".format(**facts)
    except (OSError, ValueError, KeyError):
        return "another process"
