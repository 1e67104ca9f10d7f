"""What an environment asks of a task: reward, cost and the end of an episode.

A task serves one ego vehicle, or N of them at once where it says so: then numbers and the fields of
``EgoStatus`` are arrays ``(N,)``, and so is everything returned.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np

from vlsafe_envs.costs import total_cost
from vlsafe_envs.scenarios import Scenario
from vlsafe_envs.simulator import EgoStatus
from vlsafe_envs.state import State


class Moment(NamedTuple):
    """Where an episode stands on arriving at an observation."""

    ego: EgoStatus
    steps: Any  # decisions since reset
    distance: Any  # [m], driven since reset
    time_to_collision: Any  # [s]
    headway: Any  # [s]
    scene: Any = None  # a Scene; of N ego vehicles at once there is none


class Outcome(NamedTuple):
    """What a decision led to, as the task sees it."""

    reward: Any
    terminated: Any
    reward_terms: dict[str, Any]  # raw
    cost_terms: dict[str, Any]  # raw
    info: dict[str, Any]  # the task's own entries


class Task(Protocol):
    """Reward, cost and ends of an episode."""

    scenario: Scenario
    cost_rule: str  # how the cost is made of its weighted terms, see ``costs.total_cost``

    @property
    def costs(self) -> Any:
        """Weights of the cost terms by name; ``None``: all are 1."""

    def reset(self, simulator: Any, now: Moment) -> Outcome:
        """Begin an episode; the reward does not count."""

    def step(self, simulator: Any, before: EgoStatus, now: Moment) -> Outcome:
        """The outcome of the decision that led from ``before`` to ``now``."""

    @property
    def settings(self) -> tuple[Any, ...]:
        """What it was made with, to compare."""

    def save(self) -> State:
        """What it remembers of the episode."""

    def restore(self, state: State) -> None:
        """Inverse of :meth:`save`."""


def make_info(task: Task, now: Moment, outcome: Outcome, begins: bool = False) -> dict[str, Any]:
    """``info`` on arriving at an observation; where an episode begins, no reward was earned yet."""
    cost = total_cost(outcome.cost_terms, task.costs, task.cost_rule)
    rewards, rule = outcome.reward_terms, task.cost_rule
    return {
        "cost": cost,
        "env_cost": cost,
        "env_cost_rule": np.full(len(cost), rule, object) if isinstance(cost, np.ndarray) else rule,
        "cost_terms": outcome.cost_terms,
        "reward_terms": dict.fromkeys(rewards, 0.0 * now.distance) if begins else rewards,
        "speed": now.ego.speed,
        "distance": now.distance,
        **outcome.info,
        "time_to_collision": now.time_to_collision,
        "headway": now.headway,
    }


def out_of_time(task: Task, now: Moment, terminated: Any) -> Any:
    """Whether the episode is truncated: its time is up, and it did not terminate."""
    return (terminated ^ True) & (now.steps >= task.scenario.decisions)
