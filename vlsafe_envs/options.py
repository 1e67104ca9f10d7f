"""What ``gym.make`` takes for each id: which options there are, and what they make."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from vlsafe_envs.checks import check_range, shown
from vlsafe_envs.registry import ROWS, Row, row_named, row_of
from vlsafe_envs.scenarios import Scenario, TrafficConfig, highway_traffic
from vlsafe_envs.simulators.metadrive.scenario import MetaDriveTraffic
from vlsafe_envs.simulators.paths.traffic import PathTraffic
from vlsafe_envs.task import Task
from vlsafe_envs.tasks.cruise import CruiseTask
from vlsafe_envs.tasks.metadrive import MetaDriveTask
from vlsafe_envs.tasks.route import make_route_task
from wrappers.checks import did_you_mean

SCORING = {"scorer": "bundled", "cost": "either"}
ENV = {"observation": "image", "scene_in_info": False, "render_mode": None}


class SimulatorOptions(NamedTuple):
    """What may be said about a simulator."""

    settings: Any  # dataclass of the traffic, its fields are options
    make: Callable[..., Any]  # it, from the road's name and the options that are given
    others: Mapping[str, Any]  # further options, with defaults


SIMULATORS = {
    "highway_env": SimulatorOptions(TrafficConfig, highway_traffic, {"engine": "auto"}),
    "paths": SimulatorOptions(PathTraffic, PathTraffic, {}),
    "metadrive": SimulatorOptions(
        MetaDriveTraffic,
        MetaDriveTraffic,
        {"vector": "features", "solid_lines": True, "crash_terminal": False},
    ),
}
TASKS: dict[str, Callable[..., Task]] = {
    "cruise": CruiseTask,
    "route": make_route_task,
    "metadrive": MetaDriveTask,
}
_SCENARIO = {"cruise": ("duration",)}  # of the fields of Scenario; else the speed of drivers, too


class Chosen(NamedTuple):
    """What the options of one environment come to."""

    scenario: Scenario
    task: Task
    simulator: dict[str, Any]  # those of ``SimulatorOptions.others`` that the road has, all
    env: dict[str, Any]  # arguments of ``DrivingEnv``


def _scenario_options(row: Row) -> tuple[str, ...]:
    return _SCENARIO.get(row.task, ("duration", "cruise_speed"))


@functools.cache
def option_defaults(row: Row) -> dict[str, Any]:
    """Every option of an id with its default; ``None`` where that follows from others."""
    scenario, simulator = _make_scenario(row, {}), SIMULATORS[row.simulator]
    found = {name: getattr(scenario.traffic, name) for name in _fields(row)}
    found |= {name: getattr(scenario, name) for name in _scenario_options(row)}
    found |= dict(simulator.others) | _task_options(row) | ENV | SCORING
    rows = [other for other in ROWS if other.simulator == row.simulator]
    theirs = {name for other in rows for name in other.own_options} - {*row.own_options}
    return {name: value for name, value in found.items() if name not in theirs}


def _fields(row: Row) -> list[str]:
    fields = dataclasses.fields(SIMULATORS[row.simulator].settings)
    return [field.name for field in fields if field.name != "scenario"]


def _task_options(row: Row) -> dict[str, Any]:
    parameters = inspect.signature(TASKS[row.task]).parameters.values()
    return {one.name: one.default for one in parameters if one.name != "scenario"}


def check_names(row: Row, options: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` for options that an id does not have, naming those that it has."""
    known = option_defaults(row)
    for key, value in options.items():
        if key in known:
            continue
        alike = [r for r in ROWS if (r.simulator, r.task) == (row.simulator, row.task)]
        owners = [other.name for other in alike if key in other.own_options]
        if not owners:
            names = ", ".join(sorted(known)) + did_you_mean(key, known)
            raise ValueError(f"unknown option {key!r}={shown(value)}: the options are {names}")
        if value is not None:
            have = "scenario has" if len(owners) == 1 else "scenarios have"
            raise ValueError(f"{key}={shown(value)}: only the {' and '.join(owners)} {have} it")


def read_options(row: Row, options: Mapping[str, Any]) -> Chosen:
    """What options come to; an option of ``None`` means the default.

    Raises:
        ValueError: for unknown options and impossible values.
    """
    check_names(row, options)
    given = {key: value for key, value in options.items() if value is not None}

    def take(names: Any) -> dict[str, Any]:
        return {name: given.pop(name) for name in names if name in given}

    take(SCORING)
    defaults, others = option_defaults(row), SIMULATORS[row.simulator].others
    simulator = {name: defaults[name] for name in others if name in defaults} | take(others)
    env = take(ENV)
    of_task = take(_task_options(row))
    scenario = _make_scenario(row, given)
    return Chosen(scenario, TASKS[row.task](scenario, **of_task), simulator, env)


def _make_scenario(row: Row, given: Mapping[str, Any]) -> Scenario:
    names = _scenario_options(row)
    traffic = {key: value for key, value in given.items() if key not in names}
    frame = {key: value for key, value in given.items() if key in names}
    density = traffic.get("density")
    if isinstance(density, list | tuple | np.ndarray):
        low, high = check_range("density", density)
        SIMULATORS[row.simulator].make(row.name, **{**row.traffic, **traffic, "density": low})
        traffic["density"], frame["density_range"] = high, (low, high)
    settings = SIMULATORS[row.simulator].make(row.name, **{**row.traffic, **traffic})
    return Scenario(settings, **{**row.scenario, **frame})


def make_scenario(name: str, **options: Any) -> Scenario:
    """The scenario of a road, with some options replaced; ``None`` means the default.

    Raises:
        ValueError: for an unknown road, unknown options and impossible values.
    """
    return read_options(row_named(name), options).scenario


def scenario_of(env_id: str) -> Scenario:
    """The default scenario of an id.

    Raises:
        ValueError: for an id that is not ours.
    """
    return make_scenario(row_of(env_id).name)


def check_env_options(env_id: str, options: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` for options that ``gym.make(env_id)`` does not have, or would refuse.

    Nothing is built, so that MetaDrive need not be installed; ``scorer``, ``observation`` and the
    other arguments of ``DrivingEnv`` itself are checked by name only.
    """
    read_options(row_of(env_id), options)
