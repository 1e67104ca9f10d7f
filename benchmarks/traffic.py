"""Steps a second of the compiled traffic engine and of highway-env, side by side.

    python benchmarks/traffic.py --seconds 2 --scenarios highway merge

Both simulators drive the same configuration in the same run, in turns, with the same seeds and
random actions; resets count.  Given is the median of several windows, per processor second, because
others may use the machine; for ours also per second of the clock, which is what all threads
together reach.  Rows that begin with a number are of so many environments in one call, beside one
environment of highway-env, which has no other way.  ``highway-v0`` is highway-env's own environment
with its own defaults (50 vehicles, 15 Hz) against ours with the same traffic and vector
observations.  The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import Any, NamedTuple

import gymnasium as gym
import highway_env  # noqa: F401 - registers highway-v0
import numpy as np

import vlsafe_envs  # noqa: F401 - registers ours
from vlsafe_envs.drivers import make_driver
from vlsafe_envs.drivers.many import DriverBatch
from vlsafe_envs.options import make_scenario
from vlsafe_envs.scenarios import SCENARIO_NAMES, TrafficConfig
from vlsafe_envs.simulators.engine import CompiledTraffic
from vlsafe_envs.simulators.highway_env.traffic import HighwayEnvTraffic
from vlsafe_envs.threads import thread_count

ENGINES = ("compiled", "highway_env")
HIGHWAY_V0 = {
    "vehicles": 50,
    "density": 1.0,
    "target_speeds": (20.0, 25.0, 30.0),
    "policy_frequency": 1,
    "offroad_terminal": False,
}
LEAST_STEPS = 20  # in a window, so that slow simulators do not depend on a reset more or less
Step = Callable[[], None]


class Rate(NamedTuple):
    """Steps a second."""

    processor: float
    clock: float


class Indifferent:
    """A scorer that takes no time."""

    identity: dict[str, Any] = {"name": "indifferent"}  # noqa: RUF012

    def __call__(self, frames: Any, infos: Any = None) -> Any:
        """All frames look safe."""
        return np.ones(len(frames), np.float32)


def traffic_step(config: TrafficConfig, engine: str, decisions: int = 40) -> Step:
    """Random driving of the bare simulator, reset after a crash or ``decisions``."""
    traffic = CompiledTraffic(config) if engine == "compiled" else HighwayEnvTraffic(config)
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
    """Driving of an environment, at random or by a driver; ``frame`` draws the scorer's too."""
    seeds, done = iter(range(10**9)), True
    env.action_space.seed(0)
    pilot = None if driver is None else make_driver(driver, env, np.random.default_rng(0))

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


def vector_step(
    scenario: str, num_envs: int, expert: bool = False, scorer: Any = None, **options: Any
) -> Step:
    """Driving of many environments in one call, at random or by experts."""
    name = f"VLSafe-{scenario.capitalize()}-v0"
    env = gym.make_vec(name, num_envs=num_envs, engine="compiled", scorer=scorer, **options)
    env.reset(seed=0)
    env.action_space.seed(0)
    if not expert:
        return lambda: env.step(env.action_space.sample()) and None
    drivers, slots = DriverBatch(env), list(range(num_envs))
    fresh = np.ones(num_envs, bool)

    def step() -> None:
        nonlocal fresh
        for slot in np.flatnonzero(fresh).tolist():
            drivers.assign(slot, "expert", np.random.default_rng(0))
        actions = drivers.act(slots)
        fresh = env._over.copy()  # type: ignore[attr-defined]  # these are reset by the step
        env.step(actions)

    return step


def measure(step: Step, seconds: float, count: int = 1) -> Rate:
    """Rate in a window of at least some processor seconds and steps; a call makes ``count``."""
    clock, processor, steps = time.perf_counter(), time.process_time(), 0
    while steps < LEAST_STEPS or time.process_time() - processor < seconds:
        step()
        steps += count
    return Rate(steps / (time.process_time() - processor), steps / (time.perf_counter() - clock))


def median(rates: list[Rate]) -> Rate:
    """The median of each."""
    return Rate(*np.median(np.array(rates), axis=0).tolist())


