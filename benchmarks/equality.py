"""How far the compiled engine strays from highway-env over many whole episodes.

    python benchmarks/equality.py --episodes 520 --out equality.json

Roads take turns; vehicles, density, lanes, speeds, decision rate, kind of action, duration and the
ego vehicle's manners are random, and depend on the episode's number alone.  Both simulators drive
the same seed and actions; after every decision everything about every vehicle is compared, the
vector observation, reward, cost and the episode's end, and what IDM would advise.  Driving goes on
after crashes.  highway-env takes nearly all of the time.  The last line is JSON.

highway-env computes with NumPy and OpenBLAS, which choose kernels by processor: with AVX-512 their
tangents, arcs and scalar products differ from the C library's in the last bit.  To choose those
that do not, and see the engine by itself:

    OPENBLAS_CORETYPE=Haswell NPY_DISABLE_CPU_FEATURES="X86_V4 AVX512_ICL" python ...
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "envs"))

from engine_comparison import Comparison, compare, random_action, random_config

from vlsafe_envs.scenarios import SCENARIO_NAMES, TrafficConfig

KERNELS = ("OPENBLAS_CORETYPE", "NPY_DISABLE_CPU_FEATURES")
CROWDED = 13  # every 13th episode of a road is as crowded as it gets there
MOST_VEHICLES = {"highway": 50, "merge": 12, "roundabout": 15, "intersection": 20}
IDLE = 1  # meta-action
SHARES = {"random": 0.0, "calm": 0.8}  # of decisions in which the ego vehicle just drives on


def episode(number: int) -> tuple[TrafficConfig, int, list[Any]]:
    """Configuration, decisions and actions of the episode with this number."""
    rng = np.random.default_rng([number, 4])
    scenario = SCENARIO_NAMES[number % 4]
    crowded = number // 4 % CROWDED == 0
    fixed = {"vehicles": MOST_VEHICLES[scenario]} if crowded else {}
    config = random_config(rng, scenario=scenario, **fixed)
    seconds = int(rng.integers(10, 16) if crowded else rng.integers(10, 31))
    decisions = seconds * config.policy_frequency
    idle = SHARES[str(rng.choice(list(SHARES)))]
    nothing = IDLE if config.action == "meta" else np.zeros(2)
    actions = [
        nothing if rng.uniform() < idle else random_action(config, rng) for _ in range(decisions)
    ]
    return config, decisions, actions


def fresh_row() -> dict[str, Any]:
    """What is counted for each road."""
    counts = ("episodes", "decisions", "simulated_seconds", "ego_crashes", "crashed_vehicles")
    events = ("ego_off_road", "lane_changes_of_others", "yielding_vehicle_steps")
    return dict.fromkeys((*counts, *events), 0) | {
        "kinds": {"meta": 0, "grid": 0, "continuous": 0},
        "vehicles": [10**9, 0],
        "density": [np.inf, 0.0],
        "largest_difference": 0.0,
        "where": "",
        "episodes_not_equal_to_the_bit": 0,
        "episodes_above_1e-6": 0,
        "largest_difference_of": {},
        "mismatches": [],
    }


def count(row: dict[str, Any], number: int, config: TrafficConfig, result: Comparison) -> None:
    """Add one episode to its road's row."""
    row["episodes"] += 1
    row["decisions"] += result.steps
    row["simulated_seconds"] += result.steps / config.policy_frequency
    row["ego_crashes"] += result.ego_crashed
    row["crashed_vehicles"] += len(result.crashed)
    row["ego_off_road"] += result.off_road
    row["lane_changes_of_others"] += result.lane_changes
    row["yielding_vehicle_steps"] += result.yielding
    row["kinds"][config.action] += 1
    for name in ("vehicles", "density"):
        low, high = row[name]
        value = getattr(config, name)
        row[name] = [min(low, value), max(high, value)]
    row["episodes_not_equal_to_the_bit"] += result.difference != 0.0
    row["episodes_above_1e-6"] += not result.difference <= 1e-6
    for name, value in result.of.items():
        if not value <= row["largest_difference_of"].get(name, 0.0):
            row["largest_difference_of"][name] = value
    if not result.difference <= row["largest_difference"]:  # NaN counts
        row["largest_difference"] = result.difference
        row["where"] = f"episode {number}: {result.worst}"
    if result.mismatch:
        row["mismatches"].append(f"episode {number}: {result.mismatch}")


def main() -> None:
    """Compare, with progress on the error stream."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--episodes", type=int, default=520)
    parser.add_argument("--first", type=int, default=0, help="number of the first episode")
    parser.add_argument("--minutes", type=float, default=np.inf, help="stop early after as many")
    parser.add_argument("--out", type=Path, help="file for the figures so far, as JSON")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)  # highway-env warns of vehicles that have left their route
    rows = {scenario: fresh_row() for scenario in SCENARIO_NAMES}
    started = time.monotonic()
    for done, number in enumerate(range(arguments.first, arguments.first + arguments.episodes)):
        config, decisions, actions = episode(number)
        result = compare(config, number, decisions, actions, advice=True)
        count(rows[config.scenario], number, config, result)
        minutes = (time.monotonic() - started) / 60
        worst = max(row["largest_difference"] for row in rows.values())
        wrong = sum(len(row["mismatches"]) for row in rows.values())
        left = minutes * (arguments.episodes / (done + 1) - 1)
        print(
            f"\r{done + 1}/{arguments.episodes} episodes, {minutes:.1f} min, {left:.0f} min left, "
            f"largest difference {worst}, {wrong} mismatches   ",
            end="",
            file=sys.stderr,
            flush=True,
        )
        report = {
            "benchmark": "equality",
            "minutes": round(minutes, 1),
            "kernels": {name: os.environ.get(name, "by processor") for name in KERNELS},
            "numpy": np.__version__,
            "roads": rows,
        }
        if arguments.out:
            arguments.out.write_text(json.dumps(report, indent=1))
        if minutes > arguments.minutes:
            break
    print(file=sys.stderr)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
