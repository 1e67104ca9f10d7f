"""What ``vlsafe evaluate`` and ``vlsafe demo`` write down, and will not write over."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from vlsafe_agents.cli import demo as demo_command
from vlsafe_agents.cli import main as cli
from vlsafe_agents.cli import train
from vlsafe_agents.evaluation import read_evaluation
from vlsafe_agents.evaluation.recording import EpisodeTrace
from vlsafe_agents.evaluation.roles import role_of
from vlsafe_agents.report.commands import commands
from vlsafe_agents.report.run_folder import read_run_folder
from vlsafe_agents.training import run as training
from wrappers.files import one_writer

HERE = ("--env", "VLSafe-Highway-v0", "--env-arg", "duration=4", "--env-arg", "vehicles=3")
SHORT = (*HERE, "--episodes", "2", "--scorer", "none")


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    return int(stop.value.code or 0)


def test_drivers_are_written_down_with_how_they_were_evaluated(tmp_path: Path) -> None:
    out = tmp_path / "a [b] = c"
    assert run("evaluate", "timid", *SHORT, "--density", "0.5", "--out", str(out)) == 0
    found = read_evaluation(out / "evaluation_density_0.5.json")
    assert (found.kind, found.agent, found.settings) == ("driver", "timid", None)
    assert found.env_kwargs == {"duration": 4, "vehicles": 3, "density": 0.5}
    assert found.options == {
        "data": None,
        "density": 0.5,
        "env_args": {"duration": 4, "vehicles": 3},
        "scorer": None,
        "judge_all": True,
    }
    assert {file.stem for file in (out / "episodes_density_0.5").iterdir()} == {"best_0", "worst_0"}
    assert not [
        file for file in out.iterdir() if file.name.startswith(".")
    ]  # no lock, nothing half
    (again,) = [
        line for line in commands(read_run_folder(tmp_path)).splitlines() if "timid" in line
    ]
    assert again == (
        "vlsafe evaluate timid --env VLSafe-Highway-v0 --density 0.5 --env-arg duration=4 "
        f"--env-arg vehicles=3 --episodes 2 --first-seed 3000000000 --scorer none --out '{out}'"
    )


def test_figures_of_others_are_not_written_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ("--out", str(tmp_path / "x"), "--no-record")
    assert run("evaluate", "expert", *SHORT, *out) == 0
    before = (tmp_path / "x" / "evaluation.json").read_bytes()
    assert run("evaluate", "timid", *SHORT, *out) == 2
    assert "holds the evaluation of another driver, 'expert'" in capsys.readouterr().err
    assert run("evaluate", "expert", *SHORT, "--env-arg", "lanes=3", *out) == 2
    assert "holds drives in another environment" in capsys.readouterr().err
    assert (tmp_path / "x" / "evaluation.json").read_bytes() == before
    assert run("evaluate", "expert", *SHORT, "--first-seed", "7", *out) == 0  # its own are
    (tmp_path / "x" / "evaluation.json").write_bytes(b"")  # left by a kill: nobody's
    assert run("evaluate", "timid", *SHORT, *out) == 0


def test_a_second_evaluation_of_one_result_says_who_is_at_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with one_writer(tmp_path / "x" / "evaluation.json", "vlsafe evaluate"):
            held.set()
            let_go.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(60)
    try:
        assert run("evaluate", "expert", *SHORT, "--out", str(tmp_path / "x")) == 2
    finally:
        let_go.set()
        thread.join()
    error = capsys.readouterr().err
    assert f"being written by `vlsafe evaluate` (process {os.getpid()}" in error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--episodes", "0"), "Invalid value for '--episodes'"),
        (("--episodes", "-3"), "Invalid value for '--episodes'"),
        (("--threads", "0"), "Invalid value for '--threads'"),
        (("--workers", "-1"), "Invalid value for '--workers'"),
        (("--envs", "0"), "Invalid value for '--envs'"),
        (("--first-seed", "-1"), "Invalid value for '--first-seed'"),
        (("--first-seed", "9223372036854775807"), "below 2**63, got 9223372036854775808"),
        (("--density", "-1"), "density"),
        (("--density", "nan"), "density"),
        (("--env-arg", "colour=3"), "unknown option 'colour'"),
        (("--scorer", "nobody"), "unknown scorer 'nobody'"),
        (("--env", "Pendulum-v1"), "drives in our environments only"),
    ],
)
def test_mistakes_leave_no_folder_behind(
    tmp_path: Path, options: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "deep" / "x"
    assert run("evaluate", "expert", *SHORT, *options, "--out", str(out)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


def test_figures_outlive_a_recording_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def add(*_: Any) -> None:
        raise RuntimeError("no frames today")

    monkeypatch.setattr(EpisodeTrace, "add", add)
    assert run("evaluate", "expert", *SHORT, "--out", str(tmp_path / "x")) == 2
    assert "no frames today" in capsys.readouterr().err
    assert len(read_evaluation(tmp_path / "x" / "evaluation.json").records) == 2
    assert not (tmp_path / "x" / "episodes").exists()


def test_a_model_without_settings_is_not_guessed_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model.zip").write_bytes(b"PK")
    assert run("evaluate", str(tmp_path)) == 2
    assert "no settings.json, so it is not known by which algorithm" in capsys.readouterr().err


def test_an_agent_that_is_called_like_a_driver_is_not_taken_for_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("timid").mkdir()
    Path("timid", "settings.json").write_text("{}")
    assert run("evaluate", "timid", *SHORT, "--out", "x") == 2
    assert "write ./timid for the agent" in capsys.readouterr().err
    assert not Path("x").exists()


# --- the demo -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--observation", "pixel"), "choose one of image, vector, multi"),
        (("--scale", "nan"), "--scale"),
        (("--scale", "inf"), "--scale inf"),
    ],
)
def test_the_demo_fails_at_once_and_leaves_no_folder(
    tmp_path: Path, options: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("demo", "--out", str(tmp_path / "x"), *options) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The stages that the demo would run."""
    seen: list[Any] = []
    monkeypatch.setattr(demo_command, "run_stages", lambda stages, *_: seen.append(stages))
    monkeypatch.setattr("vlsafe_agents.cli.compare.compare", lambda paths: None)
    return seen


