"""Drivers of a route on MetaDrive's maps, and the two that MetaDrive ships.

Those of a route look 6 s ahead along all ways that may be the others'; see ``planner``.
MetaDrive's two steer and accelerate as they like; with ``action="continuous"`` that is passed on,
with the grid the nearest of 15 actions is taken.
"""

from __future__ import annotations

import math
import weakref
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vlsafe_envs.drivers.planner import (
    RoutePlan,
    best_acceleration,
    nearest_station,
    route_plan,
)
from vlsafe_envs.drivers.prospects import Prospects
from vlsafe_envs.drivers.route import RouteDriver
from vlsafe_envs.simulator import ROUTE_STEP
from vlsafe_envs.simulators.metadrive.pedals import acceleration_of, wheel_of
from vlsafe_envs.simulators.metadrive.world import MetaDriveWorld, car_of

Array = npt.NDArray[np.float64]
ARRIVAL = 3  # waypoints left
SLACK = 0.8  # of the car's acceleration, that plans count on
PASSING = 2.5  # [m/s], more than those beside
BESIDE = 5.5  # [m], between the middles of two cars
EASY_BRAKING = 2.0  # [m/s2]


class _Course(NamedTuple):
    """What drivers of one episode work out once: drivers are made anew for every branch."""

    route: Array  # (K, 2) [m]
    plan: RoutePlan
    prospects: Prospects


_COURSES: weakref.WeakKeyDictionary[MetaDriveWorld, _Course] = weakref.WeakKeyDictionary()


def _course_of(world: MetaDriveWorld) -> _Course:
    """The course of the episode that ``world`` is in."""
    route, known = world.clear_route(), _COURSES.get(world)
    if known is None or known.route is not route:
        most = car_of(world.agent).full_throttle  # [m/s2], less than the grid's 5
        plan = route_plan(route, ARRIVAL * ROUTE_STEP, SLACK * most)
        known = _COURSES[world] = _Course(route, plan, Prospects(world, route))
    return known


class MetaDriveRouteDriver(RouteDriver):
    """A driver of a route on MetaDrive's maps."""

    def _look(self) -> tuple[RoutePlan, Array, float]:
        """See :class:`RouteDriver`."""
        if self._plan is None:
            route, self._plan, self._prospects = _course_of(self._simulator)
            most = car_of(self._simulator.agent).full_throttle
            self._reachable = np.minimum(self._accelerations, most)
            self._progress = self._simulator.progress_on(route)
        ego = np.ascontiguousarray(self._env.scene.columns[:4, 0])
        self._progress.advance(ego[0], ego[1])
        around = self._progress.next * ROUTE_STEP
        return self._plan, ego, nearest_station(self._plan.table, around, 6.0, ego[0], ego[1])

    def _advised(self, plan: RoutePlan, ego: Array, station: float) -> float:
        """See :class:`RouteDriver`."""
        speed, looks = self.speed, self._attention.looks()
        if looks:
            speed = min(speed, passing_speed(self._env.scene.columns))
        return min(
            best_acceleration(plan, others, ego, station, speed, self._reachable, looks)
            for others in (self._prospects.others() if looks else [self._prospects.nobody()])
        )


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

    disturbed = ()

    def __init__(self, env: Any, name: str, rng: np.random.Generator) -> None:
        self._env, self._simulator, self._name = env, env.simulator, name
        self._policy: Any = None

    def reset(self) -> None:
        """Forget the last episode."""
        self._policy = None

    def _pedals(self) -> tuple[float, float]:
        """MetaDrive's steering and throttle, each in [-1, 1]."""
        agent = self._simulator.agent
        if self._name == "metadrive_ppo":
            from metadrive.examples.ppo_expert.numpy_expert import expert

            steering, throttle = expert(agent, deterministic=True)
        else:
            if self._policy is None:
                from metadrive.policy.idm_policy import IDMPolicy

                self._policy = IDMPolicy(agent, self._simulator.map_index)
            steering, throttle = self._policy.act()
        return float(np.clip(steering, -1, 1)), float(np.clip(throttle, -1, 1))

    def act(self) -> Any:
        """The action nearest to what MetaDrive's driver does."""
        steering, throttle = self._pedals()
        car = car_of(self._simulator.agent)
        wish = acceleration_of(throttle, car), wheel_of(steering, car)
        return self._env.actions.nearest(*wish, self._env.ego)
