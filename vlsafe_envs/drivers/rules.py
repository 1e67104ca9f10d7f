"""Drivers with rules on highway-env's roads; the rules are compiled (``engine.rule_drivers``).

They see an environment's scene, whichever simulator drives it.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from vlsafe_envs.drivers.base import TIMID_SHARE
from vlsafe_envs.scenarios import Scenario, TrafficConfig
from vlsafe_envs.simulator import IdmAdvice
from vlsafe_envs.simulators.engine.compiled_traffic import road_of
from vlsafe_envs.simulators.engine.network import LaneNumbers
from vlsafe_envs.simulators.engine.rule_drivers import (
    BRISK,
    CONTINUOUS,
    DRIVER,
    EXPERT,
    GRID,
    HIGHWAY,
    JUNCTION,
    MERGE,
    META_ACTION,
    RECKLESS,
    decide,
)
from vlsafe_envs.simulators.engine.state import Records, RoadTable
from vlsafe_envs.simulators.engine.ways import NO_WAYS, Ways, find_ways

DISTURBED = ("noisy", "inattentive")  # the expert, but for spells of something else
BRISK_SHARE = 0.88  # of the expert's cruise speed, which traffic lets the expert seldom reach
_ROADS = {"lanes": HIGHWAY, "merging": MERGE, "junction": JUNCTION}
_ACTIONS = {"meta": META_ACTION, "grid": GRID, "continuous": CONTINUOUS}
_NO_ADVICE = IdmAdvice(0.0, 0, 0.0)


def driver_record(name: str, scenario: Scenario) -> Records:
    """One DRIVER record, array ``(1,)``, of a driver with rules."""
    traffic = scenario.traffic
    record = np.zeros(1, DRIVER)
    record["kind"] = RECKLESS if name == "aggressive" else EXPERT
    record["road"] = _ROADS[traffic.road.rules]
    record["action"] = _ACTIONS[traffic.action]
    record["overtakes"] = name != "timid"
    record["speed"] = scenario.cruise_speed * (TIMID_SHARE if name == "timid" else 1.0)
    if name == "aggressive":
        record["speed"] = traffic.road.aggressive_speed
    if name == "brisk" and _ROADS[traffic.road.rules] == HIGHWAY:
        record["kind"] = BRISK
        record["speed"] = scenario.cruise_speed * BRISK_SHARE
    record["period"] = 1.0 / traffic.policy_frequency
    return record


@cache
def _road_and_ways(scenario: str, lanes: int) -> tuple[RoadTable, Ways]:
    network, table = road_of(scenario, lanes)
    if TrafficConfig(scenario, vehicles=0).road.rules != "junction":
        return table, NO_WAYS
    return table, find_ways(table, LaneNumbers(network))


def road_and_ways(config: TrafficConfig) -> tuple[RoadTable, Ways]:
    """The road of ``config``, and the ways over it where drivers have to know them."""
    return _road_and_ways(config.scenario, config.lanes)


class RuleDriver:
    """The ``expert``, ``brisk``, ``aggressive`` or ``timid`` driver."""

    disturbed = DISTURBED

    def __init__(self, env: Any, name: str, rng: np.random.Generator) -> None:
        self._env, self._name = env, name
        self._idm: Any = env.simulator.idm
        self._record = driver_record(name, env.scenario)
        self._speed = float(self._record["speed"][0])  # [m/s]
        self._asks_idm = bool(self._record["kind"][0] == EXPERT)
        self._continuous = env.scenario.traffic.action == "continuous"
        self._target_speeds = np.array(env.scenario.traffic.target_speeds, np.float64)
        self._road = road_and_ways(env.scenario.traffic)

    def reset(self) -> None:
        """Forget the last episode."""
        self._record = driver_record(self._name, self._env.scenario)

    def act(self) -> Any:
        """The action nearest to what the rules advise."""
        scene = self._env.scene
        number, throttle, steering = decide(
            self._record,
            0,
            self._target_speeds,
            *self._road,
            scene.columns,
            len(scene.position),
            self._env.ego,
            scene.route,
            len(scene.route),
            self._idm(self._speed) if self._asks_idm else _NO_ADVICE,
        )
        return np.array([throttle, steering], np.float32) if self._continuous else number
