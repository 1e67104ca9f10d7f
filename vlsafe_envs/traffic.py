"""What an environment needs from a traffic simulator; two simulators provide it.

``HighwayEnvTraffic`` drives highway-env's own Python objects (the reference);
``engine.CompiledTraffic`` steps the same rules in compiled code over arrays.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from vlsafe_envs.scene import Scene


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


class Traffic(Protocol):
    """A road full of vehicles; the ego vehicle is row 0 of ``scene``."""

    def reset(self, rng: np.random.Generator) -> None:
        """Build the road and spawn vehicles; all later randomness comes from ``rng`` too."""

    def step(self, action: int | npt.NDArray[np.floating]) -> None:
        """Apply one decision for ``1 / policy_frequency`` seconds.

        A meta-action index (0 LANE_LEFT, 1 IDLE, 2 LANE_RIGHT, 3 FASTER, 4 SLOWER) or an array
        ``(2,)`` of acceleration [m/s2] and steering [rad].
        """

    @property
    def scene(self) -> Scene:
        """Where everything is now."""

    @property
    def ego(self) -> EgoStatus:
        """Facts about the ego vehicle now."""

    def idm(self, target_speed: float) -> IdmAdvice:
        """IDM and MOBIL advice for the ego vehicle, wishing to drive at ``target_speed`` [m/s]."""
