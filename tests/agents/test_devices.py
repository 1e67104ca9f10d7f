"""Several processes that train one agent: the figures of one process, one writer, exact resume."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from speed_limit import SpeedLimit, record
from team_run import CASES, UPDATES, make

from vlsafe_agents import BC
from vlsafe_agents.algorithms import ALGORITHMS
from vlsafe_agents.common import devices
from vlsafe_agents.common.agent_file import read_agent
from vlsafe_agents.common.devices import Team
from vlsafe_agents.training import EnvName, TrainSettings, train

SCRIPT = Path(__file__).with_name("team_run.py")


def run(size: int, *arguments: str) -> list[subprocess.CompletedProcess[str]]:
    """The script in so many processes, started as torchrun starts them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    team = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    started = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), *arguments],
            env=os.environ | team | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            text=True,
            **pipes,  # type: ignore[arg-type]
        )
        for rank in range(size)
    ]
    done = []
    for process in started:
        out, error = process.communicate(timeout=800)
        done.append(subprocess.CompletedProcess(process.args, process.returncode, out, error))
    return done


@pytest.fixture(scope="module")
def found() -> dict[int, dict[str, Any]]:
    """Figures of all cases by the number of processes."""
    by_size = {}
    for size in (1, 2):
        done = run(size, "figures", *CASES)
        assert all(process.returncode == 0 for process in done), done[-1].stderr
        assert not any(process.stdout for process in done[1:])
        rows = [json.loads(line) for line in done[0].stdout.splitlines()]
        by_size[size] = {row["case"]: row for row in rows}
    return by_size


@pytest.mark.parametrize("case", CASES)
def test_two_processes_have_the_loss_curve_of_one_with_the_whole_batch(
    case: str, found: dict[int, dict[str, Any]]
) -> None:
    """Within rounding: sums are taken in another order, and losses are float32."""
    one, two = (found[size][case]["rows"] for size in (1, 2))
    assert len(one) == len(two) == UPDATES
    for update, (expected, figures) in enumerate(zip(one, two, strict=True)):
        assert figures.keys() == expected.keys()
        for name, value in expected.items():
            close = np.isclose(figures[name], value, rtol=1e-4, atol=1e-6)
            assert close, (update, name, value, figures[name])
    changed = [abs(row["train/critic_loss"]) for row in one if "train/critic_loss" in row]
    assert len(set(changed)) > 5  # there is something to agree on
    assert any("train/actor_loss" in row for row in one)


@pytest.mark.parametrize("case", CASES)
def test_all_processes_end_with_the_same_weights_and_random_states(
    case: str, found: dict[int, dict[str, Any]]
) -> None:
    """Bit for bit: else they would drift apart, and no checkpoint could stand for all."""
    assert found[2][case]["alike"]


def test_one_process_writes_and_a_stopped_run_goes_on_exactly(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    done = run(2, "train", str(whole), "-1")
    assert [process.returncode for process in done] == [0, 0], done[0].stderr
    facts = [json.loads(process.stdout) for process in done]
    assert facts[0]["devices"] == 2
    assert facts[0]["gradient_steps"] == 14
    assert facts[1] == {}
    stopped = run(2, "train", str(parts), "5")  # the process that does not write was asked to
    assert all("KeyboardInterrupt: stopped" in process.stderr for process in stopped)
    assert "saved after 6 of 14 steps" in stopped[0].stderr
    assert (parts / "checkpoint.zip").exists()
    done = run(2, "train", str(parts), "-1")
    assert [process.returncode for process in done] == [0, 0], done[0].stderr
    expected, found = (read_agent(f / "model.zip", "cpu")[1]["policy"] for f in (whole, parts))
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        if isinstance(tensor, torch.Tensor):
            assert torch.equal(tensor, found[name]), name
    rows = [(f / "progress.csv").read_text().count("\n") for f in (whole, parts)]
    assert rows[0] == rows[1]


def test_processes_that_begin_with_different_weights_are_refused() -> None:
    for process in run(2, "figures", "gated unseeded"):
        assert process.returncode
        assert "do not begin with the same weights and data; give all of them" in process.stderr


@pytest.fixture
def team(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process as one of three, which it must notice before it talks to the others."""
    monkeypatch.setattr(devices, "_team", Team(0, 3, torch.device("cpu")))


@pytest.mark.parametrize("algo", [name for name in ALGORITHMS if name != "vlsafe"])
def test_other_algorithms_refuse_several_processes(
    algo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    settings = TrainSettings(algo=algo, env=EnvName("SpeedLimit-v0"), observation="vector")
    with pytest.raises(ValueError, match=f"{algo} trains on one device, and 2 .* train vlsafe"):
        train(settings, tmp_path / "out", SpeedLimit, record(4))
    assert not (tmp_path / "out").exists()


def test_what_a_team_cannot_share_is_refused(team: None) -> None:
    agent = make("gated")  # a batch of 4 sequences
    with pytest.raises(ValueError, match=r"train\.batch_size is 4, which 3 processes cannot share"):
        agent.learn(2)
    agent.env = agent._wrap_env(SpeedLimit())
    with pytest.raises(ValueError, match="only learning from recorded drives is shared"):
        agent.learn(2, online=True)


def test_an_agent_that_is_not_shared_does_not_learn_in_a_team(team: None) -> None:
    with pytest.raises(ValueError, match="BC trains on one device"):
        BC("MlpPolicy", None, dataset=record(4)).learn(2)


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for name, value in (("WORLD_SIZE", "2"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match="2 processes or more were started for 1 GPUs"):
        devices.joined("auto").__enter__()
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(ValueError, match='device="cuda:0" is one device'):
        devices.joined("cuda:0").__enter__()
