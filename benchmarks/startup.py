"""Seconds until the first steps: importing, compiling, and loading compiled code.

    python benchmarks/startup.py

Each stage runs in processes of their own: with an empty cache of machine code, again with the full
one, and from a copy of the package that may not be written to.  Given are seconds of the clock and
of the processor.  The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("vlsafe_envs", "wrappers")
# root may write anywhere; without this capability it has to respect a folder's mode (Linux)
RESPECTFUL = ("setpriv", "--bounding-set", "-dac_override")
CHILD = """
import json, sys, time
marks = [("start", time.perf_counter(), time.process_time())]
def mark(name): marks.append((name, time.perf_counter(), time.process_time()))
import gymnasium as gym
mark("import gymnasium")
import vlsafe_envs
mark("import vlsafe_envs")
env = gym.make("VLSafe-Highway-v0", scorer=None)
env.reset(seed=0); env.step(1)
mark("first environment, reset and step")
env = gym.make_vec("VLSafe-Highway-v0", num_envs=64, scorer=None, observation="multi")
env.reset(seed=0); env.step(env.action_space.sample())
mark("first 64 environments, reset and step")
from vlsafe_envs.simulators.engine.simulation import simulate
pairs = zip(marks, marks[1:])
times = {b[0]: [round(b[1] - a[1], 2), round(b[2] - a[2], 2)] for a, b in pairs}
print(json.dumps({"package": vlsafe_envs.__file__, "cache": simulate.stats.cache_path,
    "loaded": sum(simulate.stats.cache_hits.values()), "seconds": times}))
"""


def start(package: Path, home: Path, prefix: tuple[str, ...] = ()) -> dict[str, Any]:
    """Times of a fresh process that finds the packages in a folder."""
    inherited = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"}
    own = {"PYTHONPATH": package, "HOME": home, "XDG_CACHE_HOME": home}
    environment = inherited | {k: str(v) for k, v in own.items()} | {"PYTHONDONTWRITEBYTECODE": "1"}
    command = [*prefix, sys.executable, "-c", CHILD]
    done = subprocess.run(
        command, env=environment, cwd=home, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


def copy_packages(target: Path) -> None:
    """The packages without any compiled code."""
    for name in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, target / name, ignore=ignored)


def forbid_writing(folder: Path) -> None:
    """Nobody may write into the folder and those below."""
    for place in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        place.chmod(0o555)


def main() -> None:
    """Print the times."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None).parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        home, package = folder / "home", folder / "package"
        home.mkdir()
        copy_packages(package)
        reports = {label: start(package, home) for label in ("empty cache", "full cache")}
        for cache in list(package.rglob("__pycache__")):
            shutil.rmtree(cache)
        forbid_writing(package)
        prefix = RESPECTFUL if os.geteuid() == 0 else ()
        for label in ("read-only, empty cache", "read-only, full cache"):
            reports[label] = start(package, home, prefix)
    for label, report in reports.items():
        print(f"{label}  (machine code in {report['cache']})")
        for stage, (clock, processor) in report["seconds"].items():
            print(f"    {stage:40s} {clock:7.2f} s, {processor:7.2f} s of the processor")
    print(json.dumps({"benchmark": "startup", "stages": reports}))


if __name__ == "__main__":
    main()
