"""`vlsafe export`: a file that does what the agent does, or none."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from tiny_agents import make

from vlsafe_agents import VLSafe
from vlsafe_agents.cli import main as cli
from vlsafe_agents.vlsafe import onnx_export
from vlsafe_agents.vlsafe.onnx_export import check_onnx

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


def run(*arguments: object) -> int:
    """Exit code of a command line, run in this process."""
    with pytest.raises(SystemExit) as stop:
        cli.main([str(argument) for argument in arguments])
    return int(stop.value.code or 0)


def shaken(agent: VLSafe, seed: int = 0) -> VLSafe:
    """A fresh policy starts at zero and would do the same everywhere."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in agent.policy.actor_critic.actor.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return agent


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    agent = shaken(make(None, safety=None))
    return agent.save_pretrained(tmp_path_factory.mktemp("shared") / "agent")


@pytest.fixture(scope="module")
def exported(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "agent.onnx"
    assert run("export", folder, "--onnx", path) == 0
    return path


def test_an_agent_is_written_and_checked(folder: Path, exported: Path) -> None:
    assert check_onnx(VLSafe.from_pretrained(folder).policy, exported, seed=1) < 1e-4


def test_another_agent_does_something_else(folder: Path, exported: Path) -> None:
    other = shaken(VLSafe.from_pretrained(folder), seed=1)
    with pytest.raises(RuntimeError, match=r"agent.onnx does not do what the agent does: call \d"):
        check_onnx(other.policy, exported)


def test_a_file_that_fails_the_check_is_not_left_there(
    exported: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the exporter had written another agent's graph."""
    other = shaken(VLSafe.from_pretrained(folder), seed=1).save_pretrained(tmp_path / "other")
    monkeypatch.setattr(onnx_export, "export_onnx", lambda _, path: shutil.copy(exported, path))
    assert run("export", other, "--onnx", tmp_path / "out" / "agent.onnx") == 2
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nobody", "--onnx", "a.onnx"), "no trained driver in nobody"),
        (("pretrained:nobody", "--onnx", "a.onnx"), "no trained driver is bundled for 'nobody'"),
        (("pretrained:highway-ppo-lag", "--onnx", "a.onnx"), "PPOLag"),
        (("pretrained:highway", "--onnx", "."), "is a folder; name a file"),
        (("pretrained:highway", "--onnx", "a.onnx", "--cost-limit", "3"), "--cost-limit 3: "),
    ],
)
def test_mistakes_end_in_one_sentence(
    arguments: tuple[str, ...],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("export", *arguments) == 2
    assert message in capsys.readouterr().err
