"""The tasks that run on the roads of this package: their settings, and how they are built."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vlsafe_envs.checks import (
    check_choice,
    check_integer,
    check_number,
    check_options,
    settings,
    shown,
)
from vlsafe_envs.render import RoadShape
from vlsafe_envs.tasks.four_lane import FOUR_LANE_SHAPE, MOST_VEHICLES, FourLane
from vlsafe_envs.tasks.junction import GAPS, JUNCTION_SHAPE, Junction
from vlsafe_envs.tasks.motion import SIMULATION_FREQUENCY
from vlsafe_envs.tasks.path_world import PathWorld
from vlsafe_envs.tasks.rules import TaskCosts, TaskRewards, TaskRules
from vlsafe_envs.tasks.scenario import TaskScenario, check_task_action
from vlsafe_envs.tasks.task_env import TaskEnv

TASK_NAMES = ("four_lane", "left_turn", "right_turn")
VEHICLES = 50  # on the four-lane road at density 1, as in CarDreamer
TRAFFIC = tuple(GAPS)
_ONLY_FOR = {"vehicles": ("four_lane",), "traffic": ("left_turn", "right_turn")}
_SCENARIO_OPTIONS = ("duration", "cruise_speed")
_ENV_OPTIONS = ("observation", "rewards", "costs", "rules", "scene_in_info", "render_mode")
SHORT_OPTIONS = ("desired_speed", "collision_cost")  # one number of rewards or costs


@dataclass(frozen=True)
class PathTraffic:
    """Settings of a task on one of our roads.

    Raises ``ValueError`` for values that no road can be built from.
    """

    scenario: str
    density: float = 1.0  # multiplies the vehicles, or divides the seconds between them
    vehicles: int = VEHICLES  # four lanes only, at density 1
    traffic: str = "medium"  # turns only: "none", "medium" or "hard"
    action: str = "grid"
    policy_frequency: int = 10  # [Hz]
    initial_speed: float = 0.0  # [m/s], of the ego vehicle

    def __post_init__(self) -> None:
        check_choice("scenario", self.scenario, TASK_NAMES)
        check_number("density", self.density, 0.1, 5.0)
        check_integer("vehicles", self.vehicles, 0, MOST_VEHICLES)
        check_choice("traffic", self.traffic, TRAFFIC)
        check_task_action(self.action)
        check_integer("policy_frequency", self.policy_frequency, 1, SIMULATION_FREQUENCY)
        if SIMULATION_FREQUENCY % self.policy_frequency:
            raise ValueError(
                f"policy_frequency={self.policy_frequency}: it must divide {SIMULATION_FREQUENCY}"
            )
        check_number("initial_speed", self.initial_speed, 0.0, 20.0, "m/s")
        if self.others > MOST_VEHICLES:
            raise ValueError(
                f"density={self.density:g} times vehicles={self.vehicles} makes {self.others} "
                f"vehicles: the road holds {MOST_VEHICLES}, lower one of the two"
            )

    @property
    def others(self) -> int:
        """Vehicles on the four-lane road at this density."""
        return round(self.vehicles * self.density) if self.scenario == "four_lane" else 0


def make_task_scenario(name: str, **overrides: Any) -> TaskScenario:
    """The task ``name`` with some settings replaced; ``None`` means the default.

    Raises ``ValueError`` for an unknown task, unknown setting or impossible value.
    """
    check_choice("scenario", name, TASK_NAMES)
    known = [field.name for field in dataclasses.fields(PathTraffic) if field.name != "scenario"]
    given = {key: value for key, value in overrides.items() if value is not None}
    for key, value in given.items():
        if key not in (*known, *_SCENARIO_OPTIONS):
            names = ", ".join(sorted((*known, *_SCENARIO_OPTIONS)))
            raise ValueError(f"unknown task option {key!r}: the options are {names}")
        if name not in _ONLY_FOR.get(key, TASK_NAMES):
            tasks = " and ".join(_ONLY_FOR[key])
            raise ValueError(f"{key}={shown(value)}: only {tasks} have it")
    traffic = PathTraffic(name, **{k: v for k, v in given.items() if k in known})
    return TaskScenario(traffic, **{k: v for k, v in given.items() if k in _SCENARIO_OPTIONS})


def make_world(traffic: PathTraffic) -> PathWorld:
    """The simulator of a task."""
    road: FourLane | Junction
    if traffic.scenario == "four_lane":
        road = FourLane(traffic.others)
    else:
        turn = traffic.scenario.removesuffix("_turn")
        road = Junction(turn, traffic.traffic, traffic.density)
    return PathWorld(road, traffic.policy_frequency, traffic.initial_speed)


def task_road(name: str) -> RoadShape:
    """The road of a task, which is the same in all episodes."""
    check_choice("scenario", name, TASK_NAMES)
    return FOUR_LANE_SHAPE if name == "four_lane" else JUNCTION_SHAPE


def split_options(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options of ``gym.make`` as those of the scenario and those of :class:`TaskEnv`.

    ``desired_speed`` [m/s] and ``collision_cost`` are short ways to set one number in ``rewards``
    and ``costs``.  What is neither stays with the scenario, which knows its own.  Raises
    ``ValueError`` for wrong types and numbers.
    """
    given = {key: value for key, value in options.items() if value is not None}
    arguments = {key: given.pop(key) for key in _ENV_OPTIONS if key in given}
    for key, kind in (("rewards", TaskRewards), ("costs", TaskCosts), ("rules", TaskRules)):
        settings(key, arguments.get(key), kind)
    if "desired_speed" in given:
        speed = given.pop("desired_speed")
        check_number("desired_speed", speed, 0.5, 40.0, "m/s")
        rewards = arguments.get("rewards", TaskRewards())
        arguments["rewards"] = dataclasses.replace(rewards, desired_speed=float(speed))
    if "collision_cost" in given:
        weight = given.pop("collision_cost")
        check_number("collision_cost", weight, 0.0, 1e6)
        costs = arguments.get("costs", TaskCosts())
        arguments["costs"] = dataclasses.replace(costs, collision=float(weight))
    return given, arguments


def read_task_options(name: str, options: Mapping[str, Any]) -> tuple[TaskScenario, dict[str, Any]]:
    """The task, and the arguments of the environment around it; raises ``ValueError``."""
    fields = (field.name for field in dataclasses.fields(PathTraffic) if field.name != "scenario")
    check_options(options, (*fields, *_SCENARIO_OPTIONS, *_ENV_OPTIONS, *SHORT_OPTIONS))
    scenario, arguments = split_options(options)
    return make_task_scenario(name, **scenario), arguments


def make_task(name: str, options: Mapping[str, Any]) -> TaskEnv:
    """The environment of a task.  Raises ``ValueError`` for unknown options and bad values."""
    scenario, arguments = read_task_options(name, options)
    return TaskEnv(make_world(scenario.traffic), scenario, **arguments)
