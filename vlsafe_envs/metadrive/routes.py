"""The ego vehicle's way over a MetaDrive map, as a line to follow.

MetaDrive's navigation names roads; which lane to drive on is left open.  Here a lane is chosen for
every road, with as few lane changes as the roads' connections allow, and a change is a smooth
swerve early on its road.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vlsafe_envs.metadrive.roads import points_on
from vlsafe_envs.simulator import ROUTE_STEP
from vlsafe_envs.tasks.paths import resample

SAMPLE = 0.5  # [m] between samples of a lane
CHANGE_LENGTH = 35.0  # [m], for one lane change where the road is long enough
CHANGE_SHARE = 0.8  # of a road, that a lane change may take at most
_CHANGE, _CRAMPED, _BLOCKED, _GAP = 1.0, 10.0, 100.0, 1000.0  # what the choice of lanes pays for
Points = npt.NDArray[np.float64]
Lanes = Sequence[Any]


def route_roads(navigation: Any) -> list[Lanes]:
    """The lanes of each road between the navigation's checkpoints, leftmost first."""
    graph = navigation.map.road_network.graph
    return [graph[a][b] for a, b in itertools.pairwise(navigation.checkpoints)]


def choose_lanes(
    roads: Sequence[Lanes], first: int, blocked: Sequence[Any] = ()
) -> list[tuple[int, int]]:
    """On which lane to enter and to leave each road, entering the first one on lane ``first``.

    Dynamic programming over roads; it pays for lane changes, more where a road is too short for
    them or for leaving one on a ``blocked`` lane, and most for going on where lanes do not meet.
    """
    costs = {first: 0.0}
    choices: list[dict[int, tuple[int, int]]] = []  # entry to the next road: (entry, exit) here
    for here, there in itertools.zip_longest(roads, roads[1:]):
        following: dict[int, float] = {}
        chosen: dict[int, tuple[int, int]] = {}
        for entry, so_far in costs.items():
            for leave in range(len(here)):
                price = so_far + _change_cost(here[leave].length, abs(leave - entry))
                price += _BLOCKED * any(here[leave] is lane for lane in blocked)
                for target, extra in _continuations(here[leave], there, leave):
                    if price + extra < following.get(target, np.inf):
                        following[target], chosen[target] = price + extra, (entry, leave)
        costs = following
        choices.append(chosen)
    lanes, target = [], min(costs, key=lambda lane: costs[lane])
    for chosen in reversed(choices):
        lanes.append(chosen[target])
        target = chosen[target][0]
    return lanes[::-1]


def _change_cost(length: float, lanes: int) -> float:
    cramped = lanes * CHANGE_LENGTH > CHANGE_SHARE * length
    return lanes * (_CRAMPED if cramped else _CHANGE)


def _continuations(lane: Any, there: Lanes | None, leave: int) -> list[tuple[int, float]]:
    """Lanes of the next road that one may enter from ``lane``, and what that costs."""
    if there is None:
        return [(leave, 0.0)]
    met = [(k, 0.0) for k, other in enumerate(there) if lane.is_previous_lane_of(other)]
    if met:
        return met
    gaps = [float(np.hypot(*(np.asarray(lane.end) - np.asarray(o.start)))) for o in there]
    nearest = int(np.argmin(gaps))
    return [(nearest, _GAP + gaps[nearest])]


def route_points(
    roads: Sequence[Lanes], first: int, start: float, blocked: Sequence[Any] = ()
) -> Points:
    """Waypoints ``(K, 2)`` [m], ``ROUTE_STEP`` apart, from ``start`` [m] of the first lane on."""
    pieces = []
    for k, (entry, leave) in enumerate(choose_lanes(roads, first, blocked)):
        here = roads[k]
        piece = _across(here[entry], here[leave], leave - entry)
        stations = np.linspace(0.0, here[entry].length, len(piece))
        pieces.append(piece[stations >= start] if k == 0 else piece)
    line = np.concatenate(pieces)
    apart = np.concatenate(([np.inf], np.hypot(*np.diff(line, axis=0).T)))
    return resample(line[apart > 1e-3], ROUTE_STEP)


def _across(lane: Any, target: Any, lanes: int) -> Points:
    """From the start of ``lane`` to the end of ``target``, ``lanes`` to its right."""
    stations = np.linspace(0.0, lane.length, max(2, round(lane.length / SAMPLE) + 1))
    if lanes == 0:
        return points_on(lane, stations, np.zeros_like(stations))
    length = min(CHANGE_LENGTH * abs(lanes), CHANGE_SHARE * lane.length)
    begin = 0.1 * (lane.length - length)
    share = np.clip((stations - begin) / length, 0.0, 1.0)
    swerve = share**3 * (10.0 - 15.0 * share + 6.0 * share**2)  # no jerk at either end
    here = points_on(lane, stations, np.zeros_like(stations))
    there = points_on(
        target, np.linspace(0.0, target.length, len(stations)), np.zeros_like(stations)
    )
    return here * (1.0 - swerve[:, None]) + there * swerve[:, None]
