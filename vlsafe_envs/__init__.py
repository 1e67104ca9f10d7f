"""Driving environments with a reward, a cost and frames that a vision-language model can score.

Importing this package registers with Gymnasium all ids of ``registry.ROWS``, such as
``VLSafe-Highway-v0``.
"""

from vlsafe_envs.env import DrivingEnv, vehicles_seen, ways_seen
from vlsafe_envs.registration import make_env, register_envs
from vlsafe_envs.registry import ENV_IDS, TASK_IDS, known_ids
from vlsafe_envs.scene import Scene
from vlsafe_envs.scene_renderer import SceneRenderer

register_envs()

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
