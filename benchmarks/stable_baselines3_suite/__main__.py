"""Stable-Baselines3's own tests with our algorithms in the place of its own.

    python -m benchmarks.stable_baselines3_suite CHECKOUT
    python -m benchmarks.stable_baselines3_suite CHECKOUT --agents VLSafe --files test_save_load test_run

CHECKOUT is the folder of a source distribution, which has the tests of the version that is
installed (`pip download --no-deps --no-binary :all: stable_baselines3==VERSION`, unpacked), or a
clone.  Only tests that have to do with a class whose seat is taken are run; see `seats.py`.  What
fails for a reason in `reasons.py`, in the way that stands there, is "not applicable"; exit code 1
where something else fails, or where something passes that has a reason.
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
from fnmatch import fnmatchcase
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


def reason_for(agent: str, row: dict[str, Any]) -> Reason | None:
    """Why this test is not ours to pass; None: it is."""
    for reason in REASONS.get(agent, ()):
        if any(fnmatchcase(row["test"], _literal(pattern)) for pattern in reason.tests):
            return reason
    return None


def _literal(pattern: str) -> str:
    """Brackets are those of parameters."""
    return pattern.replace("[", "[[]")


def judged(agent: str, row: dict[str, Any]) -> str:
    """passed, failed, not applicable, needless reason, or no agent: it made none of ours."""
    reason = reason_for(agent, row)
    if row["outcome"] == "failed":
        return "not applicable" if reason and reason.said in row["said"] else "failed"
    if row["outcome"] == "skipped" or not row["agents"]:
        return "no agent"
    return "passed" if reason is None else "needless reason"


COLUMNS = ("passed", "failed", "not applicable", "no agent", "needless reason")


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
                judgement = judged(agent, row)
                judgements.append((agent, row["test"].partition("::")[0], judgement))
                if judgement in ("failed", "needless reason"):
                    said = " ".join(row["said"].split())[:200]
                    print(f"{judgement} | {agent} | {row['test']} | {said}", flush=True)
                elif judgement == "not applicable":
                    reason = reason_for(agent, row)
                    assert reason is not None
                    print(f"{judgement} | {agent} | {row['test']} | {reason.why}", flush=True)
    print(table(judgements))
    return int(any(judgement in ("failed", "needless reason") for *_, judgement in judgements))


if __name__ == "__main__":
    sys.exit(main())
