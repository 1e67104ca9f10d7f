"""What a scorer costs in the loop, per environment step, before and after distillation.

    python benchmarks/scoring.py --scenarios highway merge --windows 7

The same environments are stepped in the same run, in turns, with the same seeds and random actions:
without a scorer, with the bundled CLIP (224 px frames), with a distilled scorer (the agent's own
image of 64 px), and with one that takes no time but wants its frame of 224 px, which says what
drawing that frame costs by itself.  Observations are images.

"Price" is what a scorer adds to a step, in processor time, because others may use the machine; "of
a step" is that against the bare step measured right before it.  Both are medians over windows, with
the lowest and the highest in brackets.  Network and frame are also timed alone.  The last line is
JSON.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from traffic import Indifferent, Step, env_step, measure, vector_step

from vlsafe_envs.scenarios import SCENARIO_NAMES
from vlsafe_envs.threads import limit_threads, thread_count
from wrappers import make_scorer

BARE = "no scorer"
FRAME_ALONE = "224 px frame alone"


def scorers_by_name(distilled: str) -> dict[str, Any]:
    """Scorers by name; the first is none."""
    return {
        BARE: None,
        FRAME_ALONE: Indifferent(),
        "bundled": make_scorer("bundled"),
        distilled: make_scorer(distilled),
    }


def steps_of(scenario: str, num_envs: int, scorers: dict[str, Any]) -> dict[str, Step]:
    """One call of each environment, ``num_envs`` together or one by itself."""
    if num_envs > 1:
        return {
            name: vector_step(scenario, num_envs, scorer=scorer, observation="image")
            for name, scorer in scorers.items()
        }
    env_id = f"VLSafe-{scenario.capitalize()}-v0"
    return {
        name: env_step(gym.make(env_id, engine="compiled", scorer=scorer, observation="image"))
        for name, scorer in scorers.items()
    }


def prices(
    steps: dict[str, Step], num_envs: int, windows: int, seconds: float
) -> dict[str, np.ndarray]:
    """Microseconds of processor time per environment step, ``(windows,)`` for each scorer."""
    for step in steps.values():
        step()  # compiling, loading
    found: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(windows):
        for name, step in steps.items():
            found[name].append(1e6 / measure(step, seconds / windows, num_envs).processor)
    return {name: np.array(values) for name, values in found.items()}


def row(name: str, times: np.ndarray, bare: np.ndarray) -> dict[str, Any]:
    """A scorer's price, with the bare step of the same window beside it."""
    share = times / bare - 1
    return {
        "scorer": name,
        "step_us": float(np.median(times)),
        "price_us": float(np.median(times - bare)),
        "share": float(np.median(share)),
        "share_lowest": float(share.min()),
        "share_highest": float(share.max()),
    }


def measure_scenario(
    scenario: str, num_envs: int, scorers: dict[str, Any], windows: int, seconds: float
) -> dict[str, Any]:
    """All scorers on one road."""
    times = prices(steps_of(scenario, num_envs, scorers), num_envs, windows, seconds)
    rows = [row(name, values, times[BARE]) for name, values in times.items()]
    for entry in rows:
        spread = f"({entry['share_lowest']:.0%} to {entry['share_highest']:.0%})"
        price = (
            "" if entry["scorer"] == BARE else f"{entry['price_us']:10.1f} {entry['share']:9.0%}"
        )
        name = f"{num_envs} x {scenario}: {entry['scorer']}"
        print(f"{name:52s} {entry['step_us']:9.1f} {price} {spread if price else ''}", flush=True)
    return {"scenario": scenario, "num_envs": num_envs, "rows": rows}


def network_alone(scorer: Any, size: int, batch: int, windows: int) -> float:
    """Microseconds a frame of a scorer called on random frames, the median of ``windows``."""
    frames = np.random.default_rng(0).integers(0, 256, (batch, size, size, 3)).astype(np.uint8)
    scorer(frames)
    taken = []
    for _ in range(windows):
        began = time.process_time()
        scorer(frames)
        taken.append((time.process_time() - began) / batch * 1e6)
    return float(np.median(taken))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=10.0, help="processor's, per scorer")
    parser.add_argument("--windows", type=int, default=9, help="the median of so many is given")
    parser.add_argument("--num-envs", type=int, nargs="+", default=[64, 1])
    parser.add_argument("--scenarios", nargs="+", default=list(SCENARIO_NAMES))
    parser.add_argument("--distilled", default="distilled", help='or "distilled:<folder>"')
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    limit_threads(arguments.threads)
    scorers = scorers_by_name(arguments.distilled)
    print(f"{platform.machine()}, PyTorch {torch.__version__}, {thread_count()} threads")
    alone = {
        "bundled": network_alone(scorers["bundled"], 224, 64, arguments.windows),
        arguments.distilled: network_alone(scorers[arguments.distilled], 64, 64, 100),
    }
    for name, microseconds in alone.items():
        print(f"{name}: {microseconds:.1f} us a frame by itself, 64 at once")
    print(f"\n{'microseconds of a processor':52s} {'step':>9s} {'price':>10s} {'of a step':>9s}")
    found = [
        measure_scenario(scenario, number, scorers, arguments.windows, arguments.seconds)
        for number in arguments.num_envs
        for scenario in arguments.scenarios
    ]
    result = {"threads": thread_count(), "alone_us": alone, "scenarios": found}
    print(json.dumps({"benchmark": "scoring", **result}))


if __name__ == "__main__":
    main()
