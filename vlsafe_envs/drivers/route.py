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
from vlsafe_envs.env import DrivingEnv
from vlsafe_envs.simulator import ROUTE_STEP
from vlsafe_envs.tasks.planner import (
    Others,
    RoutePlan,
    best_acceleration,
    best_steering,
    nearest_station,
    route_plan,
)

AGGRESSIVE_SPEED = 11.0  # [m/s]
Choices = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]
# Accelerations [m/s2] and shares of full lock that are tried.
GRID: Choices = (
    np.array([-1.0, 0.0, 1.0]) * MAX_ACCELERATION,
    np.array([-1.0, -1 / 3, 0.0, 1 / 3, 1.0]),
)
FINE: Choices = (GRID[0], np.linspace(-1.0, 1.0, 31))  # finer pedals only creep closer


class RouteDriver:
    """A driver of a route.

    ``name`` is ``expert``, ``timid``, ``aggressive`` or ``inattentive``.
    """

    disturbed = ("noisy",)

    def __init__(self, env: DrivingEnv, name: str, rng: np.random.Generator) -> None:
        self._env: Any = env
        self._simulator: Any = env.simulator
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
            arrival = self._env.rules.arrival * ROUTE_STEP
            self._plan = route_plan(self._simulator.waypoints, arrival)
        columns, progress = self._env.scene.columns, self._env.task.progress
        ego = np.ascontiguousarray(columns[:4, 0])
        around = progress.next * ROUTE_STEP
        station = nearest_station(self._plan.table, around, 6.0, ego[0], ego[1])
        share = best_steering(self._plan, station, ego, self._shares)
        world = self._simulator
        path, stations, speeds = world.hypotheses()
        others = Others(world.table, path, stations, speeds, world.others_yield)
        looks = self._attention.looks()
        acceleration = best_acceleration(
            self._plan, others, ego, station, self._speed, self._accelerations, looks
        )
        lock = full_lock(float(ego[3]))
        return self._env.actions.nearest(acceleration, share * lock, self._env.ego)
