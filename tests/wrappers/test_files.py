"""Files: whole or not there, faults named, one writer at a time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from wrappers.files import (
    FolderInUseError,
    one_writer,
    read_json,
    read_npz,
    read_text,
    reading,
    replacing,
    write_json,
    write_npz,
    write_text,
)


def test_written_text_is_read_again_and_folders_are_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.txt"
    write_text(path, "sûr\n")
    assert read_text(path) == "sûr\n"
    assert [file.name for file in path.parent.iterdir()] == ["b.txt"]


def test_an_error_while_writing_leaves_the_old_content_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    with pytest.raises(OSError, match="disk"), replacing(path) as temporary:
        _fill_the_disk(temporary)
    assert read_json(path) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def _fill_the_disk(path: Path) -> None:
    path.write_text("{")
    raise OSError("disk full")


def test_equal_content_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    os.utime(path, ns=(1, 1))
    write_json(path, {"a": 1})
    assert path.stat().st_mtime_ns == 1
    write_json(path, {"a": 2})
    assert path.stat().st_mtime_ns > 1


def test_what_json_cannot_hold_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"a": float("nan")})
    assert read_json(path) == {"a": 1}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\0\0\0\0", "is empty"),
        (b"{", "is no JSON file"),
        (b"[1]", "holds no JSON object"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git lfs pull"),
        (b"<!DOCTYPE html><html></html>", "web page"),
        ('{"a": "sûr"}'.encode("latin-1"), "UTF-8"),
        (b"[" * 100_000, "is no JSON file"),
        (b'{"a": ' + b"1" * 5000 + b"}", "is no JSON file"),
    ],
)
def test_faults_of_json_files_are_named_with_file_and_remedy(
    tmp_path: Path, content: bytes, said: str
) -> None:
    path = tmp_path / "settings.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"settings\.json") as caught:
        read_json(path, remedy="train again")
    assert said in str(caught.value)
    assert str(caught.value).endswith("; train again")


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # takes no room on disk
    with pytest.raises(ValueError, match=r"x\.json has 1,099,512 MB, more than"):
        read_json(path)


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json(path) == {"a": 1}


def test_missing_files_and_folders_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nope\.json does not exist"):
        read_json(tmp_path / "nope.json")
    with pytest.raises(FileNotFoundError, match="is a folder"):
        read_json(tmp_path)


def test_any_failure_of_a_reader_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(ValueError, match=r"x\.npz cannot be read as a recorded episode"):
        reading(path, "a recorded episode", lambda p: dict(np.load(p)))


HOLD = """
import sys, time
from pathlib import Path
from wrappers.files import one_writer
with one_writer(Path(sys.argv[1]), "vlsafe collect"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_writer_is_told_who_holds_the_folder_until_that_process_is_killed(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "data"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(FolderInUseError, match=f"vlsafe collect.*process {holder.pid}"),
            one_writer(folder, "vlsafe label"),
        ):
            pass
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with one_writer(folder, "vlsafe label"):
        facts = json.loads((tmp_path / ".data.lock").read_text())
        assert facts["process"] == os.getpid()
    assert not (tmp_path / ".data.lock").exists()


def test_a_second_writer_of_the_same_may_wait(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD.replace("60", "0.5"), str(folder)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with one_writer(folder, "vlsafe label", wait=True):
        assert holder.wait() == 0
    assert not (tmp_path / ".cache.lock").exists()


def test_a_writer_removes_what_killed_ones_left_and_only_that(tmp_path: Path) -> None:
    folder = tmp_path / "agent"
    folder.mkdir()
    (folder / ".model.zip.123.tmp").write_text("half")
    (folder / "model.zip").write_text("whole")
    with one_writer(folder, "vlsafe train"):
        assert [file.name for file in folder.iterdir()] == ["model.zip"]


def test_writing_survives_kills_at_any_moment(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"n": 0, "fill": "x" * 100_000})
    code = (
        "import sys, itertools; from pathlib import Path; from wrappers.files import write_json\n"
        "for n in itertools.count(1): write_json(Path(sys.argv[1]), {'n': n, 'fill': 'x' * 100000})"
    )
    for attempt in range(5):
        writer = subprocess.Popen([sys.executable, "-c", code, str(path)])
        time.sleep(0.3 + 0.05 * attempt)
        writer.kill()
        writer.wait()
        assert len(read_json(path)["fill"]) == 100_000


def test_arrays_come_back_and_nothing_lies_beside_them(tmp_path: Path) -> None:
    path = tmp_path / "a" / "x.npz"
    write_npz(path, {"frames": np.arange(6, dtype=np.uint8).reshape(2, 3), "fps": np.array(np.nan)})
    found = read_npz(path, "arrays")
    assert found["frames"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert np.isnan(found["fps"])
    assert list(path.parent.iterdir()) == [path]


def test_arrays_that_would_fill_the_memory_are_refused_before_they_are_inflated(
    tmp_path: Path,
) -> None:
    path = tmp_path / "x.npz"
    write_npz(path, {"zeros": np.zeros(1_000_000, np.uint8)})
    assert path.stat().st_size < 5_000
    with pytest.raises(ValueError, match=r"x\.npz .*take 1,000,128 bytes; at most 999,999"):
        read_npz(path, "arrays", limit=999_999)
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("a.npy", "w") as f,
    ):
        np.lib.format.write_array_header_1_0(
            f, {"descr": "<f8", "fortran_order": False, "shape": (1 << 40,)}
        )
    with pytest.raises(ValueError, match=r"a\.npy claims to hold \(1099511627776,\) values"):
        read_npz(path, "arrays")


def test_arrays_of_objects_are_not_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, a=np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"x\.npz cannot be read as arrays"):
        read_npz(path, "arrays")
