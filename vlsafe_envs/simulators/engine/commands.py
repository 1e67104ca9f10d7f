"""What acceleration and steering commands mean at the present speed (see ``actions``)."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from vlsafe_envs.simulators.engine.dynamics import clip
from vlsafe_envs.simulators.engine.state import compiled

ACCELERATIONS = (-2.0, 0.0, 2.0)  # of the grid as published, before scaling
STEERINGS = (-0.6, -0.2, 0.0, 0.2, 0.6)  # likewise
MAX_ACCELERATION = 5.0  # [m/s2]
MAX_LATERAL_ACCELERATION = 6.0  # [m/s2]
MAX_WHEEL_ANGLE = math.pi / 4  # [rad]
HALF_LENGTH = 2.5  # [m], of highway-env's vehicles: distance from the centre to an axle
Array = npt.NDArray[np.float64]
_WIDEST_SINE = math.sin(math.atan(0.5))  # of the slip angle at a wheel angle of pi/4


@compiled
def full_lock(speed: float) -> float:
    """Largest wheel angle [rad] at ``speed`` [m/s].

    highway-env's bicycle model turns at ``speed * sin(beta) / 2.5 m`` rad/s with
    ``tan(beta) = tan(wheel) / 2``; the angle returned makes ``speed`` times that rate 6 m/s2.
    """
    sine = HALF_LENGTH * MAX_LATERAL_ACCELERATION / max(speed * speed, 1e-6)
    if sine >= _WIDEST_SINE:
        return MAX_WHEEL_ANGLE
    return math.atan(2.0 * math.tan(math.asin(sine)))


@compiled
def pedals(
    throttle: float, steering: float, speed: float, policy_frequency: int
) -> tuple[float, float]:
    """Acceleration [m/s2] and wheel angle [rad] of shares in [-1, 1] (others are clipped)."""
    # Braking ends at standstill: a negative speed would be reversing.
    lowest = -max(speed, 0.0) * policy_frequency
    acceleration = max(clip(throttle, -1.0, 1.0) * MAX_ACCELERATION, lowest)
    return acceleration, clip(steering, -1.0, 1.0) * full_lock(speed)


@compiled
def all_pedals(shares: Array, speeds: Array, policy_frequency: int) -> Array:
    """:func:`pedals` of many vehicles: shares, and what they mean, are ``(N, 2)``."""
    commands = np.empty(shares.shape)
    for k in range(shares.shape[0]):
        commands[k, 0], commands[k, 1] = pedals(
            shares[k, 0], shares[k, 1], speeds[k], policy_frequency
        )
    return commands
