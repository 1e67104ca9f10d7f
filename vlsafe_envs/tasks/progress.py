"""How far along its route the ego vehicle is, by CarDreamer's waypoint logic.

CarDreamer's ``BasePlanner`` goes through all waypoints of its queue; here only ``visible`` of them
are looked at, or a route that crosses itself would be cut short where it does.
"""

from __future__ import annotations

import copy
import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vlsafe_envs.simulators.engine.state import compiled

Points = npt.NDArray[np.float64]


class Place(NamedTuple):
    """Where the ego vehicle is relative to its next waypoint (the last one, when none is left)."""

    left: int  # waypoints that are left
    distance: float  # [m] to the next waypoint
    offset: float  # [m] from the route's line through it, right positive
    heading_error: float  # [rad], ego heading minus the route's direction there, in [-pi, pi]


class RouteProgress:
    """Counts off the waypoints of one route.

    Args:
        waypoints: ``(K, 2)`` [m], K >= 2, in driving order.
        reach: a waypoint nearer than this [m] is completed.
        visible: how many waypoints ahead are looked at.

    Raises:
        ValueError: for fewer than two waypoints.
    """

    def __init__(self, waypoints: Points, reach: float = 0.5, visible: int = 60) -> None:
        if waypoints.ndim != 2 or waypoints.shape[1] != 2 or len(waypoints) < 2:
            raise ValueError(f"waypoints {waypoints.shape}: give (K, 2) with K >= 2")
        self._points = np.ascontiguousarray(waypoints, np.float64)
        self._headings = headings_of(self._points)
        self._reach, self._visible = reach, visible
        self.next = 0  # index of the next waypoint
        self.completed = 0  # waypoints completed since the start

    def copy(self) -> RouteProgress:
        """Another one on the same route, as far along it."""
        return copy.copy(self)  # the route's arrays are never written to

    @property
    def total(self) -> int:
        """Waypoints of the whole route."""
        return len(self._points)

    @property
    def share(self) -> float:
        """Share of the route that lies behind, in [0, 1]."""
        return self.next / self.total

    def advance(self, x: float, y: float) -> int:
        """Drop the waypoints that lie behind ``(x, y)`` [m]; returns how many were completed."""
        self.next, done = _advance(self._points, self.next, x, y, self._reach, self._visible)
        self.completed += done
        return int(done)

    def place(self, x: float, y: float, heading: float) -> Place:
        """The place of an ego vehicle at ``(x, y)`` [m] with ``heading`` [rad]."""
        return Place(*_place(self._points, self._headings, self.next, x, y, heading))


def headings_of(points: Points) -> Points:
    """Direction [rad] from each of the points ``(K, 2)`` to the next one; ``(K,)``."""
    steps = np.diff(points, axis=0)  # (K - 1, 2)
    headings = np.arctan2(steps[:, 1], steps[:, 0])
    return np.append(headings, headings[-1])


@compiled
def _advance(
    points: Points, start: int, x: float, y: float, reach: float, visible: int
) -> tuple[int, int]:
    """The next waypoint, and how many were completed on the way to it.

    Every waypoint up to the farthest one in reach is dropped; then those before the nearest one.
    """
    nearest = 100.0  # [m]
    first, completed = start, 0
    for k in range(start, min(start + visible, len(points))):
        distance = math.hypot(points[k, 0] - x, points[k, 1] - y)
        if distance < reach:
            completed += 1
            first = k + 1
        elif distance < nearest:
            nearest = distance
            first = k
    return first, completed


@compiled
def _place(
    points: Points, headings: Points, start: int, x: float, y: float, heading: float
) -> tuple[int, float, float, float]:
    left = len(points) - start
    k = min(start, len(points) - 1)
    dx, dy = x - points[k, 0], y - points[k, 1]
    cos, sin = math.cos(headings[k]), math.sin(headings[k])
    error = heading - headings[k]
    error = math.atan2(math.sin(error), math.cos(error))
    return left, math.hypot(dx, dy), dy * cos - dx * sin, error
