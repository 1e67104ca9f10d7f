"""Compiled code is kept where that is possible, and no fault of a folder ends the program."""

from __future__ import annotations

import errno
import importlib.util
import itertools
import os
import re
import tempfile
from pathlib import Path
from typing import Any

import numba
import pytest

from wrappers import machine_code

ROOT = Path(__file__).resolve().parents[2]
SOURCE = """
from pathlib import Path
from wrappers.machine_code import machine_code
def double(x):
    return 2 * x
double = machine_code(double, "a sum, in a moment", (Path(__file__).parent / "inner",))
"""
_names = itertools.count()


@pytest.fixture(autouse=True)
def nothing_said_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_code, "_said", set())
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    file = tmp_path / "package" / "arithmetic.py"
    (file.parent / "inner").mkdir(parents=True)
    file.write_text(SOURCE)
    (file.parent / "inner" / "one.py").write_text("X = 1\n")
    return file


def load(source: Path) -> Any:
    """The function as a fresh process would define it."""
    machine_code._sources.cache_clear()
    spec = importlib.util.spec_from_file_location(f"arithmetic_{next(_names)}", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.double


def is_compiled_anew(source: Path) -> bool:
    function = load(source)
    assert function(3) == 6
    return not function.stats.cache_hits


def block(source: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither the source's folder nor the user's cache can be written, whoever runs the test."""
    (source.parent / "__pycache__").write_text("in the way")
    (tmp_path / "home").write_text("in the way")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home" / "cache"))


def test_code_is_kept_beside_its_source_and_that_is_said_once(
    source: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert is_compiled_anew(source)
    assert load(source)(1.5) == 3.0  # another signature is compiled, too
    assert [record.message for record in caplog.records] == [
        "vlsafe: compiling a sum, in a moment "
        f"(once: it is kept in {source.parent / '__pycache__'})"
    ]
    assert not is_compiled_anew(source)
    assert len(caplog.records) == 1


def test_code_is_compiled_anew_when_a_file_whose_functions_it_holds_has_changed(
    source: Path,
) -> None:
    assert is_compiled_anew(source)
    os.utime(source.parent / "inner" / "one.py")
    assert not is_compiled_anew(source)
    (source.parent / "inner" / "one.py").write_text("X = 2\n")
    assert is_compiled_anew(source)
    (source.parent / "beside.py").write_text("")
    assert is_compiled_anew(source)
    assert not is_compiled_anew(source)


@pytest.mark.parametrize("kind", ["*.nbi", "*.nbc"])
@pytest.mark.parametrize("damage", ["empty", "cut", "other", "folder"])
def test_damaged_files_are_made_anew(source: Path, kind: str, damage: str) -> None:
    assert is_compiled_anew(source)
    (file,) = (source.parent / "__pycache__").glob(kind)
    content = file.read_bytes()
    file.unlink()
    if damage == "folder":
        file.mkdir()
        assert is_compiled_anew(source)
        return
    file.write_bytes({"empty": b"", "cut": content[: len(content) // 2], "other": b"\0x"}[damage])
    assert is_compiled_anew(source)
    assert not is_compiled_anew(source)


def test_a_temporary_folder_of_the_user_is_the_last_resort(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    block(source, monkeypatch, tmp_path)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    assert is_compiled_anew(source)
    assert not is_compiled_anew(source)
    (folder,) = (tmp_path / "temporary").iterdir()
    assert not folder.stat().st_mode & 0o077
    assert f"once: it is kept in {folder}" in caplog.text


@pytest.mark.parametrize("how", ["open to others", "a link", "a file", "missing"])
def test_code_is_not_kept_where_others_could_change_it(
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    how: str,
) -> None:
    block(source, monkeypatch, tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = tmp_path / f"vlsafe-machine-code-{os.getuid()}"
    if how == "open to others":
        folder.mkdir()
        folder.chmod(0o777)
    elif how == "a link":
        (tmp_path / "elsewhere").mkdir()
        folder.symlink_to(tmp_path / "elsewhere")
    elif how == "a file":
        folder.write_text("")
    else:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    for _ in range(2):
        assert is_compiled_anew(source)
    (record,) = caplog.records
    assert "at every start" in record.message
    assert "NUMBA_CACHE_DIR" in record.message
    assert not folder.is_dir() or not list(folder.iterdir())


def test_the_folder_that_numba_is_told_is_used(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "told"))
    assert is_compiled_anew(source)
    assert not is_compiled_anew(source)
    assert list((tmp_path / "told").glob("*/*.nbi"))
    assert not list(source.parent.glob("__pycache__/*.nb?"))  # Python keeps its own there


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT])
def test_a_full_disk_costs_the_next_start_not_this_one(
    source: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(machine_code.IndexDataCacheFile, "save", fail)
    assert is_compiled_anew(source)
    assert is_compiled_anew(source)
    assert f"cannot be kept in {source.parent / '__pycache__'} ({os.strerror(code)})" in caplog.text
    assert len(caplog.records) == 2  # what is compiled, and that it is not kept


def test_all_compiled_functions_are_kept_this_way() -> None:
    for package in ("vlsafe_envs", "vlsafe_agents", "wrappers"):
        for file in (ROOT / package).rglob("*.py"):
            if file.name != "machine_code.py":
                assert not re.search(r"njit\(|@njit|cache=True", file.read_text()), file
