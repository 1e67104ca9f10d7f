"""Yielding at roundabouts and crossings by predicting conflicts.

The ego vehicle is rolled along its route at several candidate speeds; the others are rolled along
their lanes, and along every way on from there, keeping their speed or braking.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from highway_env.road.road import LaneIndex, RoadNetwork
from scene_reference import ego_frame

from vlsafe_envs.actions import HALF_LENGTH
from vlsafe_envs.scene import Array, Scene

STEP = 0.2  # [s]
HORIZON = 5.0  # [s]
TIMES = np.arange(STEP, HORIZON + 1e-9, STEP)  # (T,)
SIGHT = 70.0  # [m], vehicles farther away are not predicted
PATH_LENGTH = 90  # [m], of a prediction; path points are 1 m apart
COMFORT = 4.0  # [m/s2], with which candidate speeds are reached
DECISION_TIME = 1.5  # [s], kept besides the time to stop
BRAKING, BRAKING_HORIZON = 3.0, 2.0  # [m/s2], [s]: others may also brake, looked at so far
MARGIN_ALONG, MARGIN_ACROSS = 2.0, 0.6  # [m], added to the sizes of two vehicles
MAX_BRANCHES = 6
LOOK_AHEAD, LOOK_AHEAD_TIME = 3.5, 0.3  # [m], [s]


@dataclass(frozen=True)
class Candidate:
    """A speed that the ego vehicle may go for."""

    speed: float  # [m/s]
    conflict: float  # [s], until the first predicted conflict; inf for none


class ConflictPredictor:
    """Finds the conflicts of candidate speeds on one road network."""

    def __init__(self, network: RoadNetwork) -> None:
        self._network = network
        self._paths: dict[LaneIndex, list[tuple[Array, int]]] = {}

    def best(self, scene: Scene, speeds: list[float], boldness: float = 0.0) -> Candidate:
        """The fastest of ``speeds`` [m/s] that leaves time to stop before any conflict.

        Without one, the speed with the latest conflict.  ``boldness`` in [0, 1] is for those who
        have waited long: it shortens that time and the distance kept.
        """
        others = self._predictions(scene)  # (P, T, 5): x, y, heading, length, width
        candidates = [
            Candidate(speed, self._first_conflict(scene, others, speed, 1.0 - 0.5 * boldness))
            for speed in sorted(speeds, reverse=True)
        ]
        for candidate in candidates:
            needed = (DECISION_TIME + candidate.speed / COMFORT) * (1.0 - 0.4 * boldness)
            if candidate.conflict > needed:
                return candidate
        return max(candidates, key=lambda c: (c.conflict, -c.speed))

    def _first_conflict(self, scene: Scene, others: Array, speed: float, caution: float) -> float:
        if not len(others):
            return math.inf
        ego = _roll_along_route(scene, speed)  # (T, 3)
        turn = others[:, :, 2] - ego[:, 2]
        cos, sin = np.abs(np.cos(turn)), np.abs(np.sin(turn))
        length, width = others[:, :, 3] / 2, others[:, :, 4] / 2
        half_length, half_width = scene.length[0] / 2, scene.width[0] / 2
        reach_along = length * cos + width * sin + half_length + caution * MARGIN_ALONG
        reach_across = length * sin + width * cos + half_width + caution * MARGIN_ACROSS
        dx, dy = others[:, :, 0] - ego[:, 0], others[:, :, 1] - ego[:, 1]  # (P, T)
        ahead_x, ahead_y = np.cos(ego[:, 2]), np.sin(ego[:, 2])
        along, across = dx * ahead_x + dy * ahead_y, dy * ahead_x - dx * ahead_y
        touching = (np.abs(along) < reach_along) & (np.abs(across) < reach_across)  # (P, T)
        times = np.flatnonzero(touching.any(axis=0))
        return float(TIMES[times[0]]) if len(times) else math.inf

    def _predictions(self, scene: Scene) -> Array:
        """Where the others may be at ``TIMES``: ``(P, T, 5)``, one row a possible way.

        NaN where a way is not predicted (it touches nothing then).
        """
        offset = scene.position - scene.position[0]
        local = ego_frame(offset, scene.heading[0])
        right_of_way = self._right_of_way(scene)
        rows = []
        for i in range(1, len(scene.position)):
            turn = abs(math.remainder(scene.heading[i] - scene.heading[0], 2 * math.pi))
            # Whoever follows the ego vehicle keeps its own distance.
            follows = local[i, 0] < 0 and abs(local[i, 1]) < 3.0 and turn < math.pi / 4
            if follows or np.hypot(*offset[i]) > SIGHT:
                continue
            for poses in self._ways_of(scene, i, right_of_way):  # (T, 3)
                size = np.broadcast_to([scene.length[i], scene.width[i]], (len(TIMES), 2))
                rows.append(np.concatenate([poses, size], axis=1))
        return np.array(rows).reshape(-1, len(TIMES), 5)

    def _right_of_way(self, scene: Scene) -> int:
        """Priority of the lane on which the ego vehicle crosses the junction ahead."""
        for k in range(len(scene.route) - 1):
            delta = scene.route[k + 1] - scene.route[k]
            heading = math.atan2(delta[1], delta[0])
            lane_index = self._network.get_closest_lane_index(scene.route[k], heading)
            if lane_index[0].startswith("ir"):  # highway-env's name for a junction's entries
                return int(self._network.get_lane(lane_index).priority)
        return 0

    def _ways_of(self, scene: Scene, i: int, right_of_way: int) -> list[Array]:
        """Pose arrays ``(T, 3)`` of vehicle ``i``: every way on, keeping speed and braking."""
        speed = max(float(scene.speed[i]), 0.0)
        lane_index = self._network.get_closest_lane_index(scene.position[i], scene.heading[i])
        lane = self._network.get_lane(lane_index)
        along, across = lane.local_coordinates(scene.position[i])
        braking = np.minimum(TIMES, speed / BRAKING)
        driven = [speed * TIMES, speed * braking - BRAKING / 2 * braking**2]  # (T,) [m]
        ways = []
        for path, priority in self._paths_from(lane_index):
            if priority < right_of_way:  # it has to wait for the ego vehicle
                continue
            for k, way in enumerate(driven):
                places = np.clip(along + way, 0, len(path) - 1).astype(int)
                poses = path[places].copy()  # (T, 3)
                poses[:, 0] -= across * np.sin(poses[:, 2])
                poses[:, 1] += across * np.cos(poses[:, 2])
                if k == 1:
                    poses[TIMES > BRAKING_HORIZON] = np.nan
                ways.append(poses)
        return ways

    def _paths_from(self, lane_index: LaneIndex) -> list[tuple[Array, int]]:
        """Ways on from the start of a lane: points ``(K, 3)``, and the junction's priority."""
        if lane_index not in self._paths:
            lane = self._network.get_lane(lane_index)
            ways = self._extend(lane_index, PATH_LENGTH + lane.length)[:MAX_BRANCHES]
            self._paths[lane_index] = [
                (np.concatenate([points for points, _ in way]), self._waits_at(way)) for way in ways
            ]
        return self._paths[lane_index]

    def _waits_at(self, way: list[tuple[Array, LaneIndex]]) -> int:
        """Priority of the crossing lane that a way still has ahead; 99 when it is on it or past."""
        for _, lane_index in way[1:]:
            if lane_index[0].startswith("ir"):
                return int(self._network.get_lane(lane_index).priority)
        return 99

    def _extend(self, lane_index: LaneIndex, length: float) -> list[list[tuple[Array, LaneIndex]]]:
        """All ways on from the start of a lane, as lists of its points ``(K, 3)`` and lanes."""
        lane = self._network.get_lane(lane_index)
        places = np.arange(0.0, min(lane.length, length), 1.0)
        points = np.array([[*lane.position(s, 0.0), lane.heading_at(s)] for s in places])
        start, end, lane_id = lane_index
        left = length - lane.length
        if left <= 0 or end not in self._network.graph:
            return [[(points, lane_index)]]
        ways = []
        for following, lanes in self._network.graph[end].items():
            if len(lanes) == len(self._network.graph[start][end]):
                next_id = lane_id
            else:
                exit_point = lane.position(lane.length, 0.0)
                next_id = min(range(len(lanes)), key=lambda k: lanes[k].distance(exit_point))
            for way in self._extend((end, following, next_id), left):
                ways.append([(points, lane_index), *way])
        return ways


