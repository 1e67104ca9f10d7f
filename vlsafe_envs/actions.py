"""Action spaces, and what an action of each means for the traffic simulator.

- ``meta``: ``Discrete(5)``, highway-env's LANE_LEFT, IDLE, LANE_RIGHT, FASTER, SLOWER.
- ``grid``: ``Discrete(15)``, three accelerations times five steerings,
  index ``5 * i + j`` for ``ACCELERATIONS[i]`` and ``STEERINGS[j]``.
- ``continuous``: ``Box(-1, 1, (2,))``, acceleration and steering.

The published grid is acceleration {-2, 0, 2} x steering {-0.6, -0.2, 0, 0.2, 0.6}.  At 25 m/s a
wheel angle of 0.6 rad would throw the vehicle across the road within one step, so here:

- acceleration is scaled by 2.5, to {-5, 0, 5} m/s2 (highway-env's range), and a vehicle does not
  brake beyond standstill;
- steering is a share of full lock, 0.6 being all of it, and full lock is the wheel angle that
  gives 6 m/s2 of lateral acceleration at the present speed, at most pi/4 (:func:`full_lock`).

Both choices hold for ``continuous`` too, whose -1 and 1 mean the grid's extremes.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from .engine.commands import (
    ACCELERATIONS,
    HALF_LENGTH,
    MAX_ACCELERATION,
    MAX_LATERAL_ACCELERATION,
    MAX_WHEEL_ANGLE,
    STEERINGS,
    all_pedals,
    full_lock,
    pedals,
)
from .scenarios import TrafficConfig
from .traffic import EgoStatus

__all__ = [
    "ACCELERATIONS",
    "FASTER",
    "HALF_LENGTH",
    "IDLE",
    "LANE_LEFT",
    "LANE_RIGHT",
    "MAX_ACCELERATION",
    "MAX_LATERAL_ACCELERATION",
    "MAX_WHEEL_ANGLE",
    "SLOWER",
    "STEERINGS",
    "ContinuousActions",
    "GridActions",
    "MetaActions",
    "full_lock",
    "make_actions",
]

LANE_LEFT, IDLE, LANE_RIGHT, FASTER, SLOWER = range(5)
_SHARES = np.array(
    [(a / ACCELERATIONS[-1], s / STEERINGS[-1]) for a in ACCELERATIONS for s in STEERINGS]
)  # (15, 2), what the cells of the grid mean to ContinuousActions

Command = int | npt.NDArray[np.floating]
Speeds = npt.NDArray[np.float64]


class ActionKind(Protocol):
    """One of the three kinds of action."""

    space: spaces.Space[Any]

    def command(self, action: Any, ego: EgoStatus) -> Command:
        """What ``Traffic.step`` wants: a meta-action index or acceleration and wheel angle."""

    def commands(self, actions: Any, speeds: Speeds) -> npt.NDArray[Any]:
        """The same for N vehicles at ``speeds`` [m/s]: indices ``(N,)`` or pairs ``(N, 2)``."""


class MetaActions:
    """highway-env's five meta-actions, passed on as they are."""

    def __init__(self) -> None:
        self.space = spaces.Discrete(5)

    def command(self, action: Any, ego: EgoStatus) -> Command:
        """The index itself.  Raises ``ValueError`` for anything outside the space."""
        return _checked_index(action, 5)

    def commands(self, actions: Any, speeds: Speeds) -> npt.NDArray[np.int64]:
        """The indices themselves.  Raises ``ValueError`` for any outside the space."""
        return _checked_indices(actions, 5, len(speeds))


class ContinuousActions:
    """Acceleration and steering, each in [-1, 1]."""

    def __init__(self, policy_frequency: int) -> None:
        self.space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self._frequency = policy_frequency  # [Hz]

    def command(self, action: Any, ego: EgoStatus) -> Command:
        """Acceleration [m/s2] and wheel angle [rad]; values beyond [-1, 1] are clipped.

        Raises ``ValueError`` for another shape or a value that is not finite.
        """
        array = np.asarray(action, np.float64)
        if array.shape != (2,) or not np.isfinite(array).all():
            raise ValueError(f"action={action!r}: give two finite numbers in [-1, 1]")
        return np.array(pedals(array[0], array[1], ego.speed, self._frequency))

    def commands(self, actions: Any, speeds: Speeds) -> npt.NDArray[np.float64]:
        """Rows of acceleration [m/s2] and wheel angle [rad]; raises like :meth:`command`."""
        array = np.ascontiguousarray(actions, np.float64)
        if array.shape != (len(speeds), 2) or not np.isfinite(array).all():
            raise ValueError(
                f"actions={actions!r}: give {len(speeds)} pairs of finite numbers in [-1, 1]"
            )
        return all_pedals(array, speeds, self._frequency)

    def nearest(self, acceleration: float, steering: float, ego: EgoStatus) -> Any:
        """The action closest to an acceleration [m/s2] and wheel angle [rad]."""
        wanted = [acceleration / MAX_ACCELERATION, steering / full_lock(ego.speed)]
        return np.clip(wanted, -1.0, 1.0).astype(np.float32)


class GridActions:
    """The published grid of 15, scaled as the module says."""

    def __init__(self, policy_frequency: int) -> None:
        self.space = spaces.Discrete(len(_SHARES))
        self._continuous = ContinuousActions(policy_frequency)

    def command(self, action: Any, ego: EgoStatus) -> Command:
        """Acceleration [m/s2] and wheel angle [rad].

        Raises ``ValueError`` for an index outside the space.
        """
        return self._continuous.command(_SHARES[_checked_index(action, len(_SHARES))], ego)

    def commands(self, actions: Any, speeds: Speeds) -> npt.NDArray[np.float64]:
        """Rows of acceleration [m/s2] and wheel angle [rad]; raises like :meth:`command`."""
        indices = _checked_indices(actions, len(_SHARES), len(speeds))
        return self._continuous.commands(_SHARES[indices], speeds)

    def nearest(self, acceleration: float, steering: float, ego: EgoStatus) -> int:
        """Index of the action closest to an acceleration [m/s2] and wheel angle [rad]."""
        throttle, share = self._continuous.nearest(acceleration, steering, ego)
        row = int(np.argmin(np.abs(np.array(ACCELERATIONS) / ACCELERATIONS[-1] - throttle)))
        column = int(np.argmin(np.abs(np.array(STEERINGS) / STEERINGS[-1] - share)))
        return row * len(STEERINGS) + column


def make_actions(traffic: TrafficConfig) -> MetaActions | GridActions | ContinuousActions:
    """The action kind that ``traffic.action`` names."""
    if traffic.action == "meta":
        return MetaActions()
    if traffic.action == "grid":
        return GridActions(traffic.policy_frequency)
    return ContinuousActions(traffic.policy_frequency)


def _checked_index(action: Any, count: int) -> int:
    array = np.asarray(action)
    whole = array.size == 1 and np.issubdtype(array.dtype, np.integer)
    if not whole or not 0 <= int(array.reshape(())) < count:
        raise ValueError(f"action={action!r}: give an integer between 0 and {count - 1}")
    return int(array.reshape(()))


def _checked_indices(actions: Any, count: int, expected: int) -> npt.NDArray[np.int64]:
    array = np.asarray(actions)
    whole = array.shape == (expected,) and np.issubdtype(array.dtype, np.integer)
    if not whole or not ((array >= 0) & (array < count)).all():
        raise ValueError(f"actions={actions!r}: give {expected} integers between 0 and {count - 1}")
    return array.astype(np.int64)
