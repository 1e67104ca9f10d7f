"""What a task consists of, apart from the simulator that it runs on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from vlsafe_envs.actions import ContinuousActions, GridActions
from vlsafe_envs.checks import check_choice, check_flag, check_number

DURATION = 50.0  # [s], CarDreamer's 500 steps of 0.1 s
CRUISE_SPEED = 8.0  # [m/s], near the 30 km/h of the traffic
TASK_ACTIONS = ("grid", "continuous")


class TaskTraffic(Protocol):
    """What the environment and the tools around it ask of a simulator's settings."""

    @property
    def scenario(self) -> str:
        """The task's short name, such as ``"left_turn"``."""

    @property
    def density(self) -> float:
        """Traffic density; 1 is the task's own."""

    @property
    def action(self) -> str:
        """``"grid"`` or ``"continuous"``."""

    @property
    def policy_frequency(self) -> int:
        """Decisions a second [Hz]."""


@dataclass(frozen=True)
class TaskScenario:
    """A task: its traffic and the frame around an episode.

    Raises ``ValueError`` for values out of range.
    """

    traffic: Any  # a TaskTraffic
    duration: float = DURATION  # [s], then the episode is truncated
    cruise_speed: float = CRUISE_SPEED  # [m/s], what the expert driver wishes to drive
    has_goal: bool = True  # whether the end of the route is an arrival

    def __post_init__(self) -> None:
        check_number("duration", self.duration, 1.0, 3600.0, "s")
        check_number("cruise_speed", self.cruise_speed, 0.5, 40.0, "m/s")
        check_flag("has_goal", self.has_goal)

    @property
    def decisions(self) -> int:
        """Decisions in a whole episode."""
        return round(self.duration * self.traffic.policy_frequency)


def task_actions(traffic: TaskTraffic) -> GridActions | ContinuousActions:
    """The action kind that ``traffic.action`` names.

    Raises ``ValueError`` for others; meta-actions change lanes, but a route leaves no choice.
    """
    check_task_action(traffic.action)
    kind = GridActions if traffic.action == "grid" else ContinuousActions
    return kind(traffic.policy_frequency)


def check_task_action(action: str) -> None:
    """Raise ``ValueError`` for an action kind that tasks do not have."""
    if isinstance(action, str) and action == "meta":
        raise ValueError(
            "action='meta': a task's route prescribes the lanes; use action='grid' or 'continuous'"
        )
    check_choice("action", action, TASK_ACTIONS)
