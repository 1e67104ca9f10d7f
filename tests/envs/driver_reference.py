"""Rule-based drivers in plain Python: slow references for the compiled ones."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from junction_reference import ConflictPredictor, RouteFollower, curve_speed
from pilot_reference import LANE_WIDTH, Intent, Pilot
from scene_reference import ego_frame

from vlsafe_envs.actions import MAX_LATERAL_ACCELERATION
from vlsafe_envs.costs import headway
from vlsafe_envs.drivers.base import TIMID_SHARE
from vlsafe_envs.drivers.rules import BRISK_SHARE
from vlsafe_envs.env import DrivingEnv
from vlsafe_envs.highway_env_traffic import build_network
from vlsafe_envs.scene import Array

MAX_BRAKING = -6.0  # [m/s2]
RAMP_END = 315.0  # [m], x behind which nobody merges any more
PATIENCE = (4.0, 12.0)  # [s] of standing still, between which the expert grows bold


def make_reference(name: str, env: DrivingEnv) -> ExpertDriver | AggressiveDriver | BriskDriver:
    """The ``expert``, ``brisk``, ``aggressive`` or ``timid`` driver."""
    if name == "aggressive":
        return AggressiveDriver(env)
    if name == "brisk" and env.scenario.traffic.scenario == "highway":
        return BriskDriver(env)
    cruise = env.scenario.cruise_speed
    if name == "timid":
        return ExpertDriver(env, TIMID_SHARE * cruise, overtakes=False)
    return ExpertDriver(env, cruise)


class ExpertDriver:
    """IDM and MOBIL on highways, conflict prediction at junctions."""

    def __init__(self, env: DrivingEnv, cruise_speed: float, overtakes: bool = True) -> None:
        self._env = env
        self._cruise = cruise_speed
        self._overtakes = overtakes
        self._pilot = Pilot(env)
        self._follower = RouteFollower()
        scenario = env.scenario.traffic.scenario
        self._scenario = scenario
        self._predictor: ConflictPredictor | None = None
        if scenario in ("roundabout", "intersection"):
            self._predictor = ConflictPredictor(build_network(env.scenario.traffic))
        self._standing = 0.0  # [s]

    def reset(self) -> None:
        """Forget the last episode."""
        self._pilot.reset()
        self._follower.reset()
        self._standing = 0.0

    def act(self) -> Any:
        """The action nearest to what the rules advise."""
        if self._predictor is not None:
            return self._pilot.action(self._at_junction(self._predictor))
        return self._pilot.action(self._on_highway())

    def _on_highway(self) -> Intent:
        advice = self._env.simulator.idm(self._cruise)
        acceleration, change = advice.acceleration, advice.lane_change
        if self._scenario == "merge":
            room = self._make_room()
            acceleration = min(acceleration, room)
            if self._env.scene.position[0, 0] < RAMP_END:
                change = -1 if room < math.inf else min(change, 0)
        if not self._overtakes or not lane_is_clear(self._env, change):
            change = 0
        return Intent(acceleration, change)

    def _make_room(self) -> float:
        """Acceleration [m/s2] that lets a vehicle on the ramp ahead come in front; inf: none."""
        ego, scene = self._env.ego, self._env.scene
        if ego.lane_id != 1:  # only the right-hand lane is joined
            return math.inf
        local = ego_frame(scene.position - scene.position[0], scene.heading[0])
        gap = local[:, 0] - scene.length
        on_ramp = (gap > -2.0) & (local[:, 0] < 60.0) & (local[:, 1] > 2.0)
        on_ramp[0] = False
        if not on_ramp.any():
            return math.inf
        nearest = int(np.argmin(np.where(on_ramp, gap, np.inf)))
        wanted = 4.0 + 0.5 * ego.speed  # [m]
        closing = ego.speed - float(scene.speed[nearest])
        if scene.speed[nearest] < 2.0:  # stuck at the ramp's end: pass it slowly
            return float(np.clip(6.0 - ego.speed, -5.0, 1.0)) if gap[nearest] < 25.0 else 1.0
        return float(np.clip(0.3 * (gap[nearest] - wanted) - 0.6 * closing, -3.0, 3.0))

    def _at_junction(self, predictor: ConflictPredictor) -> Intent:
        ego, scene, traffic = self._env.ego, self._env.scene, self._env.scenario.traffic
        advice = self._env.simulator.idm(self._cruise)
        cruise = self._cruise
        if traffic.action != "meta":  # wheel angles are limited; highway-env's own are not
            cruise = min(cruise, curve_speed(scene, 0.7 * MAX_LATERAL_ACCELERATION))
            candidates = [share * cruise for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
        else:
            candidates = [speed for speed in traffic.target_speeds if speed <= cruise]
        period = 1.0 / traffic.policy_frequency
        self._standing = self._standing + period if ego.speed < 0.5 else 0.0
        boldness = float(np.interp(self._standing, PATIENCE, (0.0, 1.0)))
        speed = predictor.best(scene, candidates, boldness).speed
        # The lane ahead is IDM's matter, crossing traffic is the predictor's.
        acceleration = min(max((speed - ego.speed) / 0.6, MAX_BRAKING), advice.acceleration + 1.0)
        if traffic.action == "meta":
            acceleration = min(speed - ego.speed, max(advice.acceleration, MAX_BRAKING))
        return Intent(acceleration, 0, self._follower.steering(scene))


class AggressiveDriver:
    """Drives as fast as it can, changes lanes into any hole and brakes late."""

    def __init__(self, env: DrivingEnv) -> None:
        self._env = env
        self._pilot = Pilot(env)
        self._follower = RouteFollower()
        self._wish = env.scenario.traffic.road.aggressive_speed
        self._junction = env.scenario.traffic.scenario in ("roundabout", "intersection")

    def reset(self) -> None:
        """Forget the last episode."""
        self._pilot.reset()
        self._follower.reset()

    def act(self) -> Any:
        """Faster, unless the leader is about to be hit; round it if a hole is near."""
        ego, scene = self._env.ego, self._env.scene
        acceleration = float(np.clip(2.0 * (self._wish - ego.speed), -5.0, 5.0))
        steering, change = None, 0
        if self._junction:
            steering = self._follower.steering(scene)
            if headway(scene) < 0.8:
                acceleration = MAX_BRAKING
        else:
            gaps, closing = lane_gaps(self._env)
            late = gaps[1] < 4.0 + max(closing[1], 0.0) * 1.0  # [m]
            if late:
                acceleration = MAX_BRAKING
            if gaps[1] < 40.0 and ego.target_lane_id == ego.lane_id:
                best = int(np.argmax(gaps)) - 1
                change = best if gaps[best + 1] > gaps[1] + 5.0 else 0
                if change and late:
                    acceleration = -2.0  # swerve rather than brake
        return self._pilot.action(Intent(acceleration, change, steering))


class BriskDriver:
    """Seeks the freest lane of a highway and follows closely."""

    def __init__(self, env: DrivingEnv) -> None:
        self._env = env
        self._pilot = Pilot(env)
        self._wish = BRISK_SHARE * env.scenario.cruise_speed

    def reset(self) -> None:
        """Forget the last episode."""
        self._pilot.reset()

    def act(self) -> Any:
        """Change to the lane worth most, if it is worth 5 m more and clear."""
        ego = self._env.ego
        gaps, closing = lane_gaps(self._env)
        follow = 0.5 * (gaps[1] - (5.0 + 1.0 * ego.speed)) - closing[1]
        acceleration = np.clip(min(2.0 * (self._wish - ego.speed), follow), MAX_BRAKING, 5.0)
        change = 0
        if ego.target_lane_id == ego.lane_id:
            worth = np.minimum(gaps, 80.0) - 5.0 * np.maximum(closing, -5.0)
            sides = [s for s in (-1, 1) if gaps[s + 1] > 0 and worth[s + 1] > worth[1] + 5.0]
            clear = [s for s in sides if lane_is_clear(self._env, s)]
            change = max(clear, key=lambda s: worth[s + 1], default=0)
        return self._pilot.action(Intent(float(acceleration), change))


def lane_positions(env: DrivingEnv) -> tuple[Array, Array]:
    """Distance ahead [m] and lanes to the right of the ego's lane, of every vehicle (row 0: ego).

    For roads that are straight around the ego vehicle.
    """
    ego, scene = env.ego, env.scene
    heading = scene.heading[0] - ego.lane_heading_error
    local = ego_frame(scene.position - scene.position[0], heading)  # (N, 2)
    return local[:, 0], np.round((local[:, 1] + ego.lane_offset) / LANE_WIDTH)


def lane_gaps(env: DrivingEnv) -> tuple[Array, Array]:
    """Free way ahead [m] on the left, own and right lane, and closing speeds on their leaders.

    A lane that does not exist, or with a vehicle right beside, has no free way.
    """
    ego, scene = env.ego, env.scene
    ahead, lane = lane_positions(env)
    gaps, closing = np.zeros(3), np.zeros(3)
    for side in (-1, 0, 1):
        if not 0 <= ego.lane_id + side < ego.lanes:
            continue
        there = (lane == side) & (np.arange(len(lane)) > 0)
        if side and np.any(there & (np.abs(ahead) < 7.0)):
            continue
        in_front = np.flatnonzero(there & (ahead > 0))
        gaps[side + 1] = 150.0
        if len(in_front):
            leader = in_front[np.argmin(ahead[in_front])]
            gaps[side + 1] = ahead[leader] - (scene.length[leader] + scene.length[0]) / 2
            closing[side + 1] = ego.speed - float(scene.speed[leader])
    return gaps, closing


def lane_is_clear(env: DrivingEnv, lane_change: int) -> bool:
    """Whether nobody is beside, nor comes from behind or is closed in upon within 2 s."""
    if not lane_change:
        return True
    ahead, lane = lane_positions(env)
    there = (lane == lane_change) & (np.arange(len(lane)) > 0)
    gap = np.abs(ahead) - env.scene.length  # (N,) [m]
    closing = np.where(ahead > 0, 1.0, -1.0) * (env.scene.speed[0] - env.scene.speed)  # [m/s]
    return not bool(np.any(there & (gap < 3.0 + 2.0 * np.maximum(closing, 0.0))))
