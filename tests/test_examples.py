"""Every example runs from a clean folder as its own head says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.timeout(600)
def test_the_algorithms_differ_by_their_class_name_only(tmp_path: Path) -> None:
    answer = subprocess.run(
        [sys.executable, ROOT / "examples" / "swap_the_algorithm.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr[-2000:]
    lines = [line.split()[0] for line in answer.stdout.splitlines() if " +- " in line]
    assert lines == ["PPO", "PPOLag", "VLSafe"]
