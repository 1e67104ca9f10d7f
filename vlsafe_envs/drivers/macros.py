"""Macro-actions: what a driver could do for some seconds, to see what would come of it.

They are drivers, and begin where they are made.  Which there are is in the registry
(``Row.macros``), by the kind of action:

- with a route: ``go`` follows it at cruise speed and minds nobody; ``hold`` brakes and stands;
  ``peek`` goes for 0.5 s, then holds: could one still stop?  ``keep`` follows it at the present
  speed and minds nobody;
- meta-actions: ``left``, ``idle``, ``right``, ``faster`` and ``slower`` once, then IDLE; at
  crossings also ``go``, FASTER up to cruise speed, and ``hold``, SLOWER to a standstill;
- pedals on highway-env's roads: ``accelerate``, ``keep`` and ``brake`` in the present lane;
- everywhere ``expert``, the rule-based driver.
"""

from __future__ import annotations

import math
import pkgutil
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from vlsafe_envs.actions import FASTER, IDLE, LANE_LEFT, LANE_RIGHT, MAX_ACCELERATION, SLOWER
from vlsafe_envs.checks import check_choice, check_rng
from vlsafe_envs.drivers import make_driver
from vlsafe_envs.drivers.base import Driver
from vlsafe_envs.env import DrivingEnv, driving_env, vehicles_seen, ways_seen
from vlsafe_envs.options import read_options
from vlsafe_envs.registry import row_of

PEEK_SECONDS = 0.5  # [s]
# Of the pedals' lane keeping; highway-env's own gains are made for 15 decisions a second.
OFFSET_GAIN = 0.7  # [1/s], speed across the lane for a distance from its middle
HEADING_GAIN = 2.0  # [1/s]
SLOWEST = 2.0  # [m/s], below which steering is as at this speed
WHEELBASE = 5.0  # [m], of highway-env's vehicles
_ONCE = {
    "left": LANE_LEFT,
    "idle": IDLE,
    "right": LANE_RIGHT,
    "faster": FASTER,
    "slower": SLOWER,
}
_PEDAL = {"accelerate": MAX_ACCELERATION, "keep": 0.0, "brake": -MAX_ACCELERATION}  # [m/s2]


def macro_names(env_id: str, **options: Any) -> tuple[str, ...]:
    """The macro-actions of an id made with these options of ``gym.make``.

    Raises:
        ValueError: for an id that is not ours, and for options that it does not have.
    """
    row = row_of(env_id)
    return row.macros(read_options(row, options).scenario.traffic.action)


def tail_names(env_id: str, **options: Any) -> tuple[str, ...]:
    """Macro-actions that drive on after an action that is tried, likewise: ahead, and to a stop.

    Raises:
        ValueError: as :func:`macro_names`.
    """
    row = row_of(env_id)
    return row.tails(read_options(row, options).scenario.traffic.action)


def make_macro(name: str, env: gym.Env[Any, Any], rng: np.random.Generator) -> Driver:
    """The macro-action ``name``, which begins now, for ``env``, which may be wrapped.

    Raises:
        ValueError: for an unknown name, an environment that is none of ours and what is no
            generator.
    """
    check_rng(rng)
    inner = driving_env(env, "macro-actions")
    row, traffic = inner.scenario.row, inner.scenario.traffic
    check_choice("macro", name, row.macros(traffic.action))
    if name == "expert":
        driver = make_driver(name, inner, rng)
        driver.reset()
        return driver
    kind: Any = pkgutil.resolve_name(row.road.macro)
    macro: Driver = kind(inner, name, rng)
    return macro


def tail_beginnings(env: gym.Env[Any, Any]) -> npt.NDArray[Any]:
    """The action with which each of :func:`tail_names` would begin now, ``(T, *shape)``.

    Args:
        env: which may be wrapped, and has been reset.

    Raises:
        ValueError: for an environment that is none of ours.
    """
    inner = driving_env(env, "macro-actions")
    names = inner.scenario.row.tails(inner.scenario.traffic.action)
    rng = np.random.default_rng(0)  # tails draw nothing from it
    return np.array([make_macro(name, inner, rng).act() for name in names])


def vehicles_and_beginnings(env: gym.Env[Any, Any]) -> dict[str, npt.NDArray[Any]]:
    """What a risk model sees that is told how its tails begin, as on MetaDrive's maps.

    As ``ways_seen``, or ``vehicles_seen`` where no ways are known, and with ``"beginnings"``, see
    :func:`tail_beginnings`.

    Raises:
        ValueError: for an environment that is none of ours.
    """
    knows = driving_env(env, "sets of vehicles").scenario.row.knows_ways
    seen = ways_seen(env) if knows else vehicles_seen(env)
    return {**seen, "beginnings": tail_beginnings(env)}


class RouteMacro:
    """``go``, ``hold``, ``peek`` or ``keep`` along a route."""

    def __init__(self, env: DrivingEnv, name: str, rng: np.random.Generator) -> None:
        kind: Any = pkgutil.resolve_name(env.scenario.row.drivers["expert"])
        self._env, self._name = env, name
        self._driver = kind(env, "careless", rng)
        self._peek = math.ceil(PEEK_SECONDS * env.scenario.traffic.policy_frequency)
        self.reset()

    def reset(self) -> None:
        """Begin here."""
        self._driver.reset()
        self._decided = 0
        if self._name == "keep":
            self._driver.speed = self._env.ego.speed

    def act(self) -> Any:
        """The next action."""
        goes = self._name in ("go", "keep") or (self._name == "peek" and self._decided < self._peek)
        self._decided += 1
        return self._driver.act() if goes else self._driver.follow(-MAX_ACCELERATION)


class LaneMacro:
    """A macro-action on highway-env's roads, where meta-actions and pedals keep the lane."""

    def __init__(self, env: DrivingEnv, name: str, rng: np.random.Generator) -> None:
        self._env, self._name = env, name
        self.reset()

    def reset(self) -> None:
        """Begin here."""
        self._decided = 0

    def act(self) -> Any:
        """The next action."""
        if self._env.scenario.traffic.action != "meta":
            return self._pedals(_PEDAL[self._name])
        self._decided += 1
        if self._name in _ONCE:
            return _ONCE[self._name] if self._decided == 1 else IDLE
        target = self._env.ego.target_speed
        if self._name == "hold":
            return SLOWER if target > 0 else IDLE
        return FASTER if target < self._env.scenario.cruise_speed else IDLE

    def _pedals(self, acceleration: float) -> Any:
        """The action nearest to an acceleration [m/s2], steering back to the lane's middle."""
        ego, actions = self._env.ego, self._env.actions
        speed = max(ego.speed, SLOWEST)
        across = np.clip(-OFFSET_GAIN * ego.lane_offset / speed, -0.5, 0.5)
        turn = HEADING_GAIN * (math.asin(across) - ego.lane_heading_error)  # [rad/s]
        slip = math.asin(np.clip(WHEELBASE / 2 * turn / speed, -1.0, 1.0))
        return actions.nearest(acceleration, math.atan(2.0 * math.tan(slip)), ego)  # type: ignore[union-attr]
