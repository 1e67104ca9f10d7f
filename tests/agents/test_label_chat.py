"""`vlsafe label` with chat servers of all kinds: what it says, and what becomes of the labels."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from vlsafe_agents.cli import main as cli
from vlsafe_agents.data.storage import resolve_dataset

sys.path.append(str(Path(__file__).parents[1] / "wrappers"))
from chat_server import ChatServer

QUICK = "attempts=2,first_wait=0.01"


def run(*arguments: object) -> int:
    """Exit code of a command line, run in this process."""
    with pytest.raises(SystemExit) as stop:
        cli.main([str(argument) for argument in arguments])
    return int(stop.value.code or 0)


@pytest.fixture(scope="module")
def server() -> Iterator[ChatServer]:
    with ChatServer() as running:
        yield running


@pytest.fixture(scope="module")
def drives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny data set with another scorer's labels, in a folder of an odd name."""
    out = tmp_path_factory.mktemp("drives") / "run[seed=1],x=y"
    assert run("collect", "--steps", "40", "--mix", "random=1", "--workers", "1", "--out", out) == 0
    assert run("label", out, "--scorer", "random", "--no-cache") == 0
    return out


@pytest.fixture
def data(drives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VLSAFE_CACHE", str(tmp_path / "cache"))
    return Path(shutil.copytree(drives, tmp_path / drives.name))


def contents(data: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in resolve_dataset(data).iterdir()}


def test_the_reading_and_the_answering_model_are_shown_and_kept(
    data: Path, server: ChatServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.plan(model="judge-2026-11")
    assert run("label", data, "--scorer", f"chat:judge@{server.url},{QUICK}") == 0
    said = capsys.readouterr().out
    assert "answers of judge-2026-11 (asked for: judge), read from: logprobs" in said
    metadata = json.loads((resolve_dataset(data) / "metadata.json").read_text())
    assert metadata["scorer"]["answering_model"] == "judge-2026-11"
    assert metadata["scorer"]["reading"] == "logprobs"
    assert run("label", data, "--scorer", f"chat:judge@{server.url},{QUICK}") == 0
    assert "nothing to do" in capsys.readouterr().out
    server.plan(model="judge-2026-12")  # the server's model has changed under its name
    assert run("label", data, "--scorer", f"chat:judge@{server.url},{QUICK}") == 0
    assert len(server.log()["requests"]) > 0
    metadata = json.loads((resolve_dataset(data) / "metadata.json").read_text())
    assert metadata["scorer"]["answering_model"] == "judge-2026-12"


USELESS: dict[str, dict[str, Any]] = {
    "blind": {"picture_tokens": 0},
    "html": {"introduction": "html"},
    "no projector": {"introduction": "lasting:image input is not supported (mmproj)"},
    "no model": {"introduction": "404"},
    "500": {"introduction": "500"},
    "key": {"key": "sk-wanted"},
    "truncated": {"always": "truncated"},
    "malformed": {"always": "text:I see a road."},
    "refused": {"always": "refusal"},
    "html later": {"always": "html"},
    "no mass": {"always": "text:seven"},
}


@pytest.mark.parametrize(
    ("kind", "workers"), [*((kind, 1) for kind in USELESS), ("blind", 2), ("malformed", 2)]
)
def test_a_useless_server_is_an_error_that_leaves_labels_alone(
    data: Path,
    server: ChatServer,
    kind: str,
    workers: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = contents(data)
    server.plan(**USELESS[kind])
    command = ("label", data, "--scorer", f"chat:judge@{server.url},{QUICK}")
    assert run(*command, "--batch-size", 4, "--workers", workers) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert "is of no use with 'judge'" in error or "does not see" in error
    assert contents(data) == before
    log = server.log()
    assert len(log["requests"]) + len(log["introductions"]) <= 50 * workers


def test_a_budget_that_ends_early_leaves_the_other_labels(
    data: Path, server: ChatServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.plan()
    before = contents(data)
    spec = f"chat:judge@{server.url},{QUICK},requests="
    assert run("label", data, "--scorer", f"{spec}8") == 2
    assert "the labels of another scorer stand" in capsys.readouterr().err
    assert contents(data) == before
    assert run("label", data, "--scorer", f"{spec}100") == 0  # goes on with those from the cache
    assert "6 from the cache" in capsys.readouterr().out
    with h5py.File(resolve_dataset(data) / "main_data.hdf5") as file:
        scores = [file[f"episode_{i}/infos/safety_score"][()] for i in range(len(file))]
    assert not np.isnan(np.concatenate(scores)).any()
