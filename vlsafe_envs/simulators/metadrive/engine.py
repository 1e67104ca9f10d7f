"""MetaDrive without its assets, and not more than one of it in a process.

MetaDrive's wheel carries no models and textures: it downloads them when its engine starts.  Driving
without a 3-D picture opens none of them, so this engine starts without.  Assets that are there are
left alone and used by MetaDrive as ever.  Nothing of MetaDrive's own is changed: both classes are
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
    from metadrive.constants import DEFAULT_AGENT
    from metadrive.engine.asset_loader import AssetLoader
    from metadrive.engine.base_engine import BaseEngine
    from metadrive.engine.engine_utils import close_engine, engine_initialized
    from metadrive.envs.safe_metadrive_env import SafeMetaDriveEnv
    from metadrive.manager.object_manager import TrafficObjectManager
    from metadrive.manager.traffic_manager import PGTrafficManager

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
