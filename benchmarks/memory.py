"""Memory in use over many vectorised steps, which must not grow.

    python benchmarks/memory.py --steps 1000000

Steps environments with images at random, through auto-resets, and prints the resident memory at
intervals.  The last line is JSON; ``growth`` is what the second half of the run added.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time

import gymnasium as gym

import vlsafe_envs  # noqa: F401 - registers the ids

MEGA = 1e6
PAGE = os.sysconf("SC_PAGE_SIZE")


def resident() -> float:
    """Memory of this process [MB] now, not at its peak."""
    with open("/proc/self/statm") as file:  # Linux
        return int(file.read().split()[1]) * PAGE / MEGA


def main() -> None:
    """Print the memory in use."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--env", default="VLSafe-Highway-v0")
    parser.add_argument("--observation", default="image")
    parser.add_argument("--num-envs", type=int, default=64)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--points", type=int, default=20, help="how often to look")
    arguments = parser.parse_args()
    options = {"scorer": None, "engine": "compiled", "observation": arguments.observation}
    env = gym.make_vec(arguments.env, num_envs=arguments.num_envs, **options)
    env.reset(seed=0)
    env.action_space.seed(0)
    calls = math.ceil(arguments.steps / arguments.num_envs / arguments.points)
    megabytes: list[float] = []
    episodes, began, processor = 0, time.perf_counter(), time.process_time()
    for point in range(1, arguments.points + 1):
        for _ in range(calls):
            _, _, terminated, truncated, _ = env.step(env.action_space.sample())
            episodes += int((terminated | truncated).sum())
        megabytes.append(round(resident(), 1))
        steps = point * calls * arguments.num_envs
        print(f"{steps:10,} steps {episodes:8,} episodes {megabytes[-1]:8.1f} MB", flush=True)
    report = {
        "benchmark": "memory",
        "env": arguments.env,
        "observation": arguments.observation,
        "num_envs": arguments.num_envs,
        "steps": steps,
        "episodes": episodes,
        "megabytes": megabytes,
        "growth": round(megabytes[-1] - megabytes[len(megabytes) // 2], 1),
        "steps_per_second": round(steps / (time.perf_counter() - began)),
        "steps_per_processor_second": round(steps / (time.process_time() - processor)),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
