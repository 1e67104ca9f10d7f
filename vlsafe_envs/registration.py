"""Gymnasium ids, and the function behind them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gymnasium as gym

from .metadrive.registration import (
    METADRIVE_IDS,
    make_metadrive_env,
    metadrive_scenario,
    register_metadrive,
)
from .scenarios import SCENARIOS, Scenario, check_choice, make_scenario

if TYPE_CHECKING:
    from gymnasium.vector import VectorEnv

    from .driving_batch import DrivingBatch
    from .tasks import TaskScenario

# Those on highway-env's roads.
ENV_IDS = {
    "VLSafe-Highway-v0": "highway",
    "VLSafe-Merge-v0": "merge",
    "VLSafe-Roundabout-v0": "roundabout",
    "VLSafe-Intersection-v0": "intersection",
}
# Those with a route to follow, on roads of our own.
TASK_IDS = {
    "VLSafe-FourLane-v0": "four_lane",
    "VLSafe-LeftTurn-v0": "left_turn",
    "VLSafe-RightTurn-v0": "right_turn",
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


def known_ids() -> tuple[str, ...]:
    """All ids that are ours."""
    return (*ENV_IDS, *TASK_IDS, *METADRIVE_IDS)


def bare_id(env_id: str) -> str:
    """The id without ``"vlsafe_envs:"``.  Raises ``ValueError`` for one that is not ours."""
    name = env_id.rpartition(":")[2]
    check_choice("env_id", name, known_ids())
    return name


def scenario_of(env_id: str) -> Scenario | TaskScenario:
    """The default scenario of an id.  Raises ``ValueError`` for an id that is not ours."""
    name = bare_id(env_id)
    if name in ENV_IDS:
        return SCENARIOS[ENV_IDS[name]]
    if name in METADRIVE_IDS:
        return metadrive_scenario(name)
    from .tasks.make import make_task_scenario

    return make_task_scenario(TASK_IDS[name])


def maker_of(env_id: str) -> Callable[..., gym.Env[Any, Any]]:
    """What builds one environment of an id; raises ``ValueError`` for an id that is not ours."""
    name = bare_id(env_id)
    if name in ENV_IDS:
        return functools.partial(make_env, ENV_IDS[name])
    if name in METADRIVE_IDS:
        return functools.partial(make_metadrive_env, METADRIVE_IDS[name])
    return functools.partial(make_task_env, TASK_IDS[name])


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

    road, arguments = _read_options(scenario, cost, options)
    return judged(DrivingEnv(road, **arguments), scorer, cost)


def judged(env: gym.Env[Any, Any], scorer: Any, cost: str) -> gym.Env[Any, Any]:
    """``env`` with a judge of every frame, or ``env`` itself when ``scorer`` is ``None``."""
    if scorer is None:
        return env
    from wrappers import VLMCost

    return VLMCost(env, scorer, cost=cost)


def make_task_env(
    scenario: str, *, scorer: Any = "bundled", cost: str = "either", **options: Any
) -> gym.Env[Any, Any]:
    """Build a task with a route to follow; what ``gym.make`` calls.

    Args:
        scenario: ``"four_lane"``, ``"left_turn"`` or ``"right_turn"``.
        scorer: see :func:`make_env`.
        cost: see :func:`make_env`.
        options: fields of :class:`~vlsafe_envs.tasks.make.PathTraffic`, ``duration`` [s],
            ``cruise_speed`` and ``desired_speed`` [m/s], ``collision_cost`` and arguments of
            :class:`~vlsafe_envs.tasks.TaskEnv`; ``None`` for a default.

    Raises ``ValueError`` for unknown options and impossible values.
    """
    from .tasks.make import make_task

    check_choice("cost", cost, COST_MODES)
    return judged(make_task(scenario, options), scorer, cost)


def make_task_vector_env(
    scenario: str, num_envs: int = 1, *, autoreset_mode: Any = "NextStep", **options: Any
) -> VectorEnv[Any, Any, Any]:
    """N tasks, stepped one after the other; what ``gym.make_vec`` calls.

    Takes the arguments of :func:`make_task_env` and ``autoreset_mode``, see
    :func:`make_vector_env`.  Raises ``ValueError`` for unknown options and impossible values.
    """
    one = functools.partial(make_task_env, scenario, **options)
    mode = gym.vector.AutoresetMode(autoreset_mode)
    return gym.vector.SyncVectorEnv([one] * num_envs, autoreset_mode=mode)


def make_vector_env(
    scenario: str,
    num_envs: int = 1,
    *,
    scorer: Any = "bundled",
    cost: str = "either",
    autoreset_mode: Any = "NextStep",
    **options: Any,
) -> VectorEnv[Any, Any, Any]:
    """Build N environments that are stepped together; what ``gym.make_vec`` calls.

    Takes the arguments of :func:`make_env`.  All frames are judged in one call of one scorer.
    Where the compiled engine cannot be used, it is Gymnasium's ``SyncVectorEnv`` (with
    ``engine="auto"``, a warning says so once).

    Args:
        scenario: see :func:`make_env`.
        num_envs: how many.
        scorer: see :func:`make_env`.
        cost: see :func:`make_env`.
        autoreset_mode: ``"NextStep"``, ``"SameStep"`` or ``"Disabled"``, see
            https://farama.org/Vector-Autoreset-Mode.
        options: see :func:`make_env`.

    Raises ``ValueError`` for unknown options and impossible values.
    """
    from .vector_env import VectorDrivingEnv

    batch = make_batch(scenario, num_envs, scorer=scorer, cost=cost, **options)
    if batch is not None:
        return VectorDrivingEnv(batch, autoreset_mode)
    one = functools.partial(make_env, scenario, scorer=scorer, cost=cost, **options)
    mode = gym.vector.AutoresetMode(autoreset_mode)
    return gym.vector.SyncVectorEnv([one] * num_envs, autoreset_mode=mode)


def make_batch(
    scenario: str, num_envs: int, *, scorer: Any = "bundled", cost: str = "either", **options: Any
) -> DrivingBatch | None:
    """The environments that :func:`make_vector_env` steps together; ``None`` where it cannot.

    Raises ``ValueError`` for unknown options and impossible values.
    """
    from .driving_batch import DrivingBatch
    from .driving_env import compiled_traffic

    road, arguments = _read_options(scenario, cost, options)
    engine = arguments.pop("engine", "auto")
    # Windows belong to environments of their own.
    if arguments.get("render_mode") == "human" or compiled_traffic(road.traffic, engine) is None:
        return None
    judge = None
    if scorer is not None:
        from wrappers import FrameJudge

        judge = FrameJudge(scorer, cost)
    return DrivingBatch(road, num_envs, judge, **arguments)


def _read_options(
    scenario: str, cost: str, options: dict[str, Any]
) -> tuple[Scenario, dict[str, Any]]:
    """The road, and the arguments of the environment on it; raises ``ValueError``."""
    known = _SCENARIO_OPTIONS + _ENV_OPTIONS
    for key in options:
        if key not in known:
            names = ", ".join(sorted((*known, "scorer", "cost")))
            raise ValueError(f"unknown option {key!r}={options[key]!r}: the options are {names}")
    check_choice("cost", cost, COST_MODES)
    road = make_scenario(scenario, **{k: v for k, v in options.items() if k in _SCENARIO_OPTIONS})
    return road, {k: v for k, v in options.items() if k in _ENV_OPTIONS and v is not None}


def register_envs() -> None:
    """Register our ids with Gymnasium; a second call changes nothing."""
    for env_id, scenario in ENV_IDS.items():
        if env_id not in gym.registry:
            gym.register(
                env_id,
                f"{__name__}:make_env",
                vector_entry_point=f"{__name__}:make_vector_env",
                kwargs={"scenario": scenario},
            )
    for env_id, scenario in TASK_IDS.items():
        if env_id not in gym.registry:
            gym.register(
                env_id,
                f"{__name__}:make_task_env",
                vector_entry_point=f"{__name__}:make_task_vector_env",
                kwargs={"scenario": scenario},
            )
    register_metadrive()
