"""The notebooks of ``examples/`` run from top to bottom; here with less of everything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
# What makes a notebook quick, and changes none of its calls.
LESS = {
    "first_drive": {},
    "judge_and_learn": {
        "--steps 1500": "--steps 250 --workers 1",
        "audit runs/book/data": "audit --probe-frames 20 --resamples 20 --gallery 0 runs/book/data",
        "learn(60)": "learn(4)",
        "learn(40, ": "learn(8, ",
        "10_010": "10_002",
    },
    "shield_a_stock_agent": {"learn(2_000)": "learn(256)", "20_020": "20_002"},
}


def cells(name: str) -> list[dict[str, object]]:
    book = json.loads((EXAMPLES / f"{name}.ipynb").read_text(encoding="utf-8"))
    return list(book["cells"])


def program(name: str, less: bool) -> str:
    """All code cells as one Python program, without Jupyter."""
    parts = ["import matplotlib", "matplotlib.use('Agg')"]
    for cell in cells(name):
        if cell["cell_type"] != "code":
            continue
        source = "".join(cell["source"])  # type: ignore[call-overload]
        if source.startswith("!"):  # commands of the shell, one a line
            script = source.replace("!vlsafe ", '"$PYTHON" -m vlsafe_agents.cli.main ')
            script = script.replace("!", "")
            source = f"import subprocess; subprocess.run(['bash', '-ec', {script!r}], check=True)"
        parts.append(source)
    text = "\n".join(parts)
    for much, little in LESS[name].items() if less else ():
        assert much in text, f"{name} no longer says {much!r}"
        text = text.replace(much, little)
    return text


def test_every_notebook_is_known_and_holds_no_results() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.ipynb")} == set(LESS)
    for name in LESS:
        assert all(not cell.get("outputs") for cell in cells(name))


@pytest.mark.parametrize("name", LESS)
@pytest.mark.parametrize("less", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.timeout(900)
def test_a_notebook_runs_from_top_to_bottom(name: str, less: bool, tmp_path: Path) -> None:
    (tmp_path / "book.py").write_text(program(name, less), encoding="utf-8")
    answer = subprocess.run(
        [sys.executable, "book.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr[-3000:]
    print(answer.stdout)
