"""MetaDrive's safe driving task, with its own reward, cost and ends."""

from __future__ import annotations

from typing import Any

from vlsafe_envs.checks import check_choice
from vlsafe_envs.costs import FIRST
from vlsafe_envs.scenarios import Scenario
from vlsafe_envs.simulator import EgoStatus
from vlsafe_envs.state import State, restore_attributes, save_attributes
from vlsafe_envs.task import Moment, Outcome

CRASH_COSTS = ("step", "event")
EVENTS = ("crash_vehicle", "crash_object", "out_of_road")
CRASHES = ("crash_vehicle", "crash_object", "crash_building", "crash_human")


class MetaDriveTask:
    """Reach the destination past traffic, cones, barriers and broken-down cars.

    Reward, cost and episode ends are MetaDrive's ``SafeMetaDriveEnv``'s:

    - reward: metres along the road, plus 0.1 times the share of 80 km/h that is driven, at each
      step; instead of it 10 on arrival, -5 off the road and -5 in a crash;
    - cost: 1 at each step off the road or in contact with a vehicle or an object.  A car that is
      stuck on an obstacle pays at every step: ``crash_cost="event"`` counts every contact once;
    - an episode terminates on arrival and off the road, where touching a solid line counts as off
      the road (``solid_lines=False``: it does not); a crash ends it only with
      ``crash_terminal=True``.

    To the keys of every environment, ``info`` adds MetaDrive's ``crash_vehicle``, ``crash_object``,
    ``out_of_road``, ``arrive_dest`` and ``route_completion``.  ``cost_terms`` are what the cost is
    made from, {0, 1} each, of which MetaDrive counts only the first; ``reward_terms`` MetaDrive's
    ``step_reward`` and the events that replace it.

    Args:
        scenario: the frame around an episode.
        crash_cost: ``"step"`` or ``"event"``.

    Raises:
        ValueError: for unknown choices.
    """

    cost_rule = FIRST
    costs = None  # all terms weigh 1

    def __init__(self, scenario: Scenario, crash_cost: str = "step") -> None:
        check_choice("crash_cost", crash_cost, CRASH_COSTS)
        self.scenario = scenario
        self.crash_cost = crash_cost
        self._touching = False

    def reset(self, simulator: Any, now: Moment) -> Outcome:
        """Begin an episode, in touch with nothing."""
        self._touching = False
        return self._outcome(simulator.outcome)

    def step(self, simulator: Any, before: EgoStatus, now: Moment) -> Outcome:
        """What MetaDrive made of the decision."""
        return self._outcome(simulator.outcome)

    @property
    def settings(self) -> tuple[Any, ...]:
        """How contacts are counted."""
        return (self.crash_cost,)

    def save(self) -> State:
        """Whether it is touching something."""
        return save_attributes(self, ("_touching",))

    def restore(self, state: State) -> None:
        """Inverse of :meth:`save`."""
        restore_attributes(self, state)

    def cost_terms(self, theirs: dict[str, Any]) -> dict[str, float]:
        """MetaDrive's cost by what it is for, of which it counts only the first.

        ``theirs`` is MetaDrive's own ``info``.
        """
        terms = {name: 1.0 * bool(theirs[name]) for name in EVENTS}
        first = next((name for name in ("out_of_road", *EVENTS) if terms[name]), None)
        touching = bool(theirs["crash_vehicle"] or theirs["crash_object"])
        counted = first == "out_of_road" or self.crash_cost == "step" or not self._touching
        self._touching = touching
        return {name: 1.0 if name == first and counted else 0.0 for name in EVENTS}

    def _outcome(self, step: Any) -> Outcome:
        theirs = step.info
        events = {name: bool(theirs[name]) for name in (*EVENTS, "arrive_dest")}
        info: dict[str, Any] = {
            "collision": any(bool(theirs[name]) for name in CRASHES),
            "off_road": events["out_of_road"],
            "arrived": events["arrive_dest"],
            "route_completion": float(theirs["route_completion"]),
            **events,
        }
        rewards = {
            "step_reward": float(theirs["step_reward"]),
            **{name: 1.0 * happened for name, happened in events.items()},
        }
        return Outcome(
            float(step.reward), bool(step.terminated), rewards, self.cost_terms(theirs), info
        )
