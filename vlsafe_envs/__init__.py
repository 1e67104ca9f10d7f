"""Driving environments with a reward, a cost and frames that a vision-language model can judge.

Importing this package registers ``VLSafe-Highway-v0``, ``VLSafe-Merge-v0``,
``VLSafe-Roundabout-v0`` and ``VLSafe-Intersection-v0`` with Gymnasium.
"""

from .driving_env import DrivingEnv
from .registration import ENV_IDS, make_env, register_envs
from .scene import Scene
from .scene_renderer import SceneRenderer

register_envs()

__all__ = ["ENV_IDS", "DrivingEnv", "Scene", "SceneRenderer", "make_env", "register_envs"]
