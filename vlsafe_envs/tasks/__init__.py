"""The paper's tasks: a route to follow through traffic, over any :class:`World`."""

from .rules import TaskCosts, TaskRewards, TaskRules
from .scenario import TaskScenario
from .task_env import TaskEnv
from .world import ROUTE_STEP, World

__all__ = [
    "ROUTE_STEP",
    "TaskCosts",
    "TaskEnv",
    "TaskRewards",
    "TaskRules",
    "TaskScenario",
    "World",
]
