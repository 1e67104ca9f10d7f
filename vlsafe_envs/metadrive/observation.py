"""MetaDrive's own observation, or none of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from vlsafe_envs.observations import VectorKind

# What MetaDrive tells: the ego vehicle (9), the next two checkpoints (10) and a lidar of 240 rays.
VECTOR_SIZE = 9 + 10 + 240


def unobserved() -> dict[str, Any]:
    """Settings of MetaDrive's for environments that make their own observations.

    The lidar's 240 rays are a good part of MetaDrive's step.
    """
    from metadrive.obs.observation_base import DummyObservation

    return {"agent_observation": DummyObservation}


def metadrive_vector(observation: Any) -> npt.NDArray[np.float32]:
    """MetaDrive's own observation as float32 ``(259,)`` within the bounds that it promises."""
    return np.clip(observation, 0.0, 1.0).astype(np.float32)


METADRIVE_VECTOR = VectorKind(
    0.0, 1.0, VECTOR_SIZE, lambda simulator, *_: metadrive_vector(simulator.outcome.observation)
)
