"""What is measured in a scene, as plain NumPy: slow references for the compiled functions."""

from __future__ import annotations

import math

import numpy as np

from vlsafe_envs.scene import Array, Scene
from vlsafe_envs.simulator import EgoStatus


def time_to_collision(scene: Scene, horizon: float = 4.0) -> float:
    """When the projections on all four edge normals of a pair first overlap [s]."""
    if len(scene.position) < 2:
        return float(np.inf)
    direction = np.stack([np.cos(scene.heading), np.sin(scene.heading)], axis=1)  # (N, 2)
    velocity = direction * scene.speed[:, None]  # (N, 2)
    offset = scene.position[1:] - scene.position[0]  # (M, 2), M = N - 1
    drift = velocity[1:] - velocity[0]  # (M, 2)
    ego_axes = np.broadcast_to(_axes(direction[:1]), (len(offset), 2, 2))
    axes = np.concatenate([ego_axes, _axes(direction[1:])], axis=1)  # (M, 4, 2)
    reach = _extent(axes, direction[:1], scene.length[:1], scene.width[:1]) + _extent(
        axes, direction[1:], scene.length[1:], scene.width[1:]
    )  # (M, 4)
    place = np.einsum("mi,mki->mk", offset, axes)  # (M, 4) [m]
    speed = np.einsum("mi,mki->mk", drift, axes)  # (M, 4) [m/s]
    enter, leave = _overlap_interval(place, speed, reach)
    first, last = np.maximum(enter.max(1), 0.0), leave.min(1)  # (M,) [s]
    hits = first[(first <= last) & (first <= horizon)]
    return float(hits.min()) if len(hits) else float(np.inf)


def _axes(direction: Array) -> Array:
    """Edge normals ``(M, 2, 2)`` of rectangles that point along ``direction`` ``(M, 2)``."""
    return np.stack([direction, direction[:, ::-1] * np.array([-1.0, 1.0])], axis=1)


def _extent(axes: Array, direction: Array, length: Array, width: Array) -> Array:
    """Half-widths ``(M, 4)`` [m] of rectangles projected on ``axes`` ``(M, 4, 2)``."""
    along = np.abs(np.einsum("mki,mi->mk", axes, np.broadcast_to(direction, (len(axes), 2))))
    # Not sqrt(1 - along**2): that is 1e-8 where it should be 0.
    across = np.abs(axes[..., 0] * direction[:, None, 1] - axes[..., 1] * direction[:, None, 0])
    return 0.5 * (length[:, None] * along + width[:, None] * across)


def _overlap_interval(place: Array, speed: Array, reach: Array) -> tuple[Array, Array]:
    """When ``|place + speed * t| <= reach`` starts and stops to hold [s]."""
    still = np.abs(speed) < 1e-9
    rate = np.where(still, 1.0, speed)
    edge_a, edge_b = (-reach - place) / rate, (reach - place) / rate
    inside = np.abs(place) <= reach
    enter = np.where(still, np.where(inside, -np.inf, np.inf), np.minimum(edge_a, edge_b))
    leave = np.where(still, np.where(inside, np.inf, -np.inf), np.maximum(edge_a, edge_b))
    return enter, leave


def headway(scene: Scene) -> float:
    """Distance to the nearest rectangle in the strip ahead, over speed [s]."""
    speed = float(scene.speed[0])
    if len(scene.position) < 2 or speed < 1.0:
        return float(np.inf)
    ahead = np.array([np.cos(scene.heading[0]), np.sin(scene.heading[0])])
    left = np.array([-ahead[1], ahead[0]])
    offset = scene.position[1:] - scene.position[0]  # (M, 2)
    turn = scene.heading[1:] - scene.heading[0]
    cos, sin = np.abs(np.cos(turn)), np.abs(np.sin(turn))
    half_along = 0.5 * (scene.length[1:] * cos + scene.width[1:] * sin)
    half_across = 0.5 * (scene.length[1:] * sin + scene.width[1:] * cos)
    along, across = offset @ ahead, offset @ left
    in_strip = (np.abs(across) < half_across + 0.5 * scene.width[0]) & (along > 0)
    gaps = (along - half_along - 0.5 * scene.length[0])[in_strip]
    gaps = np.maximum(gaps[gaps < 100.0], 0.0)
    return float(gaps.min() / speed) if len(gaps) else float(np.inf)


def ego_frame(vectors: Array, heading: float) -> Array:
    """World vectors ``(K, 2)`` as *ahead* and *right* of a vehicle with ``heading`` [rad]."""
    cos, sin = math.cos(heading), math.sin(heading)
    # y points down in the world, so turning +90 degrees from "ahead" is the right-hand side.
    return vectors @ np.array([[cos, -sin], [sin, cos]])


def ego_features(scene: Scene, ego: EgoStatus) -> Array:
    """Features ``(16,)`` of the ego vehicle and its route."""
    own = (
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
    return np.clip([*own, *_route_features(scene)], -1.0, 1.0)


def _route_features(scene: Scene) -> Array:
    features = np.zeros(5)
    if len(scene.route):
        features[0] = 1.0
        last = len(scene.route) - 1
        points = scene.route[[min(2, last), min(9, last)]]  # (2, 2), 12 m and 40 m ahead
        local = ego_frame(points - scene.position[0], scene.heading[0])  # (2, 2)
        local /= np.maximum(np.linalg.norm(local, axis=1, keepdims=True), 1e-6)
        features[1:] = local[0, 1], local[0, 0], local[1, 1], local[1, 0]
    return features
