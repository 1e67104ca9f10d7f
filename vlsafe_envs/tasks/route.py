"""The paper's task: follow a route through traffic.  Its reward, cost and episode ends.

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
from typing import Any, NamedTuple

from vlsafe_envs.checks import Setting, check_integer, check_number
from vlsafe_envs.costs import LARGEST, unsafe_gap
from vlsafe_envs.scenarios import Scenario
from vlsafe_envs.simulator import EgoStatus, RouteSimulator
from vlsafe_envs.state import State
from vlsafe_envs.task import Moment, Outcome
from vlsafe_envs.tasks.progress import Place, RouteProgress


@dataclass(frozen=True)
class TaskRewards:
    """Weights of the reward terms, per decision, and the speed that is asked for.

    Raises:
        ValueError: for weights that are no numbers in [-1e6, 1e6].
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

    Raises:
        ValueError: for weights that are no numbers in [0, 1e6].
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

    Raises:
        ValueError: for numbers out of range.
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


class RouteState(NamedTuple):
    """What the present moment means for the task."""

    collision: bool
    off_route: bool
    arrived: bool
    out_of_lane: float  # [m] beyond the lane's margin, 0 within


def route_state(ego: EgoStatus, place: Place, rules: TaskRules, has_goal: bool) -> RouteState:
    """What a moment means.  Neither a crash nor a place off the route is an arrival."""
    crashed = bool(ego.crashed)
    off_route = place.left > 0 and place.distance > rules.off_route
    arrived = has_goal and not crashed and not off_route and place.left <= rules.arrival
    return RouteState(crashed, off_route, arrived, max(abs(place.offset) - rules.lane_margin, 0.0))


def reward_terms(
    ego: EgoStatus, place: Place, completed: int, state: RouteState, desired_speed: float
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
        "collision": abs(float(ego.speed)) if state.collision else 0.0,
        "out_of_lane": state.out_of_lane,
        "arrived": 1.0 if state.arrived else 0.0,
        "time": 1.0,
    }


def weighted_reward(terms: dict[str, float], rewards: TaskRewards) -> float:
    """``sum(weight * term)``."""
    return float(sum(getattr(rewards, name) * value for name, value in terms.items()))


def cost_terms(state: RouteState, time_to_collision: float, headway: float) -> dict[str, float]:
    """The raw terms: ``collision`` {0, 1}, ``out_of_lane`` {0, 1}, ``unsafe_gap`` [0, 1]."""
    return {
        "collision": 1.0 if state.collision else 0.0,
        "out_of_lane": 1.0 if state.out_of_lane > 0.0 else 0.0,
        "unsafe_gap": float(unsafe_gap(time_to_collision, headway)),
    }


class RouteTask:
    """Drive the ego vehicle along its route.

    An episode terminates on a collision, more than 3 m from the route, or on arrival at its end.
    To the keys of every environment, ``info`` adds

    - ``off_route``: farther from the route than allowed;
    - ``out_of_lane``: the bound of the reward's lane term is exceeded;
    - ``waypoints_completed``: since ``reset``; ``route_completion``: share of waypoints behind.

    ``off_road`` says whether the ego vehicle is beside all lanes; that alone ends no episode.

    Args:
        scenario: the frame around an episode.
        rewards: weights of the reward terms.
        costs: weights of the cost terms, of which the largest counts.
        rules: waypoints and episode ends.

    Raises:
        ValueError: for settings of another type.
    """

    cost_rule = LARGEST
    rewards = Setting(TaskRewards)
    costs = Setting(TaskCosts)
    rules = Setting(TaskRules)

    def __init__(
        self,
        scenario: Scenario,
        rewards: TaskRewards | None = None,
        costs: TaskCosts | None = None,
        rules: TaskRules | None = None,
    ) -> None:
        self.scenario = scenario
        self.rewards, self.costs, self.rules = rewards, costs, rules
        self._progress: RouteProgress | None = None

    @property
    def progress(self) -> RouteProgress:
        """The route and how far along it the ego vehicle is."""
        if self._progress is None:
            raise RuntimeError("call reset() first: there is no route yet")
        return self._progress

    def reset(self, simulator: RouteSimulator, now: Moment) -> Outcome:
        """Begin a route: what lies under the wheels at the start was not driven to."""
        rules = self.rules
        self._progress = RouteProgress(simulator.waypoints, rules.reach, rules.visible)
        self._progress.advance(*now.scene.position[0])
        self._progress.completed = 0
        return self._outcome(now, 0)

    def step(self, simulator: RouteSimulator, before: EgoStatus, now: Moment) -> Outcome:
        """The outcome of the decision that led to ``now``."""
        return self._outcome(now, self.progress.advance(*now.scene.position[0]))

    @property
    def settings(self) -> tuple[Any, ...]:
        """Weights and rules."""
        return self.rewards, self.costs, self.rules

    def save(self) -> State:
        """The route and how far along it the ego vehicle is."""
        return {"progress": self.progress.copy()}

    def restore(self, state: State) -> None:
        """Inverse of :meth:`save`."""
        self._progress = state["progress"].copy()

    def _outcome(self, now: Moment, completed: int) -> Outcome:
        (x, y), heading = now.scene.position[0], float(now.scene.heading[0])
        ego, place = now.ego, self.progress.place(x, y, heading)
        state = route_state(ego, place, self.rules, self.scenario.has_goal)
        terms = reward_terms(ego, place, completed, state, self.rewards.desired_speed)
        info: dict[str, Any] = {
            "collision": state.collision,
            "off_road": not ego.on_road,
            "off_route": state.off_route,
            "out_of_lane": state.out_of_lane > 0.0,
            "waypoints_completed": self.progress.completed,
            "route_completion": self.progress.share,
        }
        if self.scenario.has_goal:
            info["arrived"] = state.arrived
        return Outcome(
            weighted_reward(terms, self.rewards),
            state.collision or state.off_route or state.arrived,
            terms,
            cost_terms(state, now.time_to_collision, now.headway),
            info,
        )


def make_route_task(
    scenario: Scenario,
    rewards: TaskRewards | None = None,
    costs: TaskCosts | None = None,
    rules: TaskRules | None = None,
    desired_speed: float | None = None,
    collision_cost: float | None = None,
) -> RouteTask:
    """A :class:`RouteTask`, with short ways to set one number of ``rewards`` and of ``costs``.

    ``desired_speed`` [m/s] is that of the rewards, ``collision_cost`` the weight of the costs'
    ``collision``.

    Raises:
        ValueError: for wrong types and numbers.
    """
    task = RouteTask(scenario, rewards, costs, rules)
    if desired_speed is not None:
        check_number("desired_speed", desired_speed, 0.5, 40.0, "m/s")
        task.rewards = dataclasses.replace(task.rewards, desired_speed=float(desired_speed))
    if collision_cost is not None:
        check_number("collision_cost", collision_cost, 0.0, 1e6)
        task.costs = dataclasses.replace(task.costs, collision=float(collision_cost))
    return task
