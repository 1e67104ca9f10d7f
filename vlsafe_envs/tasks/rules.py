"""Reward, cost and episode ends of the tasks.

The reward follows CarDreamer's ``CarlaWptEnv`` (github.com/ucd-dare/CarDreamer), on whose tasks
the paper drives.  Departures:

- ``desired_speed`` is 8 m/s, not 4: the crossing traffic drives 30 km/h and brakes for nobody;
- speed across the route costs by its size, up to 0.5 m/s.  CarDreamer's term has a sign: it
  charges for steering back to the route and pays for leaving it;
- who is off the route or has crashed does not arrive, however few waypoints are left;
- 500 steps are the limit, not the 501 of its ``>``.

The paper does not show its cost.  Ours is 1 on every step with a collision or more than 0.5 m
beside the route's line, CarDreamer's own bound for "out of lane"; the weights are open.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import NamedTuple

from vlsafe_envs.checks import check_integer, check_number
from vlsafe_envs.costs import unsafe_gap
from vlsafe_envs.tasks.progress import Place
from vlsafe_envs.traffic import EgoStatus

LARGEST = "largest"  # info["env_cost_rule"] of the tasks, whose cost :func:`largest_cost` makes


@dataclass(frozen=True)
class TaskRewards:
    """Weights of the reward terms, per decision, and the speed that is asked for.

    Raises ``ValueError`` for weights that are no numbers in [-1e6, 1e6].
    """

    waypoint: float = 2.0  # when one or more waypoints were reached
    speed: float = 0.5  # per m/s of the speed term
    collision: float = -30.0  # per m/s at impact
    out_of_lane: float = -3.0  # per metre beyond the lane's margin
    arrived: float = 20.0
    time: float = 0.0
    desired_speed: float = 8.0  # [m/s]

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            check_number(f"rewards.{field.name}", getattr(self, field.name), -1e6, 1e6)
        check_number("desired_speed", self.desired_speed, 0.5, 40.0, "m/s")


@dataclass(frozen=True)
class TaskCosts:
    """Weights of the cost terms; the cost of a decision is the largest weighted term.

    Raises ``ValueError`` for weights that are no numbers in [0, 1e6].
    """

    collision: float = 1.0
    out_of_lane: float = 1.0
    unsafe_gap: float = 0.0  # times max(1 - TTC / 2 s, 1 - headway / 0.5 s, 0)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            check_number(f"costs.{field.name}", getattr(self, field.name), 0.0, 1e6)


@dataclass(frozen=True)
class TaskRules:
    """When a waypoint counts, and what ends an episode.

    Raises ``ValueError`` for numbers out of range.
    """

    reach: float = 0.5  # [m], a waypoint nearer than this is completed
    lane_margin: float = 0.5  # [m] beside the route that are still in lane
    off_route: float = 3.0  # [m] from the next waypoint that end the episode
    arrival: int = 3  # so many waypoints left, or fewer, are an arrival
    visible: int = 60  # waypoints ahead among which the nearest is looked for

    def __post_init__(self) -> None:
        check_number("rules.reach", self.reach, 0.01, 100.0, "m")
        check_number("rules.lane_margin", self.lane_margin, 0.0, 100.0, "m")
        check_number("rules.off_route", self.off_route, 0.1, 1000.0, "m")
        check_integer("rules.arrival", self.arrival, 0, 1000)
        check_integer("rules.visible", self.visible, 1, 100_000)


class Verdict(NamedTuple):
    """What the present moment means for the task."""

    collision: bool
    off_route: bool
    arrived: bool
    out_of_lane: float  # [m] beyond the lane's margin, 0 within


def judge(ego: EgoStatus, place: Place, rules: TaskRules, has_goal: bool) -> Verdict:
    """The verdict on a moment.  Neither a crash nor a place off the route is an arrival."""
    crashed = bool(ego.crashed)
    off_route = place.left > 0 and place.distance > rules.off_route
    arrived = has_goal and not crashed and not off_route and place.left <= rules.arrival
    return Verdict(crashed, off_route, arrived, max(abs(place.offset) - rules.lane_margin, 0.0))


def reward_terms(
    ego: EgoStatus, place: Place, completed: int, verdict: Verdict, desired_speed: float
) -> dict[str, float]:
    """The raw terms.

    - ``waypoint`` {0, 1}: whether any waypoint was completed;
    - ``speed`` [m/s]: ``v_desired - |v_along - v_desired| - 2 min(|v_across|, 0.5)``, along and
      across the route's direction at the next waypoint;
    - ``collision`` [m/s]: the speed at impact; ``out_of_lane`` [m]; ``arrived`` {0, 1}; ``time`` 1.
    """
    along = ego.speed * math.cos(place.heading_error)
    across = abs(ego.speed * math.sin(place.heading_error))
    speed = 0.0
    if place.left > 0:
        speed = desired_speed - abs(along - desired_speed) - 2.0 * min(across, 0.5)
    return {
        "waypoint": 1.0 if completed > 0 else 0.0,
        "speed": speed,
        "collision": abs(float(ego.speed)) if verdict.collision else 0.0,
        "out_of_lane": verdict.out_of_lane,
        "arrived": 1.0 if verdict.arrived else 0.0,
        "time": 1.0,
    }


def weighted_reward(terms: dict[str, float], rewards: TaskRewards) -> float:
    """``sum(weight * term)``."""
    return float(sum(getattr(rewards, name) * value for name, value in terms.items()))


def cost_terms(verdict: Verdict, time_to_collision: float, headway: float) -> dict[str, float]:
    """The raw terms: ``collision`` {0, 1}, ``out_of_lane`` {0, 1}, ``unsafe_gap`` [0, 1]."""
    return {
        "collision": 1.0 if verdict.collision else 0.0,
        "out_of_lane": 1.0 if verdict.out_of_lane > 0.0 else 0.0,
        "unsafe_gap": float(unsafe_gap(time_to_collision, headway)),
    }


def largest_cost(terms: dict[str, float], costs: TaskCosts) -> float:
    """``max(weight * term)``, >= 0: with the weights as they are, 0 or 1.

    On highway-env's roads the terms are added up instead, see ``costs.summed_cost``.
    """
    return float(max(getattr(costs, name) * value for name, value in terms.items()))
