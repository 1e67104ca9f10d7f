"""The vector observation: the ego vehicle, its way ahead and the nearest vehicles.

All features are clipped to [-1, 1].  Offsets and velocities are in the ego vehicle's frame:
*ahead* along its heading, *right* to its right-hand side.

===== ========================= ==========================================================
index feature                   meaning and normalisation
===== ========================= ==========================================================
0     speed                     along the heading, / 40 m/s
1     forward_speed             along the lane, / 40 m/s
2     lane_offset               from the lane's centre, right positive, / 4 m
3     lane_heading_sin          sine of the heading relative to the lane's
4     lane_heading_cos          cosine of it
5     acceleration              last command, / 10 m/s2
6     steering                  last command, / (pi/3) rad
7     target_speed              what the speed controller tracks (else speed), / 40 m/s
8     lanes_left                lanes to the left, / 4
9     lanes_right               lanes to the right, / 4
10    lane_change               target lane minus lane, right positive
11    route                     1 when a route is known, else 0 (then 12 to 15 are 0)
12-13 route_near_sin, _cos      bearing of the route 12 m ahead, right positive
14-15 route_far_sin, _cos       bearing of the route 40 m ahead (or its last point)
16+7k vehicle k: present        1 for a vehicle, 0 for none (then all its features are 0)
17+7k ahead                     offset of its centre, / 100 m
18+7k right                     offset of its centre, / 25 m
19+7k velocity_ahead            minus the ego vehicle's, / 30 m/s
20+7k velocity_right            minus the ego vehicle's, / 30 m/s
21+7k heading_sin               sine of its heading minus the ego vehicle's
22+7k heading_cos               cosine of it
===== ========================= ==========================================================

with k = 0 ... 9 for the nearest ten within 100 m, nearest first.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from .scene import Scene
from .traffic import EgoStatus

NEAREST = 10
VEHICLE_RANGE = 100.0  # [m]
EGO_FEATURES = (
    "speed",
    "forward_speed",
    "lane_offset",
    "lane_heading_sin",
    "lane_heading_cos",
    "acceleration",
    "steering",
    "target_speed",
    "lanes_left",
    "lanes_right",
    "lane_change",
    "route",
    "route_near_sin",
    "route_near_cos",
    "route_far_sin",
    "route_far_cos",
)
VEHICLE_FEATURES = (
    "present",
    "ahead",
    "right",
    "velocity_ahead",
    "velocity_right",
    "heading_sin",
    "heading_cos",
)
FEATURE_NAMES = EGO_FEATURES + tuple(
    f"vehicle{k}_{name}" for k in range(NEAREST) for name in VEHICLE_FEATURES
)
SIZE = len(FEATURE_NAMES)
IMAGE_SIZE = 64  # [px], one a metre
_ROUTE_NEAR, _ROUTE_FAR = 2, 9  # route points are 4 m apart: 12 m and 40 m ahead


def observation_space(kind: str) -> spaces.Space:
    """Space of ``"image"``, ``"vector"`` or ``"multi"`` (a ``Dict`` of both)."""
    image = spaces.Box(0, 255, (IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    vector = spaces.Box(-1.0, 1.0, (SIZE,), np.float32)
    if kind == "image":
        return image
    return vector if kind == "vector" else spaces.Dict(image=image, vector=vector)


def vector_observation(scene: Scene, ego: EgoStatus) -> npt.NDArray[np.float32]:
    """The features listed above, float32 ``(86,)``."""
    vector = np.zeros(SIZE)
    size = len(EGO_FEATURES)
    vector[: size - 5] = (
        ego.speed / 40,
        ego.forward_speed / 40,
        ego.lane_offset / 4,
        math.sin(ego.lane_heading_error),
        math.cos(ego.lane_heading_error),
        ego.acceleration / 10,
        ego.steering / (math.pi / 3),
        ego.target_speed / 40,
        ego.lane_id / 4,
        (ego.lanes - 1 - ego.lane_id) / 4,
        ego.target_lane_id - ego.lane_id,
    )
    vector[size - 5 : size] = _route_features(scene)
    vehicles = _vehicle_features(scene)
    vector[size : size + vehicles.size] = vehicles.ravel()
    return np.clip(vector, -1.0, 1.0).astype(np.float32)


def ego_frame(vectors: npt.NDArray[np.float64], heading: float) -> npt.NDArray[np.float64]:
    """World vectors ``(K, 2)`` as *ahead* and *right* of a vehicle with ``heading`` [rad]."""
    cos, sin = math.cos(heading), math.sin(heading)
    # y points down in the world, so turning +90 degrees from "ahead" is the right-hand side.
    return vectors @ np.array([[cos, -sin], [sin, cos]])


def _route_features(scene: Scene) -> npt.NDArray[np.float64]:
    features = np.zeros(5)
    if len(scene.route):
        features[0] = 1.0
        last = len(scene.route) - 1
        points = scene.route[[min(_ROUTE_NEAR, last), min(_ROUTE_FAR, last)]]  # (2, 2)
        local = ego_frame(points - scene.position[0], scene.heading[0])  # (2, 2)
        local /= np.maximum(np.linalg.norm(local, axis=1, keepdims=True), 1e-6)
        features[1:] = local[0, 1], local[0, 0], local[1, 1], local[1, 0]
    return features


def _vehicle_features(scene: Scene) -> npt.NDArray[np.float64]:
    """Rows ``(K, 7)`` of the nearest vehicles, K <= 10."""
    offset = scene.position[1:] - scene.position[0]  # (M, 2)
    distance = np.linalg.norm(offset, axis=1)
    order = np.argsort(distance, kind="stable")[:NEAREST]
    order = order[distance[order] <= VEHICLE_RANGE]
    heading = scene.heading
    direction = np.stack([np.cos(heading), np.sin(heading)], axis=1)  # (N, 2)
    velocity = direction * scene.speed[:, None]  # (N, 2)
    turn = heading[1:][order] - heading[0]
    rows = np.ones((len(order), len(VEHICLE_FEATURES)))
    rows[:, 1:3] = ego_frame(offset[order], heading[0]) / (100.0, 25.0)
    rows[:, 3:5] = ego_frame((velocity[1:] - velocity[0])[order], heading[0]) / 30.0
    rows[:, 5], rows[:, 6] = np.sin(turn), np.cos(turn)
    return rows