@pytest.mark.parametrize("scale", [0.02, 1.0])
def test_every_agent_of_the_demo_is_trained_by_a_command_that_is_accepted(
    scale: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    metadata = {"env_id": "VLSafe-Highway-v0", "env_kwargs": {}, "total_steps": 800}
    monkeypatch.setattr(train, "read_data_metadata", lambda data: metadata)
    monkeypatch.setattr(training, "train", lambda settings, *_, **__: seen.append(settings) or {})
    stages = demo_command.demo_stages(tmp_path, scale, "image", 2)
    commands_of = [s.arguments for s in stages if s.arguments[0] == "train"]
    assert all(run(*arguments) == 0 for arguments in commands_of)
    roles = {role_of("agent", None, settings.to_json()).label for settings in seen}
    assert roles == {
        "World model only",
        "PPO-Lag",
        "VLSafe gated",
        "VLSafe Lagrangian",
        "Cost-blind",
        "Behaviour cloning",
    }


def test_the_demo_goes_on_in_its_own_folder_only(
    tmp_path: Path,
    stages: list[Any],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "my demo"
    small = ("--out", str(out), "--scale", "0.02")
    assert run("demo", *small) == 0
    facts = json.loads((out / "run.json").read_text())
    assert facts == {"command": f"vlsafe demo --out '{out}' --scale 0.02 --observation image"}
    monkeypatch.chdir(tmp_path)
    assert run("demo", "--out", "my demo", "--scale", "0.02", "--workers", "1") == 0
    (out / "run.json").write_bytes(b"")  # as kills left it
    assert run("demo", *small) == 0
    assert len(stages) == 3
    capsys.readouterr()
    for options in (("--scale", "0.05"), ("--scale", "0.02", "--observation", "vector")):
        assert run("demo", "--out", str(out), *options) == 2
        assert "holds another run, of `vlsafe demo" in capsys.readouterr().err
    (out / "run.json").unlink()
    assert run("demo", *small) == 2
    assert "holds something else than a demo" in capsys.readouterr().err
    assert not (out / "run.json").exists()


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"command": "make \'it"}', b'{"command": 3}'])
def test_a_run_of_somebody_else_is_left_alone(
    tmp_path: Path, stages: list[Any], content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.json").write_bytes(content)
    assert run("demo", "--out", str(tmp_path)) == 2
    assert "give another --out" in capsys.readouterr().err
    assert (tmp_path / "run.json").read_bytes() == content
    assert not stages
