"""What it costs to save a state, to go back to it, and to drive on from it under another plan.

    python benchmarks/branches.py

Microseconds of processor time, median of five rounds in turns over all cases, vector observations,
no scorer.  "branch" is going back and driving on for five seconds of traffic with random actions,
or to the end of the episode.  On MetaDrive nothing is saved: a branch is a fork that drives on, and
what the fork costs by itself is given in place of going back (wall-clock time, which for forks is
what can be measured; so for MetaDrive the machine has to be quiet).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

from vlsafe_envs import known_ids
from vlsafe_envs.registry import row_of
from vlsafe_envs.simulators.metadrive.missing import metadrive_installed
from vlsafe_envs.snapshots import branches, fan_out, restore, save

ROWS = 64
SECONDS = 5.0  # [s], of a branch


def timed(work: Callable[[], Any], times: int, clock: Callable[[], float]) -> float:
    """Microseconds that it takes once."""
    begin = clock()
    for _ in range(times):
        work()
    return (clock() - begin) / times * 1e6


class Case:
    """One environment in mid-episode, with what is measured of it."""

    def __init__(self, name: str, env_id: str, **options: Any) -> None:
        self.name, self.row = name, row_of(env_id)
        given = {"observation": "vector", "scorer": None, **options}
        self.env = gym.make(env_id, disable_env_checker=True, **given)
        self.slow = options.get("engine") == "highway_env"
        self.forks = self.row.one_per_process
        self.clock = time.perf_counter if self.forks else time.process_time
        self.actions = np.random.default_rng(0).integers(self.env.action_space.n, size=1000)
        self.env.reset(seed=1)
        for _ in range(5):
            self.env.step(self.idle)
        self.envs = None
        if not self.forks:
            self.snapshot = save(self.env)
        if self.row.stacked and not self.slow:
            self.envs = gym.make_vec(env_id, num_envs=ROWS, **given)
            self.envs.reset(seed=0)

    @property
    def idle(self) -> int:
        return 1 if self.env.action_space.n == 5 else 7

    def drive_on(self, env: Any = None, plan: Any = None) -> int:
        frequency = self.env.unwrapped.scenario.traffic.policy_frequency
        for step in range(round(SECONDS * frequency)):
            _, _, terminated, truncated, _ = self.env.step(int(self.actions[step]))
            if terminated or truncated:
                break
        return step + 1

    def measure(self) -> dict[str, float]:
        """Microseconds by what they are for."""
        many, few = (3, 1) if self.slow or self.forks else (300, 20)
        if self.forks:
            alone = [None] * many
            forks = timed(lambda: list(branches(self.env, alone, lambda e, p: 0)), 1, self.clock)
            whole = timed(lambda: list(branches(self.env, alone, self.drive_on)), 1, self.clock)
            return {"restore": forks / many, "branch": whole / many}
        found = {
            "save": timed(lambda: save(self.env), many, self.clock),
            "restore": timed(lambda: restore(self.env, self.snapshot), many, self.clock),
        }

        def branch() -> None:
            restore(self.env, self.snapshot)
            self.drive_on()

        found["branch"] = timed(branch, few, self.clock)
        if self.envs is not None:
            rows = range(ROWS)
            spread = timed(lambda: fan_out(self.envs, self.snapshot, rows), few, self.clock)  # type: ignore[arg-type]
            found["fan out"] = spread / ROWS
        return found


def cases() -> list[Case]:
    found = [Case(row_of(i).name, i) for i in known_ids() if not row_of(i).one_per_process]
    for env_id in known_ids():
        if row_of(env_id).stacked:
            name = f"{row_of(env_id).name}, highway-env"
            found.append(Case(name, env_id, engine="highway_env"))
    if metadrive_installed():
        found.append(Case("navigation (forks)", "VLSafe-Navigation-v0"))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    measured = cases()
    results: dict[str, list[dict[str, float]]] = {case.name: [] for case in measured}
    for case in measured:
        case.measure()  # compiles
    for _ in range(rounds):
        for case in measured:
            results[case.name].append(case.measure())
    columns = ("save", "restore", "fan out", "branch")
    print("| simulator | save | restore | a row of 64 | branch of 5 s |")
    print("|---|---|---|---|---|")
    for name, rows in results.items():
        cells = [
            f"{statistics.median(row[column] for row in rows):,.0f}" if column in rows[0] else "-"
            for column in columns
        ]
        print(f"| {name} | {' | '.join(cells)} |")
    for case in measured:
        case.env.close()


if __name__ == "__main__":
    main()
