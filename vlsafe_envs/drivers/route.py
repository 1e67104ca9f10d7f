"""Drivers of a route on this package's own roads.

The ``expert`` sees what a frame shows: poses and speeds, but not which way a car will take before
it takes it; see ``planner``.  The ``aggressive`` driver holds the route at 11 m/s.  The
``inattentive`` one looks out for nobody for a few seconds now and then, then brakes as late as it
takes: data of close calls, from which a learner sees how to get out of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from vlsafe_envs.actions import MAX_ACCELERATION, full_lock
from vlsafe_envs.drivers.base import TIMID_SHARE, Attention
from vlsafe_envs.drivers.planner import (
    Others,
    RoutePlan,
    best_acceleration,
    best_steering,
    nearest_station,
    route_plan,
)
from vlsafe_envs.env import DrivingEnv
from vlsafe_envs.simulator import ROUTE_STEP

AGGRESSIVE_SPEED = 11.0  # [m/s]
Array = npt.NDArray[np.float64]
Choices = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]
# Accelerations [m/s2] and shares of full lock that are tried.
GRID: Choices = (
    np.array([-1.0, 0.0, 1.0]) * MAX_ACCELERATION,
    np.array([-1.0, -1 / 3, 0.0, 1 / 3, 1.0]),
)
FINE: Choices = (GRID[0], np.linspace(-1.0, 1.0, 31))  # finer pedals only creep closer


class RouteDriver:
    """A driver of a route.

    ``name`` is ``expert``, ``timid``, ``aggressive`` or ``inattentive``; ``careless`` is the expert
    that looks out for nobody.
    """

    disturbed = ("noisy",)

    def __init__(self, env: DrivingEnv, name: str, rng: np.random.Generator) -> None:
        self._env: Any = env
        self._simulator: Any = env.simulator
        self.speed = env.scenario.cruise_speed  # [m/s], wished
        if name == "timid":
            self.speed *= TIMID_SHARE
        if name == "aggressive":
            self.speed = AGGRESSIVE_SPEED
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
        plan, ego, station = self._look()
        share = best_steering(plan, station, ego, self._shares)
        return self._nearest(self._advised(plan, ego, station), share, ego)

    def follow(self, acceleration: float) -> Any:
        """The action that holds the route at an acceleration [m/s2], whatever comes of it."""
        plan, ego, station = self._look()
        return self._nearest(acceleration, best_steering(plan, station, ego, self._shares), ego)

    def _nearest(self, acceleration: float, share: float, ego: Array) -> Any:
        lock = full_lock(float(ego[3]))
        return self._env.actions.nearest(acceleration, share * lock, self._env.ego)

    def _look(self) -> tuple[RoutePlan, Array, float]:
        """The route, the ego vehicle's x, y, heading, speed, and its station [m] on the route."""
        if self._plan is None:
            arrival = self._env.rules.arrival * ROUTE_STEP
            self._plan = route_plan(self._simulator.waypoints, arrival)
        columns, progress = self._env.scene.columns, self._env.task.progress
        ego = np.ascontiguousarray(columns[:4, 0])
        around = progress.next * ROUTE_STEP
        return self._plan, ego, nearest_station(self._plan.table, around, 6.0, ego[0], ego[1])

    def _advised(self, plan: RoutePlan, ego: Array, station: float) -> float:
        """The acceleration [m/s2] that the planner advises."""
        world = self._simulator
        path, stations, speeds, _ = world.hypotheses()
        others = Others(world.table, path, stations, speeds, world.others_yield)
        looks = self._attention.looks()
        return best_acceleration(plan, others, ego, station, self.speed, self._accelerations, looks)
