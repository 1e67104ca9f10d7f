"""Commands that need MetaDrive, where it is not installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlsafe_agents.cli import clip_data
from vlsafe_agents.cli import main as cli
from vlsafe_envs.simulators.metadrive import missing

COMMANDS = (
    ("collect", "--env", "VLSafe-Navigation-v0", "--steps", "10", "--out", "{}"),
    ("evaluate", "expert", "--env", "VLSafe-MetaDrive-v0", "--out", "{}"),
    ("train-clip", "--cache", "{}/cache", "--out", "{}/model"),
)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_one_sentence_says_what_to_install_before_anything_is_driven(
    command: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(missing, "metadrive_installed", lambda: False)
    monkeypatch.setattr(clip_data, "_record_all", lambda *_: pytest.fail("drove other roads"))
    with pytest.raises(SystemExit) as stop:
        cli.main([part.format(tmp_path) for part in command])
    error = capsys.readouterr().err
    assert stop.value.code == 2
    assert "pip install 'vlsafe[metadrive]'" in error
    assert "Traceback" not in error
