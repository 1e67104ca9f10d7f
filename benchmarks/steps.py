"""Steps a second of every environment, image and vector, beside bare MetaDrive in the same run.

    python benchmarks/steps.py --json docs/steps.json

Every environment has a process of its own, since MetaDrive runs once in a process, and they are
measured in turns, so that a busy moment of the machine does not fall on one of them alone.  Actions
are random.  A step is what ``env.step`` takes in processor time, without a scorer; resets are timed
apart.  Given is the median of the windows with the lowest and the highest.  Bare MetaDrive is its
safe driving environment on our engine (``AssetFreeEnv``), with its lidar, at the densities of ours.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import time
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import gymnasium as gym

from vlsafe_envs import known_ids
from vlsafe_envs.registry import METADRIVE_IDS
from vlsafe_envs.simulators.metadrive.missing import metadrive_installed

OBSERVATIONS = ("vector", "image")
WARM_UP = 20  # steps that compile code and fill caches


@dataclass(frozen=True)
class Case:
    """What one process drives."""

    env_id: str
    observation: str  # "bare": MetaDrive's own, without our environment around it


def make(case: Case) -> gym.Env[Any, Any]:
    """The environment of a case."""
    if case.observation != "bare":
        return gym.make(
            case.env_id, observation=case.observation, scorer=None, disable_env_checker=True
        )
    from vlsafe_envs.options import scenario_of
    from vlsafe_envs.simulators.metadrive.engine import AssetFreeEnv

    settings = scenario_of(case.env_id).traffic.config()
    env: gym.Env[Any, Any] = AssetFreeEnv({**settings, "log_level": 50})
    return env


def serve(case: Case, connection: Connection) -> None:
    """Answer each number of steps with the seconds for steps, resets, and the resets' number."""
    env = make(case)
    env.action_space.seed(0)
    env.reset(seed=0)
    first = 0 if case.observation != "bare" else env.unwrapped.config["start_seed"]
    episode, ended = 0, False
    while (count := connection.recv()) is not None:
        stepping = resetting = 0.0
        resets = 0
        for _ in range(count):
            if ended:
                episode += 1
                begin = time.process_time()
                env.reset(seed=first + episode % 1000)
                resetting += time.process_time() - begin
                resets += 1
            action = env.action_space.sample()
            begin = time.process_time()
            _, _, terminated, truncated, _ = env.step(action)
            stepping += time.process_time() - begin
            ended = terminated or truncated
        connection.send((stepping, resetting, resets))
    env.close()


@dataclass
class Measured:
    """One case with its process and what it has told so far."""

    case: Case
    connection: Connection
    rates: list[float]
    reset_seconds: list[float]

    @classmethod
    def start(cls, case: Case) -> Measured:
        """Start the process and let it warm up."""
        ours, theirs = multiprocessing.Pipe()
        multiprocessing.Process(target=serve, args=(case, theirs), daemon=True).start()
        started = cls(case, ours, [], [])
        started.window(WARM_UP)
        started.rates, started.reset_seconds = [], []
        return started

    def window(self, steps: int) -> None:
        """Drive so many steps and take down how long they took."""
        self.connection.send(steps)
        stepping, resetting, resets = self.connection.recv()
        self.rates.append(steps / max(stepping, 1e-9))
        if resets:
            self.reset_seconds.append(resetting / resets)

    def row(self) -> dict[str, Any]:
        """Median, lowest and highest rate [1/s], and the median reset [s] if there was one."""
        resets = self.reset_seconds
        return {
            **asdict(self.case),
            "median": round(statistics.median(self.rates)),
            "low": round(min(self.rates)),
            "high": round(max(self.rates)),
            "reset_s": float(f"{statistics.median(resets):.2g}") if resets else None,
        }


def cases(env_ids: list[str]) -> list[Case]:
    """All that can be driven here."""
    found = []
    for env_id in env_ids:
        if env_id in METADRIVE_IDS and not metadrive_installed():
            print(f"{env_id}: left out, MetaDrive is not installed")
            continue
        kinds = (*OBSERVATIONS, "bare") if env_id in METADRIVE_IDS else OBSERVATIONS
        found += [Case(env_id, kind) for kind in kinds]
    return found


def table(rows: list[dict[str, Any]]) -> str:
    """The rows in Markdown."""
    lines = ["| id | observation | steps/CPU-s | reset [CPU-s] |", "|---|---|---|---|"]
    for row in rows:
        spread = f"{row['median']:,} ({row['low']:,} to {row['high']:,})"
        reset = "-" if row["reset_s"] is None else f"{row['reset_s']:g}"
        lines.append(f"| {row['env_id']} | {row['observation']} | {spread} | {reset} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--envs", nargs="+", default=list(known_ids()), metavar="ID")
    parser.add_argument("--windows", type=int, default=7)
    parser.add_argument("--steps", type=int, default=300, help="in a window")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    multiprocessing.set_start_method("spawn")
    measured = [Measured.start(case) for case in cases(asked.envs)]
    for number in range(asked.windows):
        for one in measured:
            one.window(asked.steps)
        print(f"window {number + 1} of {asked.windows}", flush=True)
    for one in measured:
        one.connection.send(None)
    rows = [one.row() for one in measured]
    print(table(rows))
    if asked.json is not None:
        medians: dict[str, dict[str, int]] = {}
        for row in rows:
            medians.setdefault(row["env_id"], {})[row["observation"]] = row["median"]
        content = {"steps_per_second": medians, "rows": rows}
        asked.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
