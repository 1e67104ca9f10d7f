"""Gymnasium ids, and the function behind them."""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from .scenarios import SCENARIOS, Scenario, check_choice, make_scenario

ENV_IDS = {
    "VLSafe-Highway-v0": "highway",
    "VLSafe-Merge-v0": "merge",
    "VLSafe-Roundabout-v0": "roundabout",
    "VLSafe-Intersection-v0": "intersection",
}
COST_MODES = ("either", "env", "vlm")
_SCENARIO_OPTIONS = (
    "action",
    "density",
    "vehicles",
    "lanes",
    "duration",
    "policy_frequency",
    "simulation_frequency",
    "target_speeds",
    "initial_speed",
    "ego_spacing",
    "destination",
    "spawn_probability",
)
_ENV_OPTIONS = (
    "observation",
    "engine",
    "rewards",
    "costs",
    "scene_in_info",
    "offroad_terminal",
    "render_mode",
)


def scenario_of(env_id: str) -> Scenario:
    """The default scenario of an id.  Raises ``ValueError`` for an id that is not ours."""
    name = env_id.rpartition(":")[2]
    check_choice("env_id", name, tuple(ENV_IDS))
    return SCENARIOS[ENV_IDS[name]]


def make_env(
    scenario: str, *, scorer: Any = "bundled", cost: str = "either", **options: Any
) -> gym.Env[Any, Any]:
    """Build an environment; what ``gym.make`` calls.

    Args:
        scenario: ``"highway"``, ``"merge"``, ``"roundabout"`` or ``"intersection"``.
        scorer: the judge of every frame (see ``wrappers.make_scorer``); ``None`` for no judge.
        cost: how ``info["cost"]`` is made with a judge: ``"either"``, ``"env"`` or ``"vlm"``.
        options: fields of :class:`~vlsafe_envs.scenarios.TrafficConfig`, ``duration`` [s] and
            arguments of :class:`~vlsafe_envs.driving_env.DrivingEnv`; ``None`` for a default.

    Raises ``ValueError`` for unknown options and impossible values.
    """
    from .driving_env import DrivingEnv

    known = _SCENARIO_OPTIONS + _ENV_OPTIONS
    for key in options:
        if key not in known:
            names = ", ".join(sorted((*known, "scorer", "cost")))
            raise ValueError(f"unknown option {key!r}={options[key]!r}: the options are {names}")
    check_choice("cost", cost, COST_MODES)
    road = make_scenario(scenario, **{k: v for k, v in options.items() if k in _SCENARIO_OPTIONS})
    arguments = {k: v for k, v in options.items() if k in _ENV_OPTIONS and v is not None}
    env = DrivingEnv(road, **arguments)
    if scorer is None:
        return env
    from wrappers import VLMCost

    return VLMCost(env, scorer, cost=cost)


def register_envs() -> None:
    """Register our ids with Gymnasium; a second call changes nothing."""
    for env_id, scenario in ENV_IDS.items():
        if env_id not in gym.registry:
            gym.register(env_id, f"{__name__}:make_env", kwargs={"scenario": scenario})