class Table:
    """Measures and prints one row after the other."""

    def __init__(self, seconds: float, windows: int, num_envs: int) -> None:
        self.window = seconds / windows  # processor seconds
        self.windows, self.num_envs = windows, num_envs
        self.rows: list[dict[str, Any]] = []
        print(f"{'':38s} {'compiled':>9s} {'(clock)':>9s} {'highway-env':>12s} {'ratio':>7s}")

    def compare(self, name: str, make: Callable[[str], Step]) -> Rate:
        """Rates of both engines, in turns; the first step of each is not counted."""
        steps = {engine: make(engine) for engine in ENGINES}
        for step in steps.values():
            step()
        rates: dict[str, list[Rate]] = {engine: [] for engine in ENGINES}
        for _ in range(self.windows):
            for engine in ENGINES:
                rates[engine].append(measure(steps[engine], self.window))
        ours, theirs = (median(rates[engine]) for engine in ENGINES)
        self._print(name, ours, theirs)
        return theirs

    def many(self, name: str, step: Step, reference: Rate) -> None:
        """Rate of many environments at once, beside highway-env's from a row before."""
        step()
        rates = [measure(step, self.window, self.num_envs) for _ in range(self.windows)]
        self._print(f"{self.num_envs} x {name}", median(rates), reference)

    def _print(self, name: str, ours: Rate, theirs: Rate) -> None:
        ratio = ours.processor / theirs.processor
        numbers = f"{ours.processor:9.0f} {ours.clock:9.0f} {theirs.processor:12.1f} {ratio:6.0f}x"
        print(f"{name:38s} {numbers}", flush=True)
        row = {"name": name, "compiled": ours.processor, "compiled_clock": ours.clock}
        self.rows.append(row | {"highway_env": theirs.processor, "ratio": ratio})


def highway_v0(engine: str) -> Step:
    """highway-env's own default, and ours with the same traffic."""
    if engine == "highway_env":
        return env_step(gym.make("highway-v0"))
    options = {"observation": "vector", "scorer": None, "engine": engine}
    return env_step(gym.make("VLSafe-Highway-v0", **options, **HIGHWAY_V0))


def measure_scenario(table: Table, scenario: str) -> None:
    """All rows of one road."""
    table.compare(f"{scenario}: traffic", partial(traffic_step, make_scenario(scenario).traffic))
    variants: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
        ("vector", "vector", {}, {}),
        ("image 64x64", "image", {}, {}),
        ("image, scorer's frame", "image", {"frame": True}, {"scorer": Indifferent()}),
        ("expert, vector", "vector", {"driver": "expert"}, {"expert": True}),
    ]
    name = f"VLSafe-{scenario.capitalize()}-v0"
    for label, observation, one, many in variants:

        def make(engine: str, observation: str = observation, one: Any = one) -> Step:
            env = gym.make(name, engine=engine, scorer=None, observation=observation)
            return env_step(env, **one)

        theirs = table.compare(f"{scenario}: {label}", make)
        step = vector_step(scenario, table.num_envs, observation=observation, **many)
        table.many(f"{scenario}: {label}", step, theirs)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--seconds", type=float, default=2.0, help="processor's, per engine and row"
    )
    parser.add_argument("--windows", type=int, default=5, help="the median of so many is given")
    parser.add_argument("--num-envs", type=int, default=64)
    parser.add_argument("--scenarios", nargs="+", default=list(SCENARIO_NAMES))
    arguments = parser.parse_args()
    versions = f"Python {platform.python_version()}, highway-env {version('highway-env')}"
    print(f"{platform.machine()}, {versions}, {thread_count()} threads; steps a second")
    table = Table(arguments.seconds, arguments.windows, arguments.num_envs)
    if "highway" in arguments.scenarios:
        theirs = table.compare("highway-v0 (50 vehicles)", highway_v0)
        step = vector_step("highway", table.num_envs, observation="vector", **HIGHWAY_V0)
        table.many("highway-v0 (50 vehicles)", step, theirs)
    for scenario in arguments.scenarios:
        measure_scenario(table, scenario)
    print(json.dumps({"benchmark": "traffic", "threads": thread_count(), "rows": table.rows}))


if __name__ == "__main__":
    main()
