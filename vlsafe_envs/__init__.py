"""Driving environments with a reward, a cost and frames that a vision-language model can score.

Importing this package registers with Gymnasium all ids of ``registry.ROWS``, such as
``VLSafe-Highway-v0``.  What drives and draws is loaded when first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from vlsafe_envs.registry import ENV_IDS, TASK_IDS, known_ids, register_envs

if TYPE_CHECKING:
    from vlsafe_envs.env import DrivingEnv, vehicles_seen, ways_seen
    from vlsafe_envs.registration import make_env
    from vlsafe_envs.scene import Scene
    from vlsafe_envs.scene_renderer import SceneRenderer

__all__ = [
    "ENV_IDS",
    "TASK_IDS",
    "DrivingEnv",
    "Scene",
    "SceneRenderer",
    "known_ids",
    "make_env",
    "register_envs",
    "vehicles_seen",
    "ways_seen",
]

_HOMES = {
    "DrivingEnv": "env",
    "Scene": "scene",
    "SceneRenderer": "scene_renderer",
    "make_env": "registration",
    "vehicles_seen": "env",
    "ways_seen": "env",
}

register_envs()


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
