"""How near the others' ways come to the ego vehicle's, once more, in slow and plain NumPy."""

from __future__ import annotations

import numpy as np

from vlsafe_envs.scene import Scene
from vlsafe_envs.simulators.paths.paths import PATH_STEP, PossibleWays

FINE = 1000  # small steps a second
TIMES = np.arange(1, 51) / 10  # [s]


def driven(speed: float, wanted: list[tuple[float, float, float]]) -> np.ndarray:
    """Metres at each of ``TIMES``; ``wanted`` is until when [s], which speed, at most how fast."""
    ways, way = [0.0], 0.0
    for step in range(5 * FINE):
        goal, change = next(w[1:] for w in wanted if step < w[0] * FINE)
        change = np.clip(goal - speed, -change / FINE, change / FINE)
        way += (speed + change / 2) / FINE
        speed += change
        ways.append(way)
    return np.array(ways)[np.rint(TIMES * FINE).astype(int)]


def along(corners: np.ndarray, ways: np.ndarray) -> np.ndarray:
    """x, y, heading ``(T, 3)`` on the polyline, whose last piece goes straight on."""
    last = corners[-1] - corners[-2]
    corners = np.vstack((corners, corners[-1] + last / np.linalg.norm(last) * 1000.0))
    pieces = np.diff(corners, axis=0)
    stations = np.concatenate(([0.0], np.cumsum(np.linalg.norm(pieces, axis=1))))
    places = [np.interp(ways, stations, corners[:, axis]) for axis in (0, 1)]
    piece = np.clip(np.searchsorted(stations, ways, "left") - 1, 0, len(pieces) - 1)
    return np.stack((*places, np.arctan2(*pieces[piece].T[::-1])), 1)


def box(pose: np.ndarray, length: float, width: float) -> np.ndarray:
    """Corners ``(4, 2)`` of a body."""
    ahead = np.array([np.cos(pose[2]), np.sin(pose[2])])
    right = np.array([-ahead[1], ahead[0]])
    sides = [(1, 1), (1, -1), (-1, -1), (-1, 1)]
    return np.array([pose[:2] + a * length / 2 * ahead + b * width / 2 * right for a, b in sides])


def separation(a: np.ndarray, b: np.ndarray) -> float:
    """The largest gap between two bodies along the axes of either, from their corners."""
    gaps = []
    for corners in (a, b):
        for axis in (corners[0] - corners[1], corners[1] - corners[2]):
            axis = axis / np.linalg.norm(axis)
            one, two = a @ axis, b @ axis
            gaps.append(max(one.min() - two.max(), two.min() - one.max()))
    return max(gaps)


def others_places(ways: PossibleWays, h: int, driven: np.ndarray) -> np.ndarray:
    """x, y, heading ``(T, 3)`` of way ``h``; between two points the heading turns evenly."""
    path = ways.path[h]
    count = round(ways.table.length[path] / PATH_STEP) + 1
    points = ways.table.points[ways.table.first[path] :][:count]
    place = (ways.station[h] + driven) / PATH_STEP
    row = np.clip(np.floor(place), 0, count - 2).astype(int)
    share = (place - row)[:, None]
    a, b = points[row], points[row + 1]
    xy = a[:, :2] + share * (b[:, :2] - a[:, :2])
    turn = np.arctan2(np.sin(b[:, 2] - a[:, 2]), np.cos(b[:, 2] - a[:, 2]))
    return np.column_stack((xy, a[:, 2] + np.clip(share[:, 0], 0.0, 1.0) * turn))


def way_set_by_numpy(
    scene: Scene, ways: PossibleWays, cruise_speed: float, acceleration: float
) -> np.ndarray:
    """``(16, 21)``, see ``vlsafe_envs.way_set``."""
    speed, start = float(scene.speed[0]), scene.position[0]
    heading = scene.heading[0]
    corners = np.array([start, *scene.route])
    if len(corners) == 1:
        corners = np.array([start, start + np.array([np.cos(heading), np.sin(heading)])])
    go = (cruise_speed, acceleration)
    plans = [[(9.0, *go)], [(0.5, *go), (9.0, 0.0, 5.0)], [(9.0, 0.0, 5.0)]]
    boxes = []
    for plan in plans:
        metres = driven(speed, plan)
        poses = along(corners, metres)
        poses[metres < 0.05, 2] = heading
        boxes.append([box(pose, scene.length[0], scene.width[0]) for pose in poses])
    distance = np.linalg.norm(scene.position - start, axis=1)
    seen = [k for k in np.argsort(distance, kind="stable") if k and distance[k] <= 100.0][:16]
    rows = np.zeros((16, 21))
    for row, k in zip(rows, seen, strict=False):
        row[:18], touches = 60.0, []
        for h in np.flatnonzero(ways.row == k):
            present = ways.speed[h] * TIMES
            speeds = [present]
            if ways.moves[h] and ways.speed[h] < 30 / 3.6:
                speeds.append(driven(float(ways.speed[h]), [(9.0, 30 / 3.6, 2.0)]))
            gaps = np.empty((len(speeds), 3, 50))
            for s, metres in enumerate(speeds):
                for t, pose in enumerate(others_places(ways, h, metres)):
                    body = box(pose, scene.length[k], scene.width[k])
                    gaps[s, :, t] = [separation(plan[t], body) for plan in boxes]
            gaps = np.clip(gaps, -10.0, 60.0)
            row[:15] = np.minimum(row[:15], gaps[0].reshape(15, 10).min(1))
            row[15:18] = np.minimum(row[15:18], gaps.min((0, 2)))
            touches.append((gaps < 0.3).any((0, 2)))
        if touches:
            row[18:] = np.mean(touches, 0)
    return rows
