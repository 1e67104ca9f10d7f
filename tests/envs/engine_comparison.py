"""Runs the compiled engine and highway-env side by side and measures how far they part."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vlsafe_envs.costs import headway, time_to_collision
from vlsafe_envs.engine import CompiledTraffic
from vlsafe_envs.engine.network import LaneNumbers
from vlsafe_envs.highway_env_traffic import HighwayEnvTraffic
from vlsafe_envs.observations import vector_observation
from vlsafe_envs.options import make_scenario
from vlsafe_envs.scenarios import ACTION_KINDS, SCENARIO_NAMES, TrafficConfig
from vlsafe_envs.simulator import EgoStatus, Simulator
from vlsafe_envs.task import Moment, Outcome, make_info, out_of_time
from vlsafe_envs.tasks import CruiseTask

MAX_OTHERS = {"highway": 24, "merge": 12, "roundabout": 12, "intersection": 12}
COLUMNS = ("x", "y", "heading", "speed", "acceleration", "steering")  # of every vehicle


@dataclass
class Comparison:
    """What one episode, driven twice, showed."""

    difference: float = 0.0  # largest over all numbers of all vehicles at all steps
    worst: str = ""  # where that was
    of: dict[str, float] = field(default_factory=dict)  # largest difference of each quantity
    mismatch: str = ""  # first difference in anything discrete
    steps: int = 0
    crashed: set[int] = field(default_factory=set)  # rows of vehicles seen crashed
    lane_changes: int = 0  # of the other vehicles
    yielding: int = 0  # vehicles x steps
    off_road: bool = False
    ego_crashed: bool = False

    def differ(self, name: str, ours: Any, reference: Any) -> None:
        """Note the difference of two arrays or numbers."""
        ours, reference = np.atleast_1d(ours).astype(float), np.atleast_1d(reference).astype(float)
        if ours.shape != reference.shape:
            self.mismatch = self.mismatch or f"{name}: {ours.shape} != {reference.shape}"
        elif ours.size:
            unequal = ours != reference  # without equal infinities
            gap = float(np.abs(ours[unequal] - reference[unequal]).max(initial=0.0))
            if not gap <= self.of.setdefault(name, 0.0):  # NaN counts
                self.of[name] = gap
            if not gap <= self.difference:
                self.difference, self.worst = gap, f"{name} at step {self.steps}"

    def same(self, name: str, ours: Any, reference: Any) -> None:
        """Note a discrete disagreement."""
        if not np.array_equal(ours, reference) and not self.mismatch:
            self.mismatch = f"{name} at step {self.steps}: {ours} != {reference}"


def random_config(rng: np.random.Generator, **fixed: Any) -> TrafficConfig:
    """A random road, traffic, kind of action and decision rate."""
    scenario = fixed.pop("scenario", None) or str(rng.choice(SCENARIO_NAMES))
    options: dict[str, Any] = {
        "vehicles": int(rng.integers(0, MAX_OTHERS[scenario] + 1)),
        "density": float(np.round(rng.uniform(0.5, 3.0), 2)),
        "action": str(rng.choice(ACTION_KINDS)),
        "policy_frequency": int(rng.choice([1, 3, 5])),
        "initial_speed": float(np.round(rng.uniform(0.0, 35.0), 1)),
    }
    if scenario == "highway":
        options["lanes"] = int(rng.integers(1, 7))
        options["ego_spacing"] = float(rng.choice([1.0, 2.0, 3.0]))
    if scenario == "intersection":
        options["destination"] = [None, "o1", "o2", "o3"][rng.integers(4)]
    if rng.uniform() < 0.3:
        options["target_speeds"] = (0.0, 8.0, 16.0)
    return TrafficConfig(scenario, **(options | fixed))


def random_action(config: TrafficConfig, rng: np.random.Generator) -> Any:
    """A meta-action, or an acceleration [m/s2] and a mostly small steering angle [rad]."""
    if config.action == "meta":
        return int(rng.integers(5))
    steering = rng.normal(0.0, 0.03) if rng.uniform() < 0.95 else rng.uniform(-0.7, 0.7)
    return np.array([rng.uniform(-5.0, 5.0), steering])


def compare(
    config: TrafficConfig,
    seed: int,
    decisions: int,
    actions: list[Any] | None = None,
    advice: bool = False,
) -> Comparison:
    """Drive the same episode with both simulators; random actions unless they are given."""
    result = Comparison()
    ours, reference = CompiledTraffic(config), HighwayEnvTraffic(config)
    ours.reset(np.random.default_rng(seed))
    reference.reset(np.random.default_rng(seed))
    rng = np.random.default_rng([seed, 1])
    numbers = LaneNumbers(ours.network)
    task = _task(config)
    _compare_now(result, ours, reference, numbers)
    for k in range(decisions):
        if advice:
            _compare_advice(result, ours, reference, float(rng.uniform(5.0, 30.0)))
        before = ours.vehicles["target_lane"].copy()
        egos = ours.ego, reference.ego
        action = actions[k % len(actions)] if actions else random_action(config, rng)
        ours.step(action)
        reference.step(action)
        result.steps += 1
        if len(before) == len(ours.vehicles):
            result.lane_changes += int((before != ours.vehicles["target_lane"])[1:].sum())
        _compare_now(result, ours, reference, numbers)
        if result.mismatch:
            break
        outcomes = [
            _outcome(task, ego, traffic, result.steps)
            for ego, traffic in zip(egos, (ours, reference), strict=True)
        ]
        _compare_outcomes(result, *outcomes)
    return result


def _task(config: TrafficConfig) -> CruiseTask:
    """The scenario's own, with default rewards and costs."""
    return CruiseTask(dataclasses.replace(make_scenario(config.scenario), traffic=config))


