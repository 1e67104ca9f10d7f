"""The tutorials in ``examples/`` run from top to bottom; here with less of everything.

In this process and without Jupyter: importing PyTorch takes longer than what most of them do.
"""

from __future__ import annotations

import glob
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from vlsafe_agents.cli.main import main

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
AUDIT = "--probe-frames 20"
# What makes a tutorial quick, and changes none of its calls.
LESS = {
    "first_drive": {},
    "judge_with_your_vlm": {
        "--steps 800": "--steps 60 --workers 1",
        AUDIT: "--probe-frames 5",
        "--resamples 200": "--resamples 5",
        "--gallery 2": "--gallery 0",
    },
    "train_offline": {
        "--steps 1000": "--steps 200 --workers 1",
        "learn(80)": "learn(4)",
        "learn(300)": "learn(3)",
        "10_010": "10_002",
    },
    "fine_tune_online": {
        "--steps 600": "--steps 200 --workers 1",
        "learn(60)": "learn(4)",
        "learn(300,": "learn(8,",
        "10_010": "10_001",
    },
    "your_own_road": {"--episodes 20": "--episodes 4", "learn(40)": "learn(3)", "10_008": "10_001"},
    "your_own_judge": {
        "--steps 600": "--steps 60 --workers 1",
        AUDIT: "--probe-frames 5",
        "--resamples 200": "--resamples 5",
    },
    "your_own_data": {"range(40)": "range(10)", "learn(500)": "learn(3)", "10_010": "10_001"},
    "shield_a_stock_agent": {"learn(2_000)": "learn(256)", "20_020": "20_002"},
    "benchmark_row": {},
    "on_a_cluster": {},
}
# Suites start a process for each of their cells; tests/test_benchmark_page.py checks the first.
SUITES = ("benchmark_row", "on_a_cluster")


def cells(name: str) -> list[dict[str, Any]]:
    book = json.loads((EXAMPLES / f"{name}.ipynb").read_text(encoding="utf-8"))
    return list(book["cells"])


def program(name: str, less: bool) -> list[str]:
    """The code cells, for :func:`run`."""
    found = ["".join(cell["source"]) for cell in cells(name) if cell["cell_type"] == "code"]
    text = "\0".join(found)
    for much, little in LESS[name].items() if less else ():
        assert much in text, f"{name} no longer says {much!r}"
        text = text.replace(much, little)
    return text.split("\0")


def vlsafe(command: str) -> None:
    """A line of the shell that starts with ``vlsafe``."""
    words = [found for word in shlex.split(command)[1:] for found in glob.glob(word) or [word]]
    code: Any = 0
    try:
        main(words)
    except SystemExit as stop:
        code = stop.code
    assert not code, command


def run(cell: str, names: dict[str, Any]) -> None:
    """What Jupyter does with a cell: Python, lines of the shell, or a file to write."""
    head, _, rest = cell.partition("\n")
    if head.startswith("%%writefile "):
        Path(head.split()[1]).write_text(rest + "\n", encoding="utf-8")
        return
    lines = []
    for line in cell.split("\n"):
        shell = re.fullmatch(r"(\s*)!(.*)", line)
        if shell:  # {name} stands for a variable
            start = "vlsafe" if shell[2].startswith("vlsafe ") else "sh"
            line = f"{shell[1]}{start}(f{shell[2]!r})"
        lines.append(line)
    exec(compile("\n".join(lines), "cell", "exec"), names)


def run_all(name: str, less: bool) -> None:
    """A tutorial in the present folder."""
    import matplotlib

    matplotlib.use("Agg")
    sh = lambda command: subprocess.run(command, shell=True, check=True)  # noqa: E731
    names: dict[str, Any] = {"__name__": "book", "vlsafe": vlsafe, "sh": sh}
    for cell in program(name, less):
        run(cell, names)


def test_every_tutorial_is_known_and_holds_no_results() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.ipynb")} == set(LESS)
    for name in LESS:
        assert all(not cell.get("outputs") for cell in cells(name))


def test_every_tutorial_says_how_long_it_takes() -> None:
    for name in LESS:
        assert re.search(r"\d+ s of processor time", "".join(cells(name)[0]["source"])), name


def test_every_picture_of_a_tutorial_has_words_for_those_who_cannot_see_it() -> None:
    drawn = 0
    for name in LESS:
        for cell in cells(name):
            if "plt.show()" in "".join(cell["source"]):
                assert cell["metadata"]["mystnb"]["image"]["alt"].endswith("."), name
                drawn += 1
    assert drawn >= 5


@pytest.mark.parametrize("name", [name for name in LESS if name not in SUITES])
def test_a_tutorial_runs_from_top_to_bottom(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))  # some add to it
    before = set(sys.modules)
    run_all(name, less=True)
    for module in set(sys.modules) - before:  # files that it has written
        if Path(getattr(sys.modules[module], "__file__", None) or "/").is_relative_to(tmp_path):
            del sys.modules[module]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", LESS)
def test_a_tutorial_runs_as_it_stands(name: str, tmp_path: Path) -> None:
    answer = subprocess.run(
        [sys.executable, __file__, name],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr[-3000:]
    print(answer.stdout)


if __name__ == "__main__":
    run_all(sys.argv[1], less=False)
