"""The set of vehicles once more, in slow and plain NumPy."""

from __future__ import annotations

import numpy as np

from vlsafe_envs.scene import Scene
from vlsafe_envs.simulator import EgoStatus

TIMES = np.arange(26) / 5  # [s]
BETWEEN = np.linspace(0.0, 1.0, 2001)  # of the straight way from one look to the next


def way_ahead(speed: float, wanted: float, acceleration: float) -> np.ndarray:
    """Metres driven at each of ``TIMES``, by adding up small steps of ``acceleration`` [m/s2]."""
    fine = 1000
    ways, way = [0.0], 0.0
    for _ in range(5 * fine):
        change = np.clip(wanted - speed, -acceleration / fine, acceleration / fine)
        way += (speed + change / 2) / fine
        speed += change
        ways.append(way)
    return np.array(ways)[np.rint(TIMES * fine).astype(int)]


def plan(scene: Scene, ego: EgoStatus, cruise_speed: float) -> np.ndarray:
    """Places ``(26, 2)`` [m] of the ego vehicle along its route, or straight along its lane."""
    start = scene.position[0]
    lane = scene.heading[0] - ego.lane_heading_error
    corners = [start, *scene.route]
    if len(corners) == 1:
        corners.append(start + np.array([np.cos(lane), np.sin(lane)]))
    corners = np.array(corners)
    last = corners[-1] - corners[-2]
    corners = np.vstack((corners, corners[-1] + last / np.linalg.norm(last) * 1000.0))
    along = np.concatenate(([0.0], np.cumsum(np.linalg.norm(np.diff(corners, axis=0), axis=1))))
    ways = way_ahead(scene.speed[0], cruise_speed, 5.0 if len(scene.route) else 2.0)
    return np.stack([np.interp(ways, along, corners[:, axis]) for axis in (0, 1)], 1)


def nearest_second_by_second(apart: np.ndarray) -> np.ndarray:
    """Least distances ``(5,)`` [m] of the polyline ``apart (26, 2)`` from (0, 0)."""
    first, last = apart[:-1, None], apart[1:, None]  # (25, 1, 2)
    points = first + BETWEEN[:, None] * (last - first)  # (25, 2001, 2)
    return np.linalg.norm(points, axis=2).min(1).reshape(5, 5).min(1)


def vehicle_set_by_numpy(scene: Scene, ego: EgoStatus, cruise_speed: float) -> np.ndarray:
    """``(16, 14)``, see ``vlsafe_envs.vehicle_set``; nobody may be beyond the bounds."""
    cos, sin = np.cos(scene.heading[0]), np.sin(scene.heading[0])
    frame = np.array([[cos, -sin], [sin, cos]])
    velocity = scene.speed[:, None] * np.stack((np.cos(scene.heading), np.sin(scene.heading)), 1)
    offset = scene.position - scene.position[0]
    distance = np.linalg.norm(offset, axis=1)
    seen = [k for k in np.argsort(distance, kind="stable") if k and distance[k] <= 100.0][:16]
    places = plan(scene, ego, cruise_speed)
    rows = np.zeros((16, 14))
    for row, k in zip(rows, seen, strict=False):
        turned = scene.heading[k] - scene.heading[0]
        going = scene.position[k] + velocity[k] * TIMES[:, None]  # (26, 2)
        apart = nearest_second_by_second(going - places)
        row[:] = [
            1.0,
            *(offset[k] @ frame),
            *((velocity[k] - velocity[0]) @ frame),
            np.cos(turned),
            np.sin(turned),
            scene.length[k],
            scene.width[k],
            *np.minimum(apart, 200.0),
        ]
    return rows