def _roll_along_route(scene: Scene, target: float) -> Array:
    """Ego poses ``(T, 3)`` at ``TIMES``, changing to ``target`` [m/s] at a comfortable rate."""
    points = np.concatenate([scene.position[:1], scene.route])  # (K + 1, 2)
    if len(points) == 1:  # no route known: straight on
        ahead = np.array([math.cos(scene.heading[0]), math.sin(scene.heading[0])])
        points = np.concatenate([points, points + 64.0 * ahead])
    gaps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    way = np.concatenate([[0.0], np.cumsum(gaps)])  # (K + 1,) [m]
    start = float(scene.speed[0])
    change = np.clip(target - start, -COMFORT * TIMES, COMFORT * TIMES)
    driven = np.cumsum(np.maximum(start + change, 0.0)) * STEP  # (T,) [m]
    x, y = np.interp(driven, way, points[:, 0]), np.interp(driven, way, points[:, 1])
    segment = np.clip(np.searchsorted(way, driven, side="right") - 1, 0, len(gaps) - 1)
    delta = np.diff(points, axis=0)[segment]
    return np.stack([x, y, np.arctan2(delta[:, 1], delta[:, 0])], axis=1)


def pursuit_steering(scene: Scene, route: Array) -> float | None:
    """Wheel angle [rad] towards ``route`` ``(K, 2)`` a little ahead (pure pursuit).

    None when there is nothing of it ahead.
    """
    local = ego_frame(route - scene.position[0], scene.heading[0])  # (K, 2)
    distance = np.hypot(local[:, 0], local[:, 1])
    nearest = int(np.argmin(distance)) if len(distance) else 0
    local, distance = local[nearest:], distance[nearest:]
    if len(local) < 2:
        return None
    reach = LOOK_AHEAD + LOOK_AHEAD_TIME * max(float(scene.speed[0]), 0.0)
    ahead, right = (float(np.interp(reach, distance, local[:, k])) for k in (0, 1))
    curvature = 2.0 * right / max(ahead * ahead + right * right, 1.0)  # [1/m]
    return math.atan(2.0 * math.tan(math.asin(float(np.clip(HALF_LENGTH * curvature, -0.7, 0.7)))))


