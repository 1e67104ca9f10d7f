"""What a task needs from a traffic simulator: vehicles, a road, and a route for the ego vehicle.

Two kinds of simulator provide it: the compiled roads of this package, and MetaDrive.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from vlsafe_envs.render import RoadShape
from vlsafe_envs.scene import Scene
from vlsafe_envs.traffic import EgoStatus

ROUTE_STEP = 0.8  # [m] between waypoints, as in CarDreamer


class World(Protocol):
    """A traffic simulator in which the ego vehicle has a route; row 0 of ``scene`` is the ego.

    Coordinates are those of :mod:`vlsafe_envs.scene`: x right, y *down*, headings from +x to +y.
    """

    def reset(self, rng: np.random.Generator) -> None:
        """Build the episode; all later randomness comes from ``rng`` too."""

    def step(self, command: npt.NDArray[np.floating]) -> None:
        """Drive for ``1 / policy_frequency`` seconds.

        ``command (2,)``: acceleration [m/s2] and wheel angle [rad].
        """

    @property
    def scene(self) -> Scene:
        """Where everything is now; ``route`` holds the next points, at most 16, 4 m apart."""

    @property
    def ego(self) -> EgoStatus:
        """Facts about the ego vehicle now."""

    @property
    def waypoints(self) -> npt.NDArray[np.float64]:
        """The whole route ``(K, 2)`` [m], ``ROUTE_STEP`` apart; fixed between resets."""

    @property
    def road(self) -> RoadShape:
        """The road of this episode."""

    def close(self) -> None:
        """Give back what the simulator holds."""
