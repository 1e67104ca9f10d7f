"""The paper's tasks: a route to follow through traffic, over any :class:`World`."""

from vlsafe_envs.tasks.rules import TaskCosts, TaskRewards, TaskRules
from vlsafe_envs.tasks.scenario import TaskScenario
from vlsafe_envs.tasks.task_env import TaskEnv
from vlsafe_envs.tasks.world import ROUTE_STEP, World

__all__ = [
    "ROUTE_STEP",
    "TaskCosts",
    "TaskEnv",
    "TaskRewards",
    "TaskRules",
    "TaskScenario",
    "World",
]
