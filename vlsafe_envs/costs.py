"""What counts as dangerous: pure functions over a scene, and the environment's own cost.

Times are simulator truth.  Thresholds: a time-to-collision under 2 s or a headway under 0.5 s
makes a gap unsafe.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .scene import Array, Scene

HORIZON = 4.0  # [s], conflicts later than this are not looked for
TTC_THRESHOLD = 2.0  # [s]
HEADWAY_THRESHOLD = 0.5  # [s]
HEADWAY_RANGE = 100.0  # [m], a leader farther away is none
MIN_HEADWAY_SPEED = 1.0  # [m/s], below it the ego vehicle has no headway


@dataclass(frozen=True)
class CostConfig:
    """Weights of the cost terms.

    Events that end the episode weigh 10 because the end cuts off all later costs.
    """

    collision: float = 10.0
    off_road: float = 10.0  # counted on the step that ends the episode
    unsafe_gap: float = 1.0  # per decision

    def __post_init__(self) -> None:
        for name in ("collision", "off_road", "unsafe_gap"):
            value = getattr(self, name)
            if not np.isfinite(value) or value < 0:
                raise ValueError(f"cost weight {name}={value!r}: give a number that is >= 0")


def time_to_collision(scene: Scene, horizon: float = HORIZON) -> float:
    """Time [s] until the ego vehicle touches another if all keep velocity and heading.

    Exact for oriented rectangles in straight motion: on each of the four edge normals of a pair,
    the projections overlap during one interval of time; they touch when all four overlap
    (separating axes).  It needs no lanes, so it holds at junctions too.

    Returns 0 when they touch already and ``np.inf`` when nothing is hit within ``horizon`` [s].
    """
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
    across = np.sqrt(np.maximum(1.0 - along**2, 0.0))
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
    """Time [s] that the ego vehicle takes to drive up to its leader's rear bumper.

    The leader is the nearest vehicle that reaches into the straight strip, as wide as the ego
    vehicle, ahead of it, up to 100 m.  ``np.inf`` without one, or below 1 m/s.
    """
    speed = float(scene.speed[0])
    if len(scene.position) < 2 or speed < MIN_HEADWAY_SPEED:
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
    gaps = np.maximum(gaps[gaps < HEADWAY_RANGE], 0.0)
    return float(gaps.min() / speed) if len(gaps) else float(np.inf)


def unsafe_gap(time_to_collision: float, headway: float) -> float:
    """How unsafe the gap is, in [0, 1].

    ``max(1 - TTC / 2 s, 1 - headway / 0.5 s, 0)``: 0 when neither threshold is undercut, 1 at
    contact, linear between.
    """
    by_ttc = 1.0 - time_to_collision / TTC_THRESHOLD
    by_headway = 1.0 - headway / HEADWAY_THRESHOLD
    return float(max(by_ttc, by_headway, 0.0))


def cost_terms(
    collision: bool, off_road_end: bool, time_to_collision: float, headway: float
) -> dict[str, float]:
    """The cost's raw terms: ``collision`` {0, 1}, ``off_road`` {0, 1}, ``unsafe_gap`` [0, 1].

    ``off_road_end`` is true on the step that ends the episode because the ego vehicle left the
    road.
    """
    return {
        "collision": float(collision),
        "off_road": float(off_road_end),
        "unsafe_gap": unsafe_gap(time_to_collision, headway),
    }


def weighted_cost(terms: dict[str, float], config: CostConfig) -> float:
    """``sum(weight * term)``: the environment's own cost, >= 0."""
    return float(sum(getattr(config, name) * value for name, value in terms.items()))
