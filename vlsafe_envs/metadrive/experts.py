"""Drivers for the environments on MetaDrive.

- ``expert`` (and ``brisk``, which is the same here): holds the route, keeps its distance, and looks
  6 s ahead along all ways that may be the others'; see ``tasks.planner``.
- ``timid``: the expert at 0.6 of its speed.
- ``aggressive``: holds the route at 11 m/s and looks out for nobody.
- ``noisy``: the expert with bursts of random actions.
- ``inattentive``: the expert that now and then looks out for nobody for a few seconds.
- ``random``: random actions.
- ``metadrive_ppo``: the policy that MetaDrive ships, its mean action.
- ``metadrive_idm``: MetaDrive's own IDM driver.

All act through the environment's action space.  MetaDrive's two steer and accelerate as they like;
with ``action="continuous"`` that is passed on, with the grid the nearest of 15 actions is taken.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from vlsafe_envs.actions import full_lock
from vlsafe_envs.checks import check_choice
from vlsafe_envs.drivers.base import (
    TIMID_SHARE,
    Attention,
    DisturbedDriver,
    Driver,
    RandomDriver,
)
from vlsafe_envs.metadrive.pedals import acceleration_of, wheel_of
from vlsafe_envs.metadrive.prospects import Prospects
from vlsafe_envs.metadrive.world import MetaDriveWorld, car_of
from vlsafe_envs.tasks.drivers import AGGRESSIVE_SPEED, FINE, GRID
from vlsafe_envs.tasks.planner import (
    RoutePlan,
    best_acceleration,
    best_steering,
    nearest_station,
    route_plan,
)
from vlsafe_envs.tasks.progress import RouteProgress
from vlsafe_envs.tasks.world import ROUTE_STEP

SHIPPED_NAMES = ("metadrive_ppo", "metadrive_idm")
RULE_NAMES = ("expert", "brisk", "timid", "aggressive", "inattentive")
ARRIVAL = 3  # waypoints left
SLACK = 0.8  # of the car's acceleration, that plans count on
PASSING = 2.5  # [m/s], more than those beside
BESIDE = 5.5  # [m], between the middles of two cars
EASY_BRAKING = 2.0  # [m/s2]


def on_metadrive(env: Any) -> bool:
    """Whether an unwrapped environment drives MetaDrive."""
    return isinstance(getattr(env, "world", None), MetaDriveWorld)


def make_metadrive_driver(name: str, env: Any, rng: np.random.Generator) -> Driver:
    """The driver ``name`` for an unwrapped environment on MetaDrive.

    Raises ``ValueError`` for an unknown name.
    """
    check_choice("driver", name, (*RULE_NAMES, "noisy", "random", *SHIPPED_NAMES))
    if name == "random":
        return RandomDriver(env, rng)
    if name == "noisy":
        return DisturbedDriver(env, rng, MetaDriveDriver(env, "expert", rng), name)
    return ShippedDriver(env, name) if name in SHIPPED_NAMES else MetaDriveDriver(env, name, rng)


class MetaDriveDriver:
    """A driver with rules on MetaDrive's maps; ``name`` is one of ``RULE_NAMES``."""

    def __init__(self, env: Any, name: str, rng: np.random.Generator) -> None:
        self._env, self._world = env, env.world
        self._speed = env.scenario.cruise_speed  # [m/s]
        if name == "timid":
            self._speed *= TIMID_SHARE
        if name == "aggressive":
            self._speed = AGGRESSIVE_SPEED
        self._attention = Attention(name, rng, env.scenario.traffic.policy_frequency)
        grid = env.scenario.traffic.action == "grid"
        self._accelerations, self._shares = GRID if grid else FINE
        self._plan: RoutePlan | None = None

    def reset(self) -> None:
        """Forget the last episode."""
        self._plan = None
        self._attention.reset()

    def act(self) -> Any:
        """The action that the planner advises."""
        if self._plan is None:
            route = self._world.clear_route()
            most = car_of(self._world.agent).full_throttle  # [m/s2], less than the grid's 5
            self._plan = route_plan(route, ARRIVAL * ROUTE_STEP, SLACK * most)
            self._reachable = np.minimum(self._accelerations, most)
            self._progress = RouteProgress(route)
            self._prospects = Prospects(self._world, route)
        ego = np.ascontiguousarray(self._env.scene.columns[:4, 0])
        self._progress.advance(ego[0], ego[1])
        around = self._progress.next * ROUTE_STEP
        station = nearest_station(self._plan.table, around, 6.0, ego[0], ego[1])
        share = best_steering(self._plan, station, ego, self._shares)
        speed, looks = self._speed, self._attention.looks()
        if looks:
            speed = min(speed, passing_speed(self._env.scene.columns))
        acceleration = min(
            best_acceleration(self._plan, others, ego, station, speed, self._reachable, looks)
            for others in self._prospects.others()
        )
        lock = full_lock(float(ego[3]))
        return self._env.actions.nearest(acceleration, share * lock, self._env.ego)


def passing_speed(columns: npt.NDArray[np.float64]) -> float:
    """The speed [m/s] at which to pass what drives on the lanes beside; ``inf``: nobody is there.

    MetaDrive's drivers change lanes into whoever is beside them, so nobody is passed by much faster
    than he drives.  ``columns``: see ``Scene.columns``.
    """
    dx, dy = columns[0, 1:] - columns[0, 0], columns[1, 1:] - columns[1, 0]
    cos, sin = np.cos(columns[2, 0]), np.sin(columns[2, 0])
    ahead, right = dx * cos + dy * sin, np.abs(dy * cos - dx * sin)
    way = np.cos(columns[2, 1:] - columns[2, 0])
    beside = (right < BESIDE) & (way > 0.7) & (ahead > -3.0) & (ahead < 30.0)
    if not beside.any():
        return math.inf
    slowest = np.maximum(columns[3, 1:][beside], 0.0) + PASSING
    room = np.maximum(ahead[beside] - 8.0, 0.0)  # [m] to brake in
    return float(np.sqrt(slowest**2 + 2 * EASY_BRAKING * room).min())


class ShippedDriver:
    """A driver of MetaDrive's own."""

    def __init__(self, env: Any, name: str) -> None:
        self._env, self._world, self._name = env, env.world, name
        self._policy: Any = None

    def reset(self) -> None:
        """Forget the last episode."""
        self._policy = None

    def _pedals(self) -> tuple[float, float]:
        """MetaDrive's steering and throttle, each in [-1, 1]."""
        agent = self._world.agent
        if self._name == "metadrive_ppo":
            from metadrive.examples.ppo_expert.numpy_expert import expert

            steering, throttle = expert(agent, deterministic=True)
        else:
            if self._policy is None:
                from metadrive.policy.idm_policy import IDMPolicy

                self._policy = IDMPolicy(agent, self._world.map_index)
            steering, throttle = self._policy.act()
        return float(np.clip(steering, -1, 1)), float(np.clip(throttle, -1, 1))

    def act(self) -> Any:
        """The action nearest to what MetaDrive's driver does."""
        steering, throttle = self._pedals()
        car = car_of(self._world.agent)
        wish = acceleration_of(throttle, car), wheel_of(steering, car)
        return self._env.actions.nearest(*wish, self._env.ego)