class RouteFollower:
    """Steers along the route, and along the last one known while the vehicle seems off it.

    Where lanes part, the lane nearest to a vehicle may for a moment be the wrong one.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the route."""
        self._route = np.zeros((0, 2))

    def steering(self, scene: Scene) -> float | None:
        """Wheel angle [rad]; None without a route, known now or remembered."""
        if len(scene.route):
            self._route = np.concatenate([scene.position[:1], scene.route])
        return pursuit_steering(scene, self._route)


def curve_speed(scene: Scene, lateral_acceleration: float, reach: float = 16.0) -> float:
    """Speed [m/s] that keeps to a lateral acceleration [m/s2] in the next ``reach`` metres."""
    points = np.concatenate([scene.position[:1], scene.route])[: int(reach / 4) + 2]
    if len(points) < 3:
        return math.inf
    delta = np.diff(points[1:], axis=0)
    headings = np.arctan2(delta[:, 1], delta[:, 0])
    if len(headings) < 2:
        return math.inf
    turns = np.abs([math.remainder(t, 2 * math.pi) for t in np.diff(headings)])
    curvature = float(turns.max()) / 4.0  # [1/m], route points are 4 m apart
    return math.sqrt(lateral_acceleration / curvature) if curvature > 1e-6 else math.inf
