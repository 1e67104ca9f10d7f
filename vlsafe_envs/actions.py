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

from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from vlsafe_envs.checks import check_choice, shown
from vlsafe_envs.scenarios import TrafficSettings
from vlsafe_envs.simulator import EgoStatus
from vlsafe_envs.simulators.engine.commands import (
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
    "ROUTE_ACTIONS",
    "SLOWER",
    "STEERINGS",
    "ContinuousActions",
    "GridActions",
    "MetaActions",
    "check_action",
    "check_actions",
    "check_route_action",
    "full_lock",
    "make_actions",
]

ROUTE_ACTIONS = ("grid", "continuous")  # meta-actions change lanes, a route leaves no choice
LANE_LEFT, IDLE, LANE_RIGHT, FASTER, SLOWER = range(5)
_SHARES = np.array(
    [(a / ACCELERATIONS[-1], s / STEERINGS[-1]) for a in ACCELERATIONS for s in STEERINGS]
)  # (15, 2), what the cells of the grid mean to ContinuousActions

_BOUND = 1.0 + 1e-6  # what rounding may make of 1
_CLIP = " (gymnasium.wrappers.ClipAction cuts larger ones off)"

Command = int | npt.NDArray[np.floating]  # what ``Simulator.step`` wants
Speeds = npt.NDArray[np.float64]


class MetaActions:
    """highway-env's five meta-actions, passed on as they are."""

    def __init__(self) -> None:
        self.space = spaces.Discrete(5)

    def command(self, action: Any, ego: EgoStatus) -> Command:
        """The index itself.

        Raises:
            ValueError: for anything outside the space.
        """
        return int(check_action(action, self.space).item())

    def commands(self, actions: Any, speeds: Speeds) -> npt.NDArray[np.int64]:
        """The indices themselves.

        Raises:
            ValueError: for any outside the space.
        """
        return check_actions(actions, self.space, len(speeds)).astype(np.int64)


class ContinuousActions:
    """Acceleration and steering, each in [-1, 1]."""

    def __init__(self, policy_frequency: int) -> None:
        self.space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self._frequency = policy_frequency  # [Hz]

    def command(self, action: Any, ego: EgoStatus) -> Command:
        """Acceleration [m/s2] and wheel angle [rad].

        Raises:
            ValueError: for another shape or a value that is not in [-1, 1].
        """
        throttle, steering = check_action(action, self.space).astype(np.float64)
        return np.array(pedals(throttle, steering, ego.speed, self._frequency))

    def commands(self, actions: Any, speeds: Speeds) -> npt.NDArray[np.float64]:
        """Rows of acceleration [m/s2] and wheel angle [rad]; raises like :meth:`command`."""
        array = check_actions(actions, self.space, len(speeds))
        return all_pedals(np.ascontiguousarray(array, np.float64), speeds, self._frequency)

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

        Raises:
            ValueError: for an index outside the space.
        """
        return self._continuous.command(_SHARES[check_action(action, self.space).item()], ego)

    def commands(self, actions: Any, speeds: Speeds) -> npt.NDArray[np.float64]:
        """Rows of acceleration [m/s2] and wheel angle [rad]; raises like :meth:`command`."""
        indices = check_actions(actions, self.space, len(speeds))
        return self._continuous.commands(_SHARES[indices], speeds)

    def nearest(self, acceleration: float, steering: float, ego: EgoStatus) -> int:
        """Index of the action closest to an acceleration [m/s2] and wheel angle [rad]."""
        throttle, share = self._continuous.nearest(acceleration, steering, ego)
        row = int(np.argmin(np.abs(np.array(ACCELERATIONS) / ACCELERATIONS[-1] - throttle)))
        column = int(np.argmin(np.abs(np.array(STEERINGS) / STEERINGS[-1] - share)))
        return row * len(STEERINGS) + column


def make_actions(traffic: TrafficSettings) -> MetaActions | GridActions | ContinuousActions:
    """The action kind that ``traffic.action`` names."""
    if traffic.action == "meta":
        return MetaActions()
    if traffic.action == "grid":
        return GridActions(traffic.policy_frequency)
    return ContinuousActions(traffic.policy_frequency)


def check_route_action(action: str) -> None:
    """Raise ``ValueError`` for an action kind that environments with a route do not have."""
    if isinstance(action, str) and action == "meta":
        raise ValueError(
            "action='meta': a task's route prescribes the lanes; use action='grid' or 'continuous'"
        )
    check_choice("action", action, ROUTE_ACTIONS)


def check_action(action: Any, space: spaces.Space[Any]) -> npt.NDArray[Any]:
    """One action of a ``Discrete(n)`` or of a ``Box(-1, 1, shape)``, as an array.

    Raises:
        ValueError: for what is no action of that space.
    """
    array = _as_array(action)
    if isinstance(space, spaces.Discrete):
        if array.size == 1 and array.dtype.kind in "iu" and 0 <= array.item() < space.n:
            return array
        raise ValueError(f"action={shown(action)}: give an integer between 0 and {space.n - 1}")
    if array.shape == space.shape and _within(array):
        return array
    raise ValueError(f"action={shown(action)}: give {space.shape} finite numbers in [-1, 1]{_CLIP}")


def check_actions(actions: Any, space: spaces.Space[Any], count: int) -> npt.NDArray[Any]:
    """Actions of ``count`` environments, each of such a space, as one array ``(count, ...)``.

    Raises:
        ValueError: for what is none.
    """
    array = _as_array(actions)
    if isinstance(space, spaces.Discrete):
        whole = array.shape == (count,) and array.dtype.kind in "iu"
        if whole and ((array >= 0) & (array < space.n)).all():
            return array
        wanted = f"{count} integers between 0 and {space.n - 1}"
        raise ValueError(f"actions={shown(actions)}: give {wanted}")
    shape = (count, *(space.shape or ()))
    if array.shape == shape and _within(array):
        return array
    raise ValueError(f"actions={shown(actions)}: give {shape} finite numbers in [-1, 1]{_CLIP}")


def _as_array(values: Any) -> npt.NDArray[Any]:
    """As NumPy sees it; an array of nothing where it cannot."""
    try:
        return np.asarray(values)
    except Exception:  # ragged lists, tensors on a device: whatever a foreign object raises
        return np.empty(0)


def _within(array: npt.NDArray[Any]) -> bool:
    return array.dtype.kind in "iuf" and bool((np.abs(array) <= _BOUND).all())
