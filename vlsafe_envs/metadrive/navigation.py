"""Navigation on MetaDrive's maps: the paper's longest task, with either kind of vector."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from vlsafe_envs.checks import check_choice
from vlsafe_envs.metadrive.observation import metadrive_space, metadrive_vector, unobserved
from vlsafe_envs.metadrive.world import MetaDriveWorld
from vlsafe_envs.tasks import TaskEnv, TaskScenario

VECTORS = ("features", "metadrive")


class NavigationEnv(TaskEnv):
    """Drive a long random route through a road network with traffic.

    Args:
        scenario: maps, traffic and episode.
        vector: ``"features"``, the 107 numbers of the other tasks, so that one agent may drive them
            all, or ``"metadrive"``, the simulator's own 259 (ego vehicle, navigation and lidar).
        observation: ``"image"``, ``"vector"`` or ``"multi"``.
        arguments: of :class:`~vlsafe_envs.tasks.TaskEnv`.

    Raises ``ValueError`` for unknown choices.
    """

    def __init__(
        self,
        scenario: TaskScenario,
        vector: str = "features",
        observation: str = "image",
        **arguments: Any,
    ) -> None:
        check_choice("vector", vector, VECTORS)
        self.vector = vector
        theirs = vector == "metadrive" and observation != "image"
        world = MetaDriveWorld(scenario.traffic, dict if theirs else unobserved)
        super().__init__(world, scenario, observation, **arguments)
        if theirs:
            self.observation_space = metadrive_space(observation)

    def _vector(self) -> npt.NDArray[np.float32]:
        if self.vector == "features":
            return super()._vector()
        return metadrive_vector(self.world.outcome.observation)  # type: ignore[attr-defined]
