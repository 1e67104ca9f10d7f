"""MetaDrive without its assets, and not more than one of it in a process.

MetaDrive's wheel carries no models and textures: it downloads them when its engine starts.  Driving
without a 3-D picture opens none of them, so this engine starts without.  Assets that are there are
left alone and used by MetaDrive as ever.  Nothing of MetaDrive's own is changed: all classes are
subclasses, and only environments made here use them.
"""

from __future__ import annotations

import contextlib
import logging
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np

from vlsafe_envs.simulators.metadrive.missing import require_metadrive

require_metadrive()


@contextlib.contextmanager
def _root_logger_kept() -> Iterator[None]:
    """MetaDrive has Python's root logger tell everything; its level is the user's affair."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        root.handlers[:], root.level = handlers, level


with _root_logger_kept():
    from metadrive.component.road_network import Road
    from metadrive.constants import DEFAULT_AGENT
    from metadrive.engine.asset_loader import AssetLoader
    from metadrive.engine.base_engine import BaseEngine
    from metadrive.engine.engine_utils import close_engine, engine_initialized
    from metadrive.envs.safe_metadrive_env import SafeMetaDriveEnv
    from metadrive.manager.object_manager import TrafficObjectManager
    from metadrive.manager.traffic_manager import PGTrafficManager, TrafficMode

_ONE_ENGINE = (
    "MetaDrive runs one engine a process, and another environment of this process has it: close() "
    "that one first, or give every environment a process of its own (stable_baselines3's "
    "SubprocVecEnv, gymnasium's AsyncVectorEnv)"
)
_owner: weakref.ref[Any] | None = None


def claim_engine(owner: Any) -> None:
    """Make ``owner`` the one that may start the engine, until :func:`release_engine`.

    An engine whose owner is gone without having been closed is closed here.  Raises
    ``RuntimeError`` when another owner, or a MetaDrive environment that is not ours, has it.
    """
    global _owner
    holder = _owner() if _owner is not None else None
    if holder is owner:
        return
    if holder is not None or (_owner is None and engine_initialized()):
        raise RuntimeError(_ONE_ENGINE)
    if engine_initialized():
        close_engine()
    _owner = weakref.ref(owner)


def release_engine(owner: Any) -> None:
    """Close the engine, if ``owner`` has it."""
    global _owner
    if _owner is not None and _owner() is owner:
        close_engine()
        _owner = None


class AssetFreeEngine(BaseEngine):
    """MetaDrive's engine, which starts whether or not the assets are there."""

    @staticmethod
    def try_pull_asset() -> None:
        """Download nothing."""


class LeanTraffic(PGTrafficManager):
    """MetaDrive's traffic, of whose vehicles is found out only what their drivers ask for.

    MetaDrive works out the same after every step as of the ego vehicle: distances to the road's
    edges, contacts, energy, the way to checkpoints.  Nobody reads that of the others.
    """

    def after_step(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """As MetaDrive's: where the vehicles are now; those that have left the road go."""
        if self.mode != TrafficMode.Trigger:
            found: dict[str, Any] = super().after_step(*args, **kwargs)
            return found
        for vehicle in self._traffic_vehicles:
            find_on_route(vehicle)
        for vehicle in [one for one in self._traffic_vehicles if not one.on_lane]:
            self.clear_objects([vehicle.id])
            self._traffic_vehicles.remove(vehicle)
        return {}


def find_on_route(vehicle: Any) -> None:
    """Look up which lane a vehicle is on, and which roads of its route it is between.

    Of ``NodeNetworkNavigation.update_localization`` what MetaDrive's drivers read.
    """
    navigation = vehicle.navigation
    lane, index = navigation._update_current_lane(vehicle)
    along, _ = lane.local_coordinates(vehicle.position)
    if not navigation._update_target_checkpoints(index, along):
        return
    graph, points = navigation.map.road_network.graph, navigation.checkpoints
    here, there = ((points[k], points[k + 1]) for k in navigation._target_checkpoints_index)
    navigation.current_road, navigation.current_ref_lanes = Road(*here), graph[here[0]][here[1]]
    last = here[0] == there[0]
    navigation.next_road = None if last else Road(*there)
    navigation.next_ref_lanes = None if last else graph[there[0]][there[1]]


class AssetFreeEnv(SafeMetaDriveEnv):
    """MetaDrive's safe driving environment on :class:`AssetFreeEngine`.

    ``reset(seed)`` is MetaDrive's: a map's index.  ``traffic_seed``, set before it, seeds what is
    on the map; MetaDrive itself has one traffic a map.

    Raises:
        ValueError: for settings that draw in 3-D where the assets are not there.
    """

    traffic_seed: int | None = None

    def __init__(self, config: dict[str, Any]) -> None:
        if needs_assets(config) and not assets_present():
            raise ValueError(
                "use_render or image_observation: drawing in 3-D needs MetaDrive's assets, which "
                f"are not in {AssetLoader.asset_path}; download them with "
                "`python -m metadrive.pull_asset`, or draw top-down (render_mode='rgb_array')"
            )
        super().__init__({**config, "random_spawn_lane_index": False})

    def lazy_init(self) -> None:
        """Start the engine, as MetaDrive's own method does, but without the download."""
        if engine_initialized():
            return
        BaseEngine.singleton = AssetFreeEngine(self.config)
        self.setup_engine()
        self._after_lazy_init()

    def setup_engine(self) -> None:
        """As MetaDrive's, with :class:`LeanTraffic`."""
        super().setup_engine()
        self.engine.update_manager("traffic_manager", LeanTraffic())

    def seed(self, seed: int | None = None) -> None:
        """Seed the map, and apart from it the traffic."""
        super().seed(seed)
        if self.traffic_seed is None or seed is None:
            return
        for manager in self.engine.managers.values():
            if isinstance(manager, PGTrafficManager | TrafficObjectManager):
                manager.seed(self.traffic_seed)
        # MetaDrive's own draw of the lane differs between the first reset and later ones.
        lanes = self.config["map_config"]["lane_num"]
        lane = int(np.random.default_rng(self.traffic_seed).integers(lanes))
        agent = self.config["agent_configs"][DEFAULT_AGENT]
        agent["spawn_lane_index"] = (*agent["spawn_lane_index"][:2], lane)


def needs_assets(config: dict[str, Any]) -> bool:
    """Whether MetaDrive would open models or textures with these settings."""
    return bool(config.get("use_render") or config.get("image_observation"))


def assets_present() -> bool:
    """Whether MetaDrive's assets lie where it looks for them."""
    return bool(AssetLoader.asset_path.exists())
