"""From acceleration and wheel angle to MetaDrive's pedals and wheel, and back.

Accelerations are exact inverses of Bullet's vehicle: an engine force on each of four wheels, or a
brake's impulse at each physics step.  An engine force switches the brake off that MetaDrive applies
to an idle car (0.36 m/s2), so a car that is to keep its speed gets a very small one.

Wheel angles are those of our other roads, whose bicycle model has its axles 5 m apart.  MetaDrive's
car is shorter; it gets the wheel angle that makes it drive the same curve.
"""

from __future__ import annotations

import math
from typing import NamedTuple

WHEELS = 4
PHYSICS_STEP = 0.02  # [s]
LEAST_THROTTLE = 1e-3  # keeps the idle brake off
HALF_WHEELBASE = 2.5  # [m], of the bicycle model of our other roads


class Car(NamedTuple):
    """What MetaDrive's car can do."""

    mass: float  # [kg]
    engine_force: float  # [N], a wheel at full throttle
    brake_force: float  # [N], as Bullet counts it, a wheel at full brake
    lock: float  # [rad], wheel angle at full steering
    wheelbase: float  # [m]

    @property
    def full_throttle(self) -> float:
        """Acceleration at full throttle [m/s2]."""
        return WHEELS * self.engine_force / self.mass

    @property
    def full_brake(self) -> float:
        """Deceleration at full brake [m/s2], where the tyres hold."""
        return WHEELS * self.brake_force / (self.mass * PHYSICS_STEP)


def throttle_of(acceleration: float, car: Car) -> float:
    """MetaDrive's throttle (brake, when negative) in [-1, 1] for an acceleration [m/s2]."""
    if acceleration < 0.0:
        return max(acceleration / car.full_brake, -1.0)
    return min(max(acceleration / car.full_throttle, LEAST_THROTTLE), 1.0)


def acceleration_of(throttle: float, car: Car) -> float:
    """The acceleration [m/s2] of MetaDrive's throttle."""
    return throttle * (car.full_brake if throttle < 0.0 else car.full_throttle)


def steering_of(wheel: float, car: Car) -> float:
    """MetaDrive's steering in [-1, 1] for a wheel angle [rad] of our bicycle model.

    MetaDrive's y points up: its positive steering turns left, ours right.
    """
    curvature = math.sin(math.atan(math.tan(wheel) / 2)) / HALF_WHEELBASE  # [1/m]
    return min(max(-math.atan(curvature * car.wheelbase) / car.lock, -1.0), 1.0)


def wheel_of(steering: float, car: Car) -> float:
    """Our bicycle model's wheel angle [rad] for MetaDrive's steering, at most 80 degrees."""
    curvature = -math.tan(steering * car.lock) / car.wheelbase
    sine = min(max(curvature * HALF_WHEELBASE, -0.94), 0.94)
    return math.atan(2 * math.tan(math.asin(sine)))
