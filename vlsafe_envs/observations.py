"""What the agent sees: images, the vector, the vehicles as a set (``vehicle_set``), or several.

On roads with a route the set may come with the ways that the vehicles may take (``way_set``).

The vector is the ego vehicle, its way ahead and its neighbours.

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
16+7k neighbour k: present      1 for a vehicle, 0 for an empty slot
17+7k ahead                     offset of its centre, / 100 m; empty: 1 or (behind) -1
18+7k right                     offset of its centre, / 25 m; empty: of the slot's lane
19+7k velocity_ahead            minus the ego vehicle's, / 30 m/s; empty: 0
20+7k velocity_right            minus the ego vehicle's, / 30 m/s; empty: 0
21+7k heading_sin               sine of its heading minus the ego vehicle's; empty: 0
22+7k heading_cos               cosine of it; empty: 1
===== ========================= ==========================================================

The neighbours, within 100 m, are named by their slots: on the lane to the left (k = 0 ... 2), on
its own (3 ... 5) and to the right (6 ... 8) the first ahead, the second ahead and the first behind;
then the nearest beyond those lanes: left ahead, right ahead, left behind, right behind (9 ... 12).
Lanes are strips of 4 m beside the ego vehicle's own, straight on.

On roads whose ways cross (roundabout, intersection, left and right turn) most vehicles fit no slot
of their own, and many come from the side.  There the vector goes on to 212 features, up to 15 of
the others, nearest first (k = 13 ... 27; empty ones straight ahead), and all *right* are / 100 m:
nobody within 100 m is left out, or shown at another place, until there are 17.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from vlsafe_envs.scene import Scene
from vlsafe_envs.simulator import EgoStatus
from vlsafe_envs.simulators.engine.features import CROSSING_SIZE, write_ego, write_features
from vlsafe_envs.vehicle_set import vehicles_space
from vlsafe_envs.way_set import ways_space

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
LANE_SLOTS = tuple(
    f"{lane}_{place}"
    for lane in ("left", "own", "right")
    for place in ("first", "second", "behind")
)
SLOT_NAMES = (
    *LANE_SLOTS,
    "beyond_left",
    "beyond_right",
    "beyond_left_behind",
    "beyond_right_behind",
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
    f"{slot}_{name}" for slot in SLOT_NAMES for name in VEHICLE_FEATURES
)
SIZE = len(FEATURE_NAMES)
IMAGE_SIZE = 64  # [px], one a metre


class VectorKind(NamedTuple):
    """What a vector observation holds, and its bounds."""

    low: float
    high: float
    size: int
    read: Callable[[Any, Scene, EgoStatus], npt.NDArray[np.float32]]  # simulator, scene, ego


def vector_observation(scene: Scene, ego: EgoStatus, size: int = SIZE) -> npt.NDArray[np.float32]:
    """The features listed above, float32 ``(107,)``, or ``(212,)`` where ways cross."""
    vector = np.empty(size, np.float32)
    columns, route = scene.columns, scene.route
    write_features(columns, columns.shape[1], ego, route, len(route), vector)
    return vector


def ego_observation(scene: Scene, ego: EgoStatus) -> npt.NDArray[np.float32]:
    """The first 16 of the features listed above, float32 ``(16,)``."""
    vector = np.empty(len(EGO_FEATURES), np.float32)
    write_ego(scene.columns, ego, scene.route, len(scene.route), vector)
    return vector


FEATURES = VectorKind(-1.0, 1.0, SIZE, lambda _, scene, ego: vector_observation(scene, ego))
CROSSING_FEATURES = VectorKind(
    -1.0, 1.0, CROSSING_SIZE, lambda _, scene, ego: vector_observation(scene, ego, CROSSING_SIZE)
)
# What each observation is made of; one of a single part is that part, others are a ``Dict``.
PARTS = {
    "image": ("image",),
    "vector": ("vector",),
    "multi": ("image", "vector"),
    "vehicles": ("ego", "vehicles"),
    "ways": ("ego", "vehicles", "ways"),
    "all": ("ego", "image", "vector", "vehicles"),
}
OBSERVATION_KINDS = tuple(PARTS)


def observation_space(kind: str, features: VectorKind = FEATURES) -> spaces.Space[Any]:
    """Space of one of ``OBSERVATION_KINDS``."""
    all_parts: dict[str, spaces.Space[Any]] = {
        "image": spaces.Box(0, 255, (IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8),
        "vector": spaces.Box(features.low, features.high, (features.size,), np.float32),
        "ego": spaces.Box(-1.0, 1.0, (len(EGO_FEATURES),), np.float32),
        "vehicles": vehicles_space(),
        "ways": ways_space(),
    }
    parts = {name: all_parts[name] for name in PARTS[kind]}
    return parts[kind] if tuple(parts) == (kind,) else spaces.Dict(parts)


def make_observation(kind: str, read: Mapping[str, Callable[[], Any]]) -> Any:
    """An observation of one of ``OBSERVATION_KINDS``, of what reads its parts by name."""
    parts = {name: read[name]() for name in PARTS[kind]}
    return parts[kind] if tuple(parts) == (kind,) else parts
