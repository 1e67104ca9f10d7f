"""One odd file costs its place in the report, not the report."""

from __future__ import annotations

import io
import json
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_run import SETTINGS, add_agent, write_episode, write_open_loop, write_progress
from test_report import Page

from vlsafe_agents.report import write_report


def text_of(run: Path) -> str:
    return Page(write_report(run, run / "report.html").read_text(encoding="utf-8")).text


def zipped(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def arrays(**values: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **values)
    return buffer.getvalue()


FILES = {
    "empty": b"",
    "zeros": b"\0" * 4096,
    "text": b"no such thing",
    "LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
    "web page": b"<!DOCTYPE html><html></html>",
    "not UTF-8": b"\xff\xfe\x00\x01",
    "list": b"[1, 2]",
    "number": b"3",
    "null": b"null",
    "deep": b"[" * 100_000,
    "NaN": b'{"a": NaN, "episodes": NaN}',
    "half": b'{"agent": "x", "episodes": [',
    "strange object": b'{"command": 3, "options": [], "config": 3, "algo": [], "env": 3}',
    "zip": zipped(a=b"b"),
    "pickle": arrays(frames=np.array([{}], dtype=object)),
    "half a zip": arrays(frames=np.zeros((3, 8, 8, 3), np.uint8))[:-40],
}
ARRAYS = {
    "no arrays": arrays(),
    "flat": arrays(frames=np.zeros(3), truth=np.zeros(3), dream=np.zeros(3)),
    "scalar": arrays(frames=np.array(1), reward=np.array(1.0), speed=np.array(2.0)),
    "words": arrays(frames=np.array(["a"]), seed=np.array("b"), reward=np.array(["c"])),
    "many seeds": arrays(seed=np.arange(3), fps=np.arange(2), context=np.arange(2)),
    "nothing": arrays(speed=np.zeros(0), reward=np.zeros(0), safety_score=np.zeros((0, 2))),
    "not finite": arrays(speed=np.full(4, np.inf), reward=np.full(4, np.nan), fps=np.array(np.inf)),
    "other sizes": arrays(truth=np.zeros((3, 4, 4, 3)), dream=np.zeros((2, 4, 4, 3))),
    "complex": arrays(speed=np.array([1j]), pixel_error=np.array([1j]), context=np.array(1j)),
}
PLACES = (
    "bc/evaluation.json",
    "bc/evaluation_density_2.json",
    "bc/settings.json",
    "bc/training.json",
    "bc/progress.csv",
    "bc/open_loop.npz",
    "bc/episodes/best_0.npz",
    "bc/episodes/best_x.npz",
    "bc/episodes/my drive.npz",
    "scorer.json",
    "run.json",
    "data/d/data/metadata.json",
    "data/d/data/main_data.hdf5",
)


@pytest.mark.filterwarnings("ignore:Casting complex")
@pytest.mark.parametrize("kind", FILES | ARRAYS)
def test_files_of_another_kind_leave_the_others_as_they_are(tmp_path: Path, kind: str) -> None:
    add_agent(tmp_path, "ppo_lag", 0.12, trained=SETTINGS["ppo_lag"])
    for place in PLACES:
        if kind in FILES or place.endswith(".npz"):
            (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / place).write_bytes((FILES | ARRAYS)[kind])
    text = text_of(tmp_path)
    assert "PPO-Lag ppo_lag" in text
    assert "6.4% to 20%" in text


def test_what_is_wrong_with_a_file_is_said_with_its_name(tmp_path: Path) -> None:
    episodes = add_agent(tmp_path, "bc", 0.1, trained=SETTINGS["bc"]) / "episodes"
    write_episode(episodes / "worst_0.npz", np.random.default_rng(0), 4, 32, crash=False)
    (episodes / "best_0.npz").write_bytes(FILES["LFS"])
    (episodes / "my drive.npz").write_bytes((episodes / "worst_0.npz").read_bytes())
    (tmp_path / "bc" / "training.json").write_bytes(b"")
    (tmp_path / "run.json").write_bytes(FILES["web page"])
    text = text_of(tmp_path)
    missing = text[text.rindex("What is missing") :]
    assert "bc/episodes/best_0.npz is a pointer of Git LFS" in missing
    assert "bc/training.json is empty: writing it was interrupted" in missing
    assert "run.json is a web page" in missing
    assert str(tmp_path) not in missing  # names are as seen from the run
    drives = text[text.index("Best and worst drives") :]
    assert drives.index("my drive") < drives.index("Worst episode")


def test_recordings_that_would_fill_the_memory_are_left_out(tmp_path: Path) -> None:
    path = add_agent(tmp_path, "bc", 0.1, trained=SETTINGS["bc"]) / "episodes" / "best_0.npz"
    path.parent.mkdir()
    facts = {"descr": "|u1", "fortran_order": False, "shape": (6_000, 256, 256, 3)}
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("frames.npy", "w", force_zip64=True) as file,
    ):
        np.lib.format.write_array_header_1_0(file, facts)
        for _ in range(1125):
            file.write(bytes(1 << 20))
    assert path.stat().st_size < 4_000_000
    assert "bc/episodes/best_0.npz cannot be read" in text_of(tmp_path)


def test_a_folder_that_is_one_agent_says_where_the_run_is(tmp_path: Path) -> None:
    folder = add_agent(tmp_path, "bc", 0.1, trained=SETTINGS["bc"])
    assert f"is the folder of one agent; `vlsafe report {tmp_path}`" in text_of(folder)


def test_changes_at_random_never_cost_the_page(tmp_path: Path) -> None:
    """Values of the run's own files are replaced, files are cut: there is a page every time."""
    rng, numbers = random.Random(0), np.random.default_rng(0)
    run = tmp_path
    folder = add_agent(run, "a", 0.1, trained=SETTINGS["vlsafe-gated"])
    add_agent(run, "b", 0.2, trained=SETTINGS["ppo_lag"])
    write_progress(folder / "progress.csv", numbers, dreams=True)
    write_open_loop(folder / "open_loop.npz", numbers, length=6)
    (folder / "training.json").write_text(json.dumps({"gradient_steps": 3, "wall_s": 1.0}))
    files = [file for file in sorted(run.rglob("*.*")) if file.is_file()]
    whole = {file: file.read_bytes() for file in files}
    for _ in range(30):
        file = rng.choice(files)
        if file.suffix == ".json" and rng.random() < 0.8:
            file.write_text(json.dumps(disturbed(json.loads(whole[file]), rng)))
        else:
            cut = rng.randrange(len(whole[file]))
            file.write_bytes(whole[file][:cut] + bytes([rng.randrange(256)]))
        assert "How these agents drive" in text_of(run)
        file.write_bytes(whole[file])


STRANGE = (None, True, -1, 1e308, 10**400, "", "<b>", [], {}, [[]], {"a": {}}, "\x00", "\ud800")


def disturbed(value: Any, rng: random.Random) -> Any:
    """A JSON value in which one place holds something strange."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = rng.choice(list(value))
        return value | {key: disturbed(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.85:
        place = rng.randrange(len(value))
        return [*value[:place], disturbed(value[place], rng), *value[place + 1 :]]
    return rng.choice(STRANGE)
