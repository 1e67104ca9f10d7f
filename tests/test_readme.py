"""The README's blocks run as they are pasted; its first steps here with less of everything."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LESS = {"3000": "200", "learn(200": "learn(2"}


def test_the_first_snippet_drives_as_pasted(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text[text.index("## Install and see it run") : text.index("## First steps")]
    code = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert code is not None
    answer = subprocess.run(
        [sys.executable, "-c", code[1]],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stderr[-2000:]
    said = re.fullmatch(
        r"return ([\d.]+), lowest safety_score ([\d.]+), collision False\n", answer.stdout
    )
    assert said is not None, answer.stdout
    assert float(said[1]) > 10.0  # some 20 of the expert
    assert 0.0 <= float(said[2]) <= 1.0


def first_steps() -> tuple[str, str]:
    """The shell and the Python block of the section."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text[text.index("## First steps") : text.index("## Results")]
    shell, code = (
        re.search(rf"```{kind}\n(.*?)```", section, re.DOTALL) for kind in ("bash", "python")
    )
    assert shell is not None
    assert code is not None
    return shell[1], code[1]


@pytest.mark.parametrize("less", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_the_first_steps_run_as_pasted(less: bool, tmp_path: Path) -> None:
    shell, code = first_steps()
    for much, little in LESS.items() if less else ():
        assert much in shell + code
        shell, code = shell.replace(much, little), code.replace(much, little)
    command = f"{sys.executable} -m vlsafe_agents.cli.main"
    (tmp_path / "steps.py").write_text(code, encoding="utf-8")
    script = re.sub(r"^vlsafe", command, shell, flags=re.MULTILINE)
    script = f"set -e\n{script}\n{sys.executable} steps.py\n"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    answer = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stderr[-2000:]
    assert (tmp_path / "runs" / "first" / "agent.zip").exists()


def test_blocks_about_what_is_yours_run_as_pasted() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text[text.index("## Bring your own") : text.index("## Where to read on")]
    blocks = re.findall(r"```python\n# (\w+): (.*?)```", section, re.DOTALL)
    assert [name for name, _ in blocks] == ["environment", "data", "judge", "cost", "agent"]
    for name, block in blocks:
        exec(compile("# " + block, name, "exec"), {})
