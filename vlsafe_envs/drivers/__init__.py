"""Drivers that act through the environment's own action space, by name.

- ``expert``: on highway-env's roads IDM and MOBIL, with room for merging vehicles and yielding at
  junctions; with a route it holds that, keeps its distance, and waits for a gap where ways cross.
- ``noisy``: the expert with bursts of random actions.
- ``inattentive``: the expert that now and then does nothing for a while; with a route it keeps to
  that then, but sees nobody.
- ``aggressive``: as fast as possible; weaves and brakes late, or looks out for nobody.
- ``brisk``: seeks the freest lane of a highway; elsewhere the expert.
- ``timid``: the expert at 0.6 of its speed; never overtakes.
- ``random``: random actions.
- ``metadrive_ppo``, ``metadrive_idm``: those that MetaDrive ships, on its maps.

Which ids have which: ``registry.driver_names``.
"""

from __future__ import annotations

import pkgutil
from typing import Any

import gymnasium as gym
import numpy as np

from vlsafe_envs.checks import check_choice, check_rng
from vlsafe_envs.drivers.base import DisturbedDriver, Driver, RandomDriver
from vlsafe_envs.env import driving_env
from vlsafe_envs.registry import DRIVER_NAMES, driver_names

__all__ = ["DRIVER_NAMES", "Driver", "driver_names", "make_driver"]


def make_driver(name: str, env: gym.Env[Any, Any], rng: np.random.Generator) -> Driver:
    """The driver ``name`` for ``env``, which may be wrapped.

    Raises:
        ValueError: for an unknown name, an environment that is none of ours and what is no
            generator.
    """
    check_rng(rng)
    inner = driving_env(env, "drivers")
    drivers = inner.scenario.row.drivers
    check_choice("driver", name, tuple(drivers))
    if name == "random":
        return RandomDriver(inner, rng)
    kind: Any = pkgutil.resolve_name(drivers[name])
    if name in kind.disturbed:
        return DisturbedDriver(inner, rng, kind(inner, "expert", rng), name)
    driver: Driver = kind(inner, name, rng)
    return driver
