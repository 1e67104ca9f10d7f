"""Turns what a driver wants into an action of the environment's own action space."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlsafe_envs.actions import (
    FASTER,
    HALF_LENGTH,
    IDLE,
    LANE_LEFT,
    LANE_RIGHT,
    SLOWER,
    MetaActions,
)
from vlsafe_envs.env import DrivingEnv
from vlsafe_envs.simulator import EgoStatus

SPEED_TIME = 0.6  # [s], time constant of highway-env's speed controller
HYSTERESIS = 0.5  # [m/s], gain in end speed that is worth leaving IDLE
URGENT_BRAKING = -3.0  # [m/s2], below it braking goes before changing lanes
LANE_WIDTH = 4.0  # [m]
LATERAL_TIME = 1.0  # [s], to leave a lateral offset
HEADING_TIME = 0.4  # [s], to leave a heading error; two decisions at 5 Hz
MAX_APPROACH_ANGLE = 0.35  # [rad], between the vehicle and its lane


@dataclass(frozen=True)
class Intent:
    """What a driver wants now."""

    acceleration: float  # [m/s2]
    lane_change: int = 0  # -1 left, 0 stay, +1 right
    steering: float | None = None  # [rad]; None: keep to the lane


class Pilot:
    """Maps intents to actions of ``env``; remembers the lane that it steers for."""

    def __init__(self, env: DrivingEnv) -> None:
        self._env = env
        self._period = 1.0 / env.scenario.traffic.policy_frequency  # [s]
        self._speeds = np.array(env.scenario.traffic.target_speeds)
        self.reset()

    def reset(self) -> None:
        """Forget the lane of the last episode."""
        self._target_lane: int | None = None
        self._lanes = 0

    def action(self, intent: Intent) -> Any:
        """The action nearest to ``intent``."""
        ego = self._env.ego
        actions = self._env.actions
        if isinstance(actions, MetaActions):
            return self._meta(intent, ego)
        steering = intent.steering
        if steering is None:
            steering = self._lane_keeping(intent.lane_change, ego)
        return actions.nearest(intent.acceleration, steering, ego)

    def _meta(self, intent: Intent, ego: EgoStatus) -> int:
        """The meta-action that leaves the vehicle nearest to the speed wanted at its end.

        FASTER and SLOWER set the speed next to the *present* one, so from below a target IDLE may
        be the stronger acceleration; comparing end speeds settles it.
        """
        if intent.lane_change and intent.acceleration > URGENT_BRAKING:
            return LANE_LEFT if intent.lane_change < 0 else LANE_RIGHT
        wanted = max(ego.speed + intent.acceleration * self._period, 0.0)
        index = int(np.argmin(np.abs(self._speeds - ego.speed)))
        targets = {
            IDLE: ego.target_speed,
            FASTER: self._speeds[min(index + 1, len(self._speeds) - 1)],
            SLOWER: self._speeds[max(index - 1, 0)],
        }
        left = math.exp(-self._period / SPEED_TIME)  # share of the speed error at the end
        errors = {
            action: abs(target + (ego.speed - target) * left - wanted)
            for action, target in targets.items()
        }
        best = min(errors, key=errors.__getitem__)
        return best if errors[best] < errors[IDLE] - HYSTERESIS else IDLE

    def _lane_keeping(self, lane_change: int, ego: EgoStatus) -> float:
        """Wheel angle [rad] towards the centre of the lane steered for.

        A proportional controller of lateral position over one of heading, as in highway-env's
        ``ControlledVehicle``, slowed down for a decision every 0.2 s.
        """
        if self._target_lane is None or self._lanes != ego.lanes:
            self._target_lane, self._lanes = ego.lane_id, ego.lanes
        if lane_change:
            near = range(max(ego.lane_id - 1, 0), min(ego.lane_id + 2, ego.lanes))
            self._target_lane = int(np.clip(self._target_lane + lane_change, near[0], near[-1]))
        offset = ego.lane_offset - LANE_WIDTH * (self._target_lane - ego.lane_id)
        speed = max(ego.speed, 1.0)
        sideways = float(np.clip(-offset / LATERAL_TIME / speed, -1.0, 1.0))
        reference = float(np.clip(math.asin(sideways), -MAX_APPROACH_ANGLE, MAX_APPROACH_ANGLE))
        turn_rate = (reference - ego.lane_heading_error) / HEADING_TIME  # [rad/s]
        slip = math.asin(float(np.clip(HALF_LENGTH * turn_rate / speed, -0.7, 0.7)))
        return math.atan(2.0 * math.tan(slip))
