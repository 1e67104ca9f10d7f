"""Logs that go to a tracker of experiments: with a stand-in, and with Weights & Biases offline."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from speed_limit import SpeedLimit
from stable_baselines3 import PPO as StockPPO

from vlsafe_agents import PPOLag
from vlsafe_agents.cli import main as cli
from vlsafe_agents.training import EnvName, TrainSettings, train
from vlsafe_agents.training.trackers import RunWriter, TrackerCallback, start_run

SMALL = {"n_steps": 8, "batch_size": 8, "n_epochs": 1}


class Recorder:
    """Stands for a run."""

    def __init__(self, **given: Any) -> None:
        self.given, self.rows, self.ended = given, [], 0

    def log(self, metrics: dict[str, Any], step: int | None = None) -> None:
        self.rows.append((step, metrics))

    def finish(self) -> None:
        self.ended += 1


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Recorder]:
    """Runs that were started, of both trackers."""
    started: list[Recorder] = []

    def init(**given: Any) -> Recorder:
        started.append(Recorder(**given))
        return started[-1]

    for name in ("wandb", "trackio"):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(init=init, __name__=name))
    return started


def settings_of(**given: Any) -> TrainSettings:
    return TrainSettings(
        **{
            "algo": "ppo_lag", "env": EnvName("SpeedLimit-v0"), "observation": "vector",
            "steps": 32, "envs": 2, "cost": "env", "config": SMALL, **given,
        }
    )  # fmt: skip


def test_a_training_sends_what_its_log_holds(tmp_path: Path, runs: list[Recorder]) -> None:
    out = tmp_path / "agent"
    train(settings_of(), out, SpeedLimit, tracker="wandb:mine")
    (run,) = runs
    assert (run.given["project"], run.given["name"], run.ended) == ("mine", "agent", 1)
    assert run.given["config"]["algo"] == "ppo_lag"
    with (out / "progress.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [step for step, _ in run.rows] == [16, 32]
    for (_, sent), row in zip(run.rows, rows, strict=True):
        told = {name: float(value) for name, value in row.items() if value}
        assert sent == pytest.approx({name: told[name] for name in sent})
        assert set(sent) <= set(told) <= set(sent) | {"time/fps", "time/time_elapsed"}
    train(settings_of(), out, SpeedLimit, tracker="wandb:mine")
    assert len(runs) == 1  # it is trained already


def test_a_folder_and_its_settings_have_one_run(tmp_path: Path, runs: list[Recorder]) -> None:
    for tracker, key in (("wandb", "id"), ("trackio", "name")):
        runs.clear()
        start_run(tracker, tmp_path / "a", {"seed": 0})
        start_run(tracker, tmp_path / "a", {"seed": 0})
        start_run(tracker, tmp_path / "a", {"seed": 1})
        start_run(tracker, tmp_path / "b", {"seed": 0})
        first, again, *others = (run.given[key] for run in runs)
        assert first == again
        assert first not in others
        assert {run.given["resume"] for run in runs} == {"allow"}
        assert {run.given["project"] for run in runs} == {"vlsafe"}


@pytest.mark.parametrize("kind", [StockPPO, PPOLag])
def test_a_callback_sends_the_log_of_any_algorithm(kind: Any) -> None:
    run = Recorder()
    model = kind("MlpPolicy", SpeedLimit(), **SMALL)
    callback = TrackerCallback(run)
    model.learn(16, callback=callback)
    assert [step for step, _ in run.rows][-1] == 16
    assert "time/iterations" in run.rows[0][1]
    assert run.ended == 0  # whoever started it ends it
    assert callback._writer not in model.logger.output_formats
    model.learn(16, callback=callback, reset_num_timesteps=False)
    steps = [step for step, _ in run.rows]
    assert steps[-1] == 32
    assert len(steps) == len(set(steps))  # no row is sent twice


def test_only_numbers_are_sent() -> None:
    run = Recorder()
    writer = RunWriter(run, finish=False)
    row = {"a": 1, "b": 2.5, "text": "x", "flag": True, "picture": object()}
    writer.write(row, {}, 7)
    writer.write({"text": "x"}, {}, 8)
    writer.close()
    assert run.rows == [(7, {"a": 1, "b": 2.5})]
    assert run.ended == 0


@pytest.mark.parametrize(
    ("tracker", "said"),
    [("wandbb", "did you mean 'wandb'?"), ("wandb", "pip install 'vlsafe[wandb]'")],
)
def test_a_tracker_that_is_not_there_is_named_before_anything_is_learnt(
    tracker: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)  # so that it cannot be imported
    few = ("--steps", "8", "--observation", "vector", "--env-arg", "duration=3", "--envs", "1")
    with pytest.raises(SystemExit) as stop:
        cli.main(["train", "--algo", "ppo", *few, "--out", str(tmp_path / "a"), "--track", tracker])
    assert stop.value.code == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_a_run_that_is_not_started_is_an_error_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refused(Exception):
        pass

    def init(**_: Any) -> None:
        raise Refused("no API key")

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init, __name__="wandb"))
    with pytest.raises(RuntimeError, match="--track wandb: no run was started: no API key"):
        start_run("wandb", tmp_path, {})


def test_weights_and_biases_keeps_a_run_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb", reason="needs the extra wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    train(settings_of(), tmp_path / "agent", SpeedLimit, tracker="wandb")
    (kept,) = tmp_path.rglob("run-*.wandb")
    assert kept.stat().st_size > 0


def test_trackio_keeps_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "kept"))  # which it reads when it is imported
    pytest.importorskip("trackio", reason="needs the extra trackio")
    train(settings_of(), tmp_path / "agent", SpeedLimit, tracker="trackio")
    assert any((tmp_path / "kept").rglob("*.db"))
