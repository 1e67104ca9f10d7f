"""What drivers are rewarded and charged for, and when an episode ends; see ``task.Task``."""

from vlsafe_envs.tasks.cruise import CruiseTask
from vlsafe_envs.tasks.metadrive import MetaDriveTask
from vlsafe_envs.tasks.route import RouteTask, TaskCosts, TaskRewards, TaskRules

__all__ = [
    "CruiseTask",
    "MetaDriveTask",
    "RouteTask",
    "TaskCosts",
    "TaskRewards",
    "TaskRules",
]