def _outcome(
    task: CruiseTask, before: EgoStatus, traffic: Simulator, steps: int
) -> tuple[Outcome, bool, dict[str, Any]]:
    """What the task says, whether time is up, and the info."""
    scene = traffic.scene
    now = Moment(traffic.ego, steps, 0.0, time_to_collision(scene), headway(scene), scene)
    outcome = task.step(traffic, before, now)
    return outcome, out_of_time(task, now, outcome.terminated), make_info(task, now, outcome)


def _compare_outcomes(result: Comparison, ours: Any, reference: Any) -> None:
    """Rewards, costs and ends of episodes."""
    result.differ("reward", ours[0].reward, reference[0].reward)
    for name in ("cost", "time_to_collision", "headway"):
        result.differ(name, ours[2][name], reference[2][name])
    result.same("terminated", ours[0].terminated, reference[0].terminated)
    result.same("truncated", ours[1], reference[1])


def _compare_now(
    result: Comparison,
    ours: CompiledTraffic,
    reference: HighwayEnvTraffic,
    numbers: LaneNumbers,
) -> None:
    cars, theirs = ours.vehicles, reference._road.vehicles
    result.same("number of vehicles", len(cars), len(theirs))
    if result.mismatch:
        return
    for name in COLUMNS:
        result.differ(name, cars[name], [_value(car, name) for car in theirs])
    steered = [k for k, car in enumerate(theirs) if hasattr(car, "target_speed")]
    result.differ("target_speed", cars["target_speed"][steered], _all(theirs, "target_speed"))
    targets = [numbers.lane(index) for index in _all(theirs, "target_lane_index")]
    result.same("target lane", cars["target_lane"][steered], targets)
    result.same("lane", cars["lane"], [numbers.lane(car.lane_index) for car in theirs])
    result.same("crashed", cars["crashed"], [int(car.crashed) for car in theirs])
    yielding = [int(getattr(car, "is_yielding", False)) for car in theirs]
    result.same("yielding", cars["yielding"], yielding)
    result.crashed |= set(np.flatnonzero(cars["crashed"]).tolist())
    result.yielding += int(cars["yielding"].sum())
    for name in ("position", "heading", "speed", "length", "width", "route"):
        result.differ(f"scene.{name}", getattr(ours.scene, name), getattr(reference.scene, name))
    vectors = [vector_observation(traffic.scene, traffic.ego) for traffic in (ours, reference)]
    result.differ("vector observation", *vectors)
    status, expected = ours.ego._asdict(), reference.ego._asdict()
    for name, value in status.items():
        result.differ(f"ego.{name}", value, expected[name])
        result.same(f"type of ego.{name}", type(value).__name__, type(expected[name]).__name__)
    result.off_road |= not ours.ego.on_road
    result.ego_crashed |= ours.ego.crashed


def _compare_advice(
    result: Comparison, ours: CompiledTraffic, reference: HighwayEnvTraffic, speed: float
) -> None:
    mine, theirs = ours.idm(speed), reference.idm(speed)
    result.differ("idm.acceleration", mine.acceleration, theirs.acceleration)
    result.differ("idm.steering", mine.steering, theirs.steering)
    result.same("idm.lane_change", mine.lane_change, theirs.lane_change)


def _value(car: Any, name: str) -> float:
    if name in ("x", "y"):
        return float(car.position["xy".index(name)])
    return float(car.action[name] if name in ("acceleration", "steering") else getattr(car, name))


def _all(cars: list[Any], name: str) -> list[Any]:
    return [getattr(car, name) for car in cars if hasattr(car, name)]
