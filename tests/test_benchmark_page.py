"""The tutorial on a benchmark row: its suite is sound, and a newcomer's row runs as it stands."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from vlsafe_agents.bench.cells import plan
from vlsafe_agents.bench.record import read_results
from vlsafe_agents.bench.suite import read_suite
from vlsafe_agents.cli.bench import check

ROOT = Path(__file__).resolve().parent.parent
FILE = re.compile(r"%%writefile (\S+)\n(.*)", re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With the files that the tutorial writes."""
    book = json.loads((ROOT / "examples" / "benchmark_row.ipynb").read_text(encoding="utf-8"))
    for cell in book["cells"]:
        found = FILE.fullmatch("".join(cell["source"]))
        if found:
            (tmp_path / found[1]).write_text(found[2] + "\n", encoding="utf-8")
    assert {file.name for file in tmp_path.iterdir()} == {
        "crossing.py",
        "learn_dqn.py",
        "mine.yaml",
    }
    return tmp_path


def test_the_suite_is_sound(folder: Path) -> None:
    suite = read_suite(folder / "mine.yaml")
    cells = plan(suite)
    check(suite, cells)
    assert [cell.name for cell in cells if cell.seed == 0] == [
        "train crossing/seed0/dqn",
        "evaluate crossing/same/seed0/dqn",
        "train crossing/seed0/ppo_lag",
        "evaluate crossing/same/seed0/ppo_lag",
    ]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_newcomers_row_runs(folder: Path) -> None:
    command = [sys.executable, "-m", "vlsafe_agents.cli.main", "bench", "mine.yaml"]
    answer = subprocess.run(
        [*command, "--out", "runs/mine"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, (answer.stdout + answer.stderr)[-3000:]
    lines = {line["cell"]: line for line in read_results(folder / "runs" / "mine")}
    assert {line["status"] for line in lines.values()} == {"done"}
    assert lines["train crossing/seed1/dqn"]["training"] == {"env_steps": 3000}
    for name, line in lines.items():
        if "metrics" in line:
            print(name, line["metrics"]["collision_rate"], line["metrics"]["arrival_rate"])
    page = (folder / "runs" / "mine" / "report.html").read_text("utf-8")
    assert "DQN (stable_baselines3)" in page
    assert "3\u2009000" in page  # transitions driven
