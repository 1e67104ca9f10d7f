"""MetaDrive's own observation, or none of it."""

from __future__ import annotations

from typing import Any


def unobserved() -> dict[str, Any]:
    """Settings of MetaDrive's for environments that make their own observations.

    The lidar's 240 rays are a good part of MetaDrive's step.
    """
    from metadrive.obs.observation_base import DummyObservation

    return {"agent_observation": DummyObservation}
