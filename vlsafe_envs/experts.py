"""Rule-based drivers that act through the environment's own action space.

- ``expert``: IDM and MOBIL; makes room for merging vehicles; yields at junctions.
- ``noisy``: the expert with bursts of random actions.
- ``inattentive``: the expert that now and then does nothing for a while; where there is a route to
  follow it keeps to it then, but sees nobody.
- ``aggressive``: as fast as possible, weaves, brakes late.
- ``brisk``: seeks the freest lane of a highway; elsewhere the expert.
- ``timid``: always slow, never overtakes.
- ``random``: random actions.

Their rules are compiled (``engine.rule_drivers``) and see an environment's scene, whichever engine
drives it.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import gymnasium as gym
import numpy as np

from vlsafe_envs.checks import check_choice, check_rng, shown
from vlsafe_envs.drivers.base import (
    DRIVER_NAMES,
    TIMID_SHARE,
    DisturbedDriver,
    Driver,
    RandomDriver,
)
from vlsafe_envs.driving_env import DrivingEnv
from vlsafe_envs.engine.compiled_traffic import road_of
from vlsafe_envs.engine.network import LaneNumbers
from vlsafe_envs.engine.rule_drivers import (
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
from vlsafe_envs.engine.state import Records, RoadTable
from vlsafe_envs.engine.ways import NO_WAYS, Ways, find_ways
from vlsafe_envs.metadrive.experts import SHIPPED_NAMES, make_metadrive_driver, on_metadrive
from vlsafe_envs.scenarios import Scenario, TrafficConfig
from vlsafe_envs.tasks import TaskEnv
from vlsafe_envs.tasks.drivers import RouteDriver
from vlsafe_envs.traffic import IdmAdvice

DISTURBED = ("noisy", "inattentive")  # the expert, but for spells of something else
BRISK_SHARE = 0.88  # of the expert's cruise speed, which traffic lets the expert seldom reach
AGGRESSIVE_SPEED = {"highway": 32.0, "merge": 32.0, "roundabout": 16.0, "intersection": 14.0}
_ROADS = {"highway": HIGHWAY, "merge": MERGE, "roundabout": JUNCTION, "intersection": JUNCTION}
_ACTIONS = {"meta": META_ACTION, "grid": GRID, "continuous": CONTINUOUS}
_NO_ADVICE = IdmAdvice(0.0, 0, 0.0)


def driver_names(env_id: str) -> tuple[str, ...]:
    """The drivers that an id of ours has; MetaDrive brings two of its own.

    Raises ``ValueError`` for an id that is not ours.
    """
    from vlsafe_envs.registration import METADRIVE_IDS, bare_id

    return (*DRIVER_NAMES, *SHIPPED_NAMES) if bare_id(env_id) in METADRIVE_IDS else DRIVER_NAMES


def make_driver(name: str, env: gym.Env[Any, Any], rng: np.random.Generator) -> Driver:
    """The driver ``name`` for ``env``, which may be wrapped.

    Raises ``ValueError`` for an unknown name, an environment that is none of ours and what is no
    generator.
    """
    check_rng(rng)
    inner = getattr(env, "unwrapped", env)
    if on_metadrive(inner):
        return make_metadrive_driver(name, inner, rng)
    check_choice("driver", name, DRIVER_NAMES)
    if not isinstance(inner, DrivingEnv | TaskEnv):
        raise ValueError(f"env={shown(env)}: drivers need one of the VLSafe environments")
    if name == "random":
        return RandomDriver(inner, rng)
    if isinstance(inner, TaskEnv):
        if name == "noisy":
            return DisturbedDriver(inner, rng, RouteDriver(inner, "expert", rng), name)
        return RouteDriver(inner, name, rng)
    if name in DISTURBED:
        return DisturbedDriver(inner, rng, RuleDriver(inner, "expert"), name)
    return RuleDriver(inner, name)


def driver_record(name: str, scenario: Scenario) -> Records:
    """One DRIVER record, array ``(1,)``, of a driver with rules."""
    traffic = scenario.traffic
    record = np.zeros(1, DRIVER)
    record["kind"] = RECKLESS if name == "aggressive" else EXPERT
    record["road"] = _ROADS[traffic.scenario]
    record["action"] = _ACTIONS[traffic.action]
    record["overtakes"] = name != "timid"
    record["speed"] = scenario.cruise_speed * (TIMID_SHARE if name == "timid" else 1.0)
    if name == "aggressive":
        record["speed"] = AGGRESSIVE_SPEED[traffic.scenario]
    if name == "brisk" and _ROADS[traffic.scenario] == HIGHWAY:
        record["kind"] = BRISK
        record["speed"] = scenario.cruise_speed * BRISK_SHARE
    record["period"] = 1.0 / traffic.policy_frequency
    return record


@cache
def _road_and_ways(scenario: str, lanes: int) -> tuple[RoadTable, Ways]:
    network, table = road_of(scenario, lanes)
    if _ROADS[scenario] != JUNCTION:
        return table, NO_WAYS
    return table, find_ways(table, LaneNumbers(network))


def road_and_ways(config: TrafficConfig) -> tuple[RoadTable, Ways]:
    """The road of ``config``, and the ways over it where drivers have to know them."""
    return _road_and_ways(config.scenario, config.lanes)


class RuleDriver:
    """The ``expert``, ``brisk``, ``aggressive`` or ``timid`` driver."""

    def __init__(self, env: DrivingEnv, name: str) -> None:
        self._env, self._name = env, name
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
            self._env.traffic.idm(self._speed) if self._asks_idm else _NO_ADVICE,
        )
        return np.array([throttle, steering], np.float32) if self._continuous else number
