"""What is read off highway-env's objects: the scene, and facts about the ego vehicle."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from highway_env.road.road import Road, RoadNetwork
from highway_env.utils import wrap_to_pi
from highway_env.vehicle.kinematics import Vehicle

from vlsafe_envs.scene import Scene
from vlsafe_envs.simulator import EgoStatus

ON_ROAD_MARGIN = 1.0  # [m], half a vehicle's width: off the road is the whole body beyond the edge


def read_scene(road: Road, ego: Vehicle, route: npt.NDArray[np.float64]) -> Scene:
    """Where everything is now; obstacles are rows like vehicles, standing still.

    Args:
        route: points ``(K, 2)`` [m] of the ego vehicle's way ahead.
    """
    others = [vehicle for vehicle in road.vehicles if vehicle is not ego]
    things = [ego, *others, *road.objects]
    return Scene(
        position=np.array([thing.position for thing in things], np.float64),
        heading=np.array([thing.heading for thing in things], np.float64),
        speed=np.array([thing.speed for thing in things], np.float64),
        length=np.array([thing.LENGTH for thing in things], np.float64),
        width=np.array([thing.WIDTH for thing in things], np.float64),
        route=route,
    )


def read_ego(network: RoadNetwork, ego: Vehicle, arrived: bool) -> EgoStatus:
    """Facts about the ego vehicle now."""
    longitudinal, lateral = ego.lane.local_coordinates(ego.position)
    heading_error = float(wrap_to_pi(ego.heading - ego.lane.heading_at(longitudinal)))
    target_lane = getattr(ego, "target_lane_index", ego.lane_index)
    start, end, lane_id = ego.lane_index
    return EgoStatus(
        speed=float(ego.speed),
        forward_speed=float(ego.speed * np.cos(heading_error)),
        crashed=bool(ego.crashed),
        on_road=_on_road(network, ego),
        arrived=arrived,
        lane_id=int(lane_id),
        lanes=len(network.graph[start][end]),
        lane_offset=float(lateral),
        lane_heading_error=heading_error,
        acceleration=float(ego.action["acceleration"]),
        steering=float(ego.action["steering"]),
        target_speed=float(getattr(ego, "target_speed", ego.speed)),
        target_lane_id=int(target_lane[2]),
    )


def _on_road(network: RoadNetwork, ego: Vehicle) -> bool:
    """Some lanes do not quite meet where they join; the margin bridges that."""
    return any(
        bool(lane.on_lane(ego.position, margin=ON_ROAD_MARGIN)) for lane in network.lanes_list()
    )
