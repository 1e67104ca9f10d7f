"""Lanes and routes as polylines, for simulators whose vehicles keep to them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vlsafe_envs.render import LaneShape, Line
from vlsafe_envs.simulators.engine.state import compiled_core
from vlsafe_envs.tasks.progress import headings_of

Points = npt.NDArray[np.float64]

PATH_STEP = 0.5  # [m] between the samples of a path


class PathTable(NamedTuple):
    """Paths in arrays, for compiled code."""

    points: Points  # (M, 3) x, y [m] and heading [rad], PATH_STEP apart within a path
    first: npt.NDArray[np.int64]  # (P,) row of each path's first point
    length: Points  # (P,) [m]
    fork: Points  # (P, P) [m], up to which two paths are the same; 0 when they never were


class PossibleWays(NamedTuple):
    """Where the others may be going, as far as a frame shows it; one row a possibility."""

    table: PathTable
    path: npt.NDArray[np.int64]  # (H,) of the table
    station: Points  # (H,) [m]
    speed: Points  # (H,) [m/s]
    row: npt.NDArray[np.int64]  # (H,) of whom it is, in ``Scene.columns``
    moves: npt.NDArray[np.bool_]  # (H,) False for what has broken down, and for cones


def straight(start: Sequence[float], end: Sequence[float]) -> Points:
    """Points ``(K, 2)`` from start to end [m], at most a quarter of a metre apart."""
    pieces = max(1, math.ceil(math.dist(start, end) / 0.25))
    share = np.linspace(0.0, 1.0, pieces + 1)[:, None]
    return np.asarray(start) * (1.0 - share) + np.asarray(end) * share


def arc(centre: Sequence[float], radius: float, start: float, end: float) -> Points:
    """Points ``(K, 2)`` on a circle from angle ``start`` to ``end`` [rad]."""
    pieces = max(1, math.ceil(abs(end - start) * radius / 0.25))
    angle = np.linspace(start, end, pieces + 1)
    return np.asarray(centre) + radius * np.stack((np.cos(angle), np.sin(angle)), 1)


def resample(points: Points, step: float) -> Points:
    """The polyline ``(K, 2)`` sampled every ``step`` [m] of its length, from its first point on."""
    along = np.concatenate(([0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))))
    stations = np.arange(0.0, along[-1] + 1e-9, step)
    return np.stack([np.interp(stations, along, points[:, axis]) for axis in (0, 1)], 1)


def path_table(paths: Sequence[Points]) -> PathTable:
    """The paths, each a polyline ``(K, 2)`` [m]."""
    sampled = [resample(path, PATH_STEP) for path in paths]
    rows = [np.column_stack((points, headings_of(points))) for points in sampled]
    counts = np.array([len(row) for row in rows])
    return PathTable(
        points=np.ascontiguousarray(np.concatenate(rows)),
        first=np.concatenate(([0], np.cumsum(counts)[:-1])).astype(np.int64),
        length=(counts - 1) * PATH_STEP,
        fork=np.array([[_fork(a, b) for b in sampled] for a in sampled]),
    )


def _fork(a: Points, b: Points) -> float:
    """How far [m] two sampled paths are the same."""
    count = min(len(a), len(b))
    apart = np.flatnonzero(np.abs(a[:count] - b[:count]).max(1) > 1e-6)
    same = int(apart[0]) if len(apart) else count
    return max(same - 1, 0) * PATH_STEP


@compiled_core
def pose(table: PathTable, path: int, station: float) -> tuple[float, float, float]:
    """x, y [m] and heading [rad] at ``station`` [m] of a path; its ends go straight on."""
    last = round(table.length[path] / PATH_STEP)
    place = station / PATH_STEP
    row = min(max(math.floor(place), 0), last - 1)
    share = place - row
    a, b = table.points[table.first[path] + row], table.points[table.first[path] + row + 1]
    turn = math.sin(b[2] - a[2])  # headings of neighbours differ by little
    bend = min(max(share, 0.0), 1.0) * turn
    return a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1]), a[2] + bend


def lane_shape(centre: Points, width: float, left: Line, right: Line) -> LaneShape:
    """A lane of ``width`` [m] around a centre line ``(K, 2)`` [m], for drawing."""
    steps = np.hypot(*np.diff(centre, axis=0).T)
    tangent = np.gradient(centre, axis=0)
    tangent /= np.hypot(*tangent.T)[:, None]
    rightwards = np.stack((-tangent[:, 1], tangent[:, 0]), 1)  # y points down
    return LaneShape(
        left=centre - rightwards * width / 2,
        right=centre + rightwards * width / 2,
        station=np.concatenate(([0.0], np.cumsum(steps))),
        left_line=left,
        right_line=right,
    )
