"""Stable-Baselines3's own tests with our algorithms in the place of its own.

    python -m benchmarks.stable_baselines3_suite CHECKOUT
    python -m benchmarks.stable_baselines3_suite CHECKOUT --agents VLSafe --files test_save_load

CHECKOUT is the folder of a source distribution, which has the tests of the version that is
installed (`pip download --no-deps --no-binary :all: stable_baselines3==VERSION`, unpacked), or a
clone.  Only tests that have to do with a class whose seat is taken are run; see `seats.py`.  What
fails for a reason in `reasons.py`, in the words that stand there, is "not applicable"; exit code 1
where anything else fails.  "no agent" counts tests that end before they make one of ours (they skip
combinations).  `test_utils` needs `ale_py`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.stable_baselines3_suite.reasons import REASONS, Reason
from benchmarks.stable_baselines3_suite.seats import AGENTS

HERE = Path(__file__).parents[2]
SECONDS = 300  # for one test


def outcomes_of(agent: str, tests: Path, files: list[str], keyword: str) -> list[dict[str, Any]]:
    """Run the tests of a folder with one of our algorithms; a row for each.

    Raises:
        RuntimeError: where pytest itself fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        outcomes = Path(folder, "outcomes.jsonl")
        outcomes.touch()
        plugin = "benchmarks.stable_baselines3_suite.seats"
        command = [sys.executable, "-m", "pytest", "-q", "-p", plugin, "-p", "no:cacheprovider"]
        command += ["--agent", agent, "--outcomes", str(outcomes), "--timeout", str(SECONDS)]
        command += ["-m", "not expensive", "--rootdir", str(tests), "-k", keyword, "--tb=short"]
        path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
        run = subprocess.run(
            [*command, *files],
            cwd=tests,
            env={**os.environ, "PYTHONPATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if run.returncode not in (0, 1, 5):  # 5: no test was left
            raise RuntimeError(f"pytest ended with {run.returncode}:\n{run.stdout[-4000:]}")
        return [json.loads(line) for line in outcomes.read_text().splitlines()]


def reasons_for(agent: str, row: dict[str, Any]) -> list[Reason]:
    """Why this test is not ours to pass; empty: it is."""
    return [
        reason
        for reason in REASONS[agent]
        if any(row["test"].startswith(begin) for begin in reason.tests)
    ]


def judged(agent: str, row: dict[str, Any]) -> tuple[str, str]:
    """One of COLUMNS, and what is to be said of it."""
    reasons = reasons_for(agent, row)
    if row["outcome"] == "failed":
        why = next((one.why for one in reasons if one.said in row["said"]), "")
        return ("not applicable", why) if why else ("failed", " ".join(row["said"].split())[:200])
    if row["outcome"] == "skipped" or not row["agents"]:
        return "no agent", ""  # the test left before it made one
    return "passed", ""


COLUMNS = ("passed", "failed", "not applicable", "no agent")


def table(rows: Iterable[tuple[str, str, str]]) -> str:
    """Counts of (agent, file, judgement)."""
    counts: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: dict.fromkeys(COLUMNS, 0))
    for agent, file, judgement in rows:
        counts[agent, file][judgement] += 1
        counts[agent, "all"][judgement] += 1
    lines = ["| algorithm | file | tests | " + " | ".join(COLUMNS) + " |"]
    lines.append("|" + "---|" * (len(COLUMNS) + 3))
    for (agent, file), found in sorted(counts.items()):
        numbers = [sum(found.values()) - found["no agent"], *found.values()]
        lines.append(f"| {agent} | {file} | " + " | ".join(map(str, numbers)) + " |")
    return "\n".join(lines)


def main() -> int:
    """Run them; 1 if something fails without a reason."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.stable_baselines3_suite",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--agents", nargs="+", choices=sorted(AGENTS), default=list(AGENTS))
    parser.add_argument("--files", nargs="+", default=[], metavar="test_run", help="all, if none")
    parser.add_argument("--keyword", default="", help="pytest's -k")
    arguments = parser.parse_args()
    source = arguments.checkout / "tests"
    if not source.is_dir():
        parser.error(f"there is no folder {source}")
    judgements = []
    with tempfile.TemporaryDirectory() as folder:
        # apart from the checkout, whose package is not the one that is installed
        tests = Path(shutil.copytree(source, Path(folder, "stock_tests")))
        (tests / "__init__.py").unlink(missing_ok=True)
        files = [f"{Path(name).stem}.py" for name in arguments.files]
        files = files or sorted(path.name for path in tests.glob("test_*.py"))
        for agent in arguments.agents:
            for row in outcomes_of(agent, tests, files, arguments.keyword):
                judgement, said = judged(agent, row)
                judgements.append((agent, row["test"].partition("::")[0], judgement))
                if said:
                    print(f"{judgement} | {agent} | {row['test']} | {said}", flush=True)
    print(table(judgements))
    return int(any(judgement == "failed" for *_, judgement in judgements))


if __name__ == "__main__":
    sys.exit(main())
