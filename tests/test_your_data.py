"""The page on other people's data runs as it stands: its Python first, then its commands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"^```(python|bash)(?: file=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# the commands in one process: importing PyTorch takes longer than what they do
COMMANDS = """
import glob, shlex
from vlsafe_agents.cli.main import main

for line in open("commands.txt"):
    name, *words = shlex.split(line)
    assert name == "vlsafe", line
    try:
        main([found for word in words for found in glob.glob(word) or [word]])
    except SystemExit as stop:
        assert not stop.code, line
"""


def blocks() -> tuple[dict[str, str], str, str]:
    """Files that the page has saved, its Python and its commands."""
    text = (ROOT / "docs" / "your_data.md").read_text(encoding="utf-8")
    files, code, commands = {}, "", ""
    for kind, name, block in BLOCK.findall(text):
        if name:
            files[name] = block
        elif kind == "python":
            code += block
        else:
            commands += block
    return files, code, commands


@pytest.mark.timeout(900)
def test_every_block_runs(tmp_path: Path) -> None:
    files, code, commands = blocks()
    assert len(commands.splitlines()) >= 9
    files |= {"page.py": code + COMMANDS, "commands.txt": commands}
    for name, content in files.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}",
        "MINARI_DATASETS_PATH": str(tmp_path / "minari"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    answer = subprocess.run(
        [sys.executable, "page.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, (answer.stdout + answer.stderr)[-3000:]
    assert (tmp_path / "runs" / "ppo" / "evaluation.json").exists()
