"""Named settings of `PPOLag` and `TRPOLag`: `PPOLag(policy, env, **preset("highway"))`."""

from __future__ import annotations

import copy
from typing import Any

# For VLSafe-Highway-v0 at 1 decision per second, 40 s per episode, 8 parallel environments. A
# crash costs 10, so a limit of 0.5 allows one crash in twenty episodes if nothing else costs.
# A starting point in the usual ranges, not the result of a search.
HIGHWAY: dict[str, Any] = {
    "cost_limit": 0.5,
    "lagrange": "pid",
    "lagrange_kwargs": {"kp": 0.05, "ki": 0.01, "kd": 0.05, "ema": 0.5, "maximum": 20.0},
    "n_steps": 128,  # 8 environments: 1,024 steps, 25 and more episodes, per update
    "batch_size": 256,
    "n_epochs": 10,
    "learning_rate": 5e-4,
    "gamma": 0.95,  # 20 s ahead
    "gae_lambda": 0.9,
    "ent_coef": 0.01,
}

# For the tasks with a route, at 10 decisions per second, rewards times 0.1 (`--reward-scale`).
# Untrained policies cost 50 an episode there, nearly all of it for leaving the lane: with the gains
# above, the multiplier climbs to its maximum of 20 and stays, and the policy learns to park.
ROUTE: dict[str, Any] = {
    **HIGHWAY,
    "cost_limit": 1.0,
    "lagrange_kwargs": {"kp": 0.002, "ki": 0.0005, "kd": 0.0, "ema": 0.5, "maximum": 1.0},
    "gamma": 0.99,  # 10 s ahead
    "gae_lambda": 0.95,
}

# What TRPO has, too; its own settings are left as sb3-contrib's.
_SHARED_WITH_TRPO = ("cost_limit", "lagrange", "lagrange_kwargs", "n_steps", "gamma", "gae_lambda")

PRESETS: dict[str, dict[str, Any]] = {"highway": HIGHWAY, "route": ROUTE}


def preset(name: str, **changes: Any) -> dict[str, Any]:
    """A copy of the settings called `name`, with `changes` laid over them.

    Raises:
        ValueError: if there are no such settings
    """
    if name not in PRESETS:
        raise ValueError(f"Unknown preset {name!r}; choose one of {sorted(PRESETS)}.")
    return copy.deepcopy(PRESETS[name]) | changes


def trpo_preset(name: str, **changes: Any) -> dict[str, Any]:
    """Of :func:`preset`, what `TRPOLag` takes, with `changes` laid over it.

    Raises:
        ValueError: if there are no such settings
    """
    found = preset(name)
    return {key: found[key] for key in _SHARED_WITH_TRPO} | changes
