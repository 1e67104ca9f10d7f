"""Steps a second of the compiled traffic engine and of highway-env, side by side.

    python benchmarks/traffic.py --seconds 2 --scenarios highway merge

Both simulators drive the same configuration in the same run, in turns, with the same seeds and
random actions; resets count.  Processor seconds are used, because others may use the machine.
``highway-v0`` is highway-env's own environment with its own defaults (50 vehicles, 15 Hz)
against ours with the same traffic and vector observations.  The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import gymnasium as gym
import highway_env  # noqa: F401 - registers highway-v0
import numpy as np

import vlsafe_envs  # noqa: F401 - registers ours
from vlsafe_envs.driving_env import make_traffic
from vlsafe_envs.scenarios import SCENARIO_NAMES, SCENARIOS, TrafficConfig

ENGINES = ("compiled", "highway_env")
HIGHWAY_V0 = {
    "vehicles": 50,
    "density": 1.0,
    "target_speeds": (20.0, 25.0, 30.0),
    "policy_frequency": 1,
    "offroad_terminal": False,
}
Step = Callable[[], None]


def traffic_step(config: TrafficConfig, engine: str, decisions: int = 40) -> Step:
    """Random driving of the bare simulator, reset after a crash or ``decisions``."""
    traffic = make_traffic(config, engine)
    rng, seeds = np.random.default_rng(0), iter(range(10**9))
    left = 0

    def step() -> None:
        nonlocal left
        if left == 0 or traffic.ego.crashed:
            traffic.reset(np.random.default_rng(next(seeds)))
            left = decisions
        traffic.step(int(rng.integers(5)))
        left -= 1

    return step


def env_step(env: gym.Env[Any, Any], frame: bool = False, driver: str | None = None) -> Step:
    """Driving of an environment, at random or by a driver; ``frame`` draws the judge's too."""
    seeds, done = iter(range(10**9)), True
    env.action_space.seed(0)
    pilot = None
    if driver is not None:
        from vlsafe_envs.experts import make_driver

        pilot = make_driver(driver, env, np.random.default_rng(0))

    def step() -> None:
        nonlocal done
        if done:
            env.reset(seed=next(seeds))
            if pilot is not None:
                pilot.reset()
        action = env.action_space.sample() if pilot is None else pilot.act()
        _, _, terminated, truncated, _ = env.step(action)
        done = terminated or truncated
        if frame:
            env.unwrapped.safety_frame()  # type: ignore[attr-defined]

    return step


def rate(step: Step, seconds: float, least: int = 3) -> float:
    """Steps a processor second, of at least ``least`` steps."""
    started, steps = time.process_time(), 0
    while steps < least or time.process_time() - started < seconds:
        step()
        steps += 1
    return steps / (time.process_time() - started)


def compare(name: str, make: Callable[[str], Step], seconds: float) -> dict[str, Any]:
    """Rates of both engines, in two turns each; the first step of each is not counted."""
    steps = {engine: make(engine) for engine in ENGINES}
    for step in steps.values():
        step()
    rates = {engine: [rate(steps[engine], seconds / 2) for _ in range(2)] for engine in ENGINES}
    ours, theirs = (float(np.mean(rates[engine])) for engine in ENGINES)
    print(f"{name:34s} {ours:10.0f} {theirs:12.1f} {ours / theirs:8.0f}x", flush=True)
    return {"name": name, "compiled": ours, "highway_env": theirs, "ratio": ours / theirs}


def rows(scenarios: list[str], seconds: float) -> list[dict[str, Any]]:
    """Measure every row of the table."""
    results = []

    def highway_v0(engine: str) -> Step:
        if engine == "highway_env":
            return env_step(gym.make("highway-v0"))
        options = {"observation": "vector", "scorer": None, "engine": engine}
        return env_step(gym.make("VLSafe-Highway-v0", **options, **HIGHWAY_V0))

    if "highway" in scenarios:
        results.append(compare("highway-v0 (50 vehicles)", highway_v0, seconds))
    for scenario in scenarios:
        config = SCENARIOS[scenario].traffic
        name = f"VLSafe-{scenario.capitalize()}-v0"
        results.append(compare(f"{scenario}: traffic", lambda e: traffic_step(config, e), seconds))  # noqa: B023
        variants: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
            ("vector", {"observation": "vector"}, {}),
            ("image 64x64", {"observation": "image"}, {}),
            ("image and judge's frame", {"observation": "image"}, {"frame": True}),
            ("expert, vector", {"observation": "vector"}, {"driver": "expert"}),
        ]
        for label, options, extra in variants:

            def make(engine: str, options: Any = options, extra: Any = extra) -> Step:
                env = gym.make(name, engine=engine, scorer=None, **options)  # noqa: B023
                return env_step(env, **extra)

            results.append(compare(f"{scenario}: {label}", make, seconds))
    return results


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=1.0, help="per engine and row")
    parser.add_argument("--scenarios", nargs="+", default=list(SCENARIO_NAMES))
    arguments = parser.parse_args()
    versions = f"Python {platform.python_version()}, highway-env {version('highway-env')}"
    print(f"{platform.machine()}, {versions}")
    print(f"{'':34s} {'compiled':>10s} {'highway-env':>12s} {'ratio':>9s}   [steps/s]")
    results = rows(arguments.scenarios, arguments.seconds)
    print(json.dumps({"benchmark": "traffic", "seconds": arguments.seconds, "rows": results}))


if __name__ == "__main__":
    main()
