"""What an environment needs from a traffic simulator; four of them provide it.

``HighwayEnvTraffic`` drives highway-env's own Python objects (the reference);
``engine.CompiledTraffic`` steps the same rules in compiled code over arrays; ``PathWorld`` has the
roads of this package, and ``MetaDriveWorld`` MetaDrive's maps.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from vlsafe_envs.render import RoadShape
from vlsafe_envs.scene import PACKED_ROUTE, Scene
from vlsafe_envs.state import State

ROUTE_STEP = 0.8  # [m] between waypoints, as in CarDreamer
_ROUTE_STRIDE = 5  # waypoints between points of ``Scene.route``: 4 m


def points_ahead(route: npt.NDArray[np.float64], following: int) -> npt.NDArray[np.float64]:
    """``Scene.route`` of a route ``(K, 2)`` [m] whose next waypoint is the one of that number."""
    return route[following + _ROUTE_STRIDE - 1 :: _ROUTE_STRIDE][:PACKED_ROUTE]


class EgoStatus(NamedTuple):
    """Facts about the ego vehicle that rewards, costs and terminations are made from."""

    speed: float  # [m/s], along the heading
    forward_speed: float  # [m/s], speed * cos(heading - lane heading): progress along the road
    crashed: bool  # touched another vehicle or obstacle since reset
    on_road: bool  # its centre lies on some lane, or less than 1 m beside one
    arrived: bool  # at its goal or beyond (scenarios that have one), else False; crashed or not
    lane_id: int  # index of its lane on its road, 0 = leftmost
    lanes: int  # lanes on its road
    lane_offset: float  # [m], signed distance from the lane's centre line
    lane_heading_error: float  # [rad], heading relative to the lane's
    acceleration: float  # [m/s2], command applied in the last substep
    steering: float  # [rad], command applied in the last substep
    target_speed: float  # [m/s], what its speed controller tracks; speed without one
    target_lane_id: int  # lane its controller steers for; lane_id without one

    @property
    def reached_goal(self) -> bool:
        """Arrived with an intact car: who crashes in the decision that reaches the goal has not."""
        return self.arrived & (self.crashed ^ True)


class IdmAdvice(NamedTuple):
    """What highway-env's IDM/MOBIL driver would do now in the ego vehicle's place."""

    acceleration: float  # [m/s2], from IDM
    lane_change: int  # -1 left, 0 stay, +1 right, from MOBIL
    steering: float  # [rad], to follow the lane that it advises


class Simulator(Protocol):
    """A road full of vehicles; the ego vehicle is row 0 of ``scene``.

    Coordinates are those of :mod:`vlsafe_envs.scene`: x right, y *down*, headings from +x to +y.
    """

    def reset(self, rng: np.random.Generator, density: float | None = None) -> None:
        """Build the road and spawn vehicles; all later randomness comes from ``rng`` too.

        ``density`` is this episode's, at most that of the simulator's settings; None: that one.
        """

    def step(self, action: Any) -> None:
        """Apply one decision for ``1 / policy_frequency`` seconds.

        An array ``(2,)`` of acceleration [m/s2] and steering [rad]; on highway-env's roads also a
        meta-action index (0 LANE_LEFT, 1 IDLE, 2 LANE_RIGHT, 3 FASTER, 4 SLOWER).
        """

    @property
    def scene(self) -> Scene:
        """Where everything is now; ``route`` holds the next points, at most 16, 4 m apart."""

    @property
    def ego(self) -> EgoStatus:
        """Facts about the ego vehicle now."""

    @property
    def road(self) -> RoadShape:
        """The road of this episode, as it is drawn."""

    def save(self) -> State:
        """All that the future depends on, but for the generator; nothing in it changes later.

        Raises:
            NotImplementedError: where the state cannot be copied; see ``snapshots.branches``.
        """

    def restore(self, state: State, rng: np.random.Generator) -> None:
        """Go back to what :meth:`save` returned, here or in a simulator of the same settings.

        All later randomness comes from ``rng``.
        """

    def close(self) -> None:
        """Give back what the simulator holds."""


class RouteSimulator(Simulator, Protocol):
    """A simulator in which the ego vehicle has a route to follow."""

    @property
    def waypoints(self) -> npt.NDArray[np.float64]:
        """The whole route ``(K, 2)`` [m], ``ROUTE_STEP`` apart; fixed between resets."""
