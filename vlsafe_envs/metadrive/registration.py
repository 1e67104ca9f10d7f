"""Gymnasium ids on MetaDrive, and the functions behind them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import gymnasium as gym

from vlsafe_envs.checks import check_choice, check_options
from vlsafe_envs.judged import check_cost, judged
from vlsafe_envs.metadrive.missing import require_metadrive
from vlsafe_envs.metadrive.navigation import NavigationEnv
from vlsafe_envs.metadrive.safe_env import SafeDrivingEnv
from vlsafe_envs.metadrive.scenario import MetaDriveTraffic
from vlsafe_envs.tasks import TaskScenario
from vlsafe_envs.tasks.make import SHORT_OPTIONS, split_options

if TYPE_CHECKING:
    from gymnasium.vector import VectorEnv

METADRIVE_IDS = {
    "VLSafe-Navigation-v0": "navigation",
    "VLSafe-MetaDrive-v0": "metadrive",
}
DURATION = 100.0  # [s], MetaDrive's 1000 steps
_TRAFFIC = tuple(f.name for f in dataclasses.fields(MetaDriveTraffic) if f.name != "scenario")
_TASK_OPTIONS = ("observation", "rewards", "costs", "rules", "scene_in_info", "render_mode")
_SAFE_OPTIONS = (
    *_TRAFFIC,
    "observation",
    "crash_cost",
    "solid_lines",
    "crash_terminal",
    "scene_in_info",
    "render_mode",
    "duration",
    "cruise_speed",
)
_NAVIGATION_OPTIONS = (
    *_TRAFFIC,
    *_TASK_OPTIONS,
    "vector",
    "duration",
    "cruise_speed",
    *SHORT_OPTIONS,
)


def scenario_on(name: str, **settings: Any) -> TaskScenario:
    """The scenario ``name`` with some settings replaced; ``None`` means the default.

    Raises ``ValueError`` for impossible values.
    """
    given = {key: value for key, value in settings.items() if value is not None}
    traffic = MetaDriveTraffic(name, **{k: given.pop(k) for k in _TRAFFIC if k in given})
    return TaskScenario(traffic, **{"duration": DURATION, **given})


def read_metadrive_options(
    name: str, options: Mapping[str, Any]
) -> tuple[TaskScenario, dict[str, Any]]:
    """The scenario, and the arguments of the environment around it.

    Raises ``ValueError`` for unknown options and impossible values.
    """
    if name == "navigation":
        check_options(options, _NAVIGATION_OPTIONS)
        settings, arguments = split_options(options)
        if "vector" in settings:
            arguments["vector"] = settings.pop("vector")
    else:
        check_options(options, _SAFE_OPTIONS)
        arguments = {key: value for key, value in options.items() if value is not None}
        names = (*_TRAFFIC, "duration", "cruise_speed")
        settings = {key: arguments.pop(key) for key in names if key in arguments}
    return scenario_on(name, **settings), arguments


def make_metadrive_env(
    scenario: str, *, scorer: Any = "bundled", cost: str = "either", **options: Any
) -> gym.Env[Any, Any]:
    """Build an environment on MetaDrive; what ``gym.make`` calls.

    Args:
        scenario: ``"navigation"`` or ``"metadrive"``.
        scorer: see :func:`~vlsafe_envs.registration.make_env`.
        cost: see :func:`~vlsafe_envs.registration.make_env`.
        options: fields of :class:`MetaDriveTraffic` and arguments of the environment; ``None`` for
            a default.

    Raises ``ImportError`` where MetaDrive is not installed, ``ValueError`` for unknown options and
    impossible values.
    """
    require_metadrive()
    check_cost(cost, scorer)
    check_choice("scenario", scenario, tuple(_ENVS))
    road, arguments = read_metadrive_options(scenario, options)
    return judged(_ENVS[scenario](road, **arguments), scorer, cost)


def make_metadrive_vector_env(
    scenario: str, num_envs: int = 1, *, autoreset_mode: Any = "NextStep", **options: Any
) -> VectorEnv[Any, Any, Any]:
    """N environments in processes of their own, since MetaDrive runs once in a process.

    What ``gym.make_vec`` calls.  Takes the arguments of :func:`make_metadrive_env`.
    """
    from vlsafe_envs.gym_vector import CheckedAsyncVectorEnv

    require_metadrive()
    one = functools.partial(make_metadrive_env, scenario, **options)
    return CheckedAsyncVectorEnv(one, num_envs, autoreset_mode)


def metadrive_scenario(env_id: str) -> TaskScenario:
    """The default scenario of one of our ids on MetaDrive."""
    return scenario_on(METADRIVE_IDS[env_id])


_ENVS: dict[str, Any] = {"navigation": NavigationEnv, "metadrive": SafeDrivingEnv}


def register_metadrive() -> None:
    """Register the ids, whether or not MetaDrive is installed: making one then says what to do."""
    for env_id, scenario in METADRIVE_IDS.items():
        if env_id not in gym.registry:
            gym.register(
                env_id,
                f"{__name__}:make_metadrive_env",
                vector_entry_point=f"{__name__}:make_metadrive_vector_env",
                kwargs={"scenario": scenario},
            )
