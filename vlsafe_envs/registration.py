"""Gymnasium ids, and the function behind them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import gymnasium as gym

from vlsafe_envs.checks import (
    check_autoreset,
    check_choice,
    check_num_envs,
    check_options,
)
from vlsafe_envs.judged import check_cost, check_scorer, judged
from vlsafe_envs.metadrive.registration import (
    METADRIVE_IDS,
    make_metadrive_env,
    metadrive_scenario,
    read_metadrive_options,
    register_metadrive,
)
from vlsafe_envs.scenarios import SCENARIOS, Scenario, make_scenario

if TYPE_CHECKING:
    from gymnasium.vector import VectorEnv

    from vlsafe_envs.driving_batch import DrivingBatch
    from vlsafe_envs.tasks import TaskScenario

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
    name = env_id.removeprefix("vlsafe_envs:") if isinstance(env_id, str) else env_id
    check_choice("env_id", name, known_ids())
    return name


def scenario_of(env_id: str) -> Scenario | TaskScenario:
    """The default scenario of an id.  Raises ``ValueError`` for an id that is not ours."""
    name = bare_id(env_id)
    if name in ENV_IDS:
        return SCENARIOS[ENV_IDS[name]]
    if name in METADRIVE_IDS:
        return metadrive_scenario(name)
    from vlsafe_envs.tasks.make import make_task_scenario

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
    from vlsafe_envs.driving_env import DrivingEnv

    check_cost(cost, scorer)
    road, arguments = _read_options(scenario, options)
    return judged(DrivingEnv(road, **arguments), scorer, cost)


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
    from vlsafe_envs.tasks.make import make_task

    check_cost(cost, scorer)
    return judged(make_task(scenario, options), scorer, cost)


def make_task_vector_env(
    scenario: str, num_envs: int = 1, *, autoreset_mode: Any = "NextStep", **options: Any
) -> VectorEnv[Any, Any, Any]:
    """N tasks, stepped one after the other; what ``gym.make_vec`` calls.

    Takes the arguments of :func:`make_task_env` and ``autoreset_mode``, see
    :func:`make_vector_env`.  Raises ``ValueError`` for unknown options and impossible values.
    """
    from vlsafe_envs.gym_vector import CheckedSyncVectorEnv

    one = functools.partial(make_task_env, scenario, **options)
    return CheckedSyncVectorEnv(one, num_envs, autoreset_mode)


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
    from vlsafe_envs.gym_vector import CheckedSyncVectorEnv
    from vlsafe_envs.vector_env import VectorDrivingEnv

    check_num_envs(num_envs)
    mode = check_autoreset(autoreset_mode)
    batch = make_batch(scenario, num_envs, scorer=scorer, cost=cost, **options)
    if batch is not None:
        return VectorDrivingEnv(batch, mode)
    one = functools.partial(make_env, scenario, scorer=scorer, cost=cost, **options)
    return CheckedSyncVectorEnv(one, num_envs, mode)


def make_batch(
    scenario: str, num_envs: int, *, scorer: Any = "bundled", cost: str = "either", **options: Any
) -> DrivingBatch | None:
    """The environments that :func:`make_vector_env` steps together; ``None`` where it cannot.

    Raises ``ValueError`` for unknown options and impossible values.
    """
    from vlsafe_envs.driving_batch import DrivingBatch
    from vlsafe_envs.driving_env import compiled_traffic

    check_cost(cost, scorer)
    road, arguments = _read_options(scenario, options)
    engine = arguments.pop("engine", "auto")
    # Windows belong to environments of their own.
    if arguments.get("render_mode") == "human" or compiled_traffic(road.traffic, engine) is None:
        return None
    judge = None
    if scorer is not None:
        from wrappers import FrameJudge

        check_scorer(scorer)
        judge = FrameJudge(scorer, cost)
    return DrivingBatch(road, num_envs, judge, **arguments)


def check_env_options(env_id: str, options: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` for options that ``gym.make(env_id)`` does not have, or would refuse.

    Nothing is built, so that MetaDrive need not be installed; the environment's own arguments
    (``observation``, ``scorer``, ``rewards``, ...) are checked by name only.
    """
    name = bare_id(env_id)
    given = {key: value for key, value in options.items() if key not in ("scorer", "cost")}
    if name in ENV_IDS:
        _read_options(ENV_IDS[name], given)
    elif name in METADRIVE_IDS:
        read_metadrive_options(METADRIVE_IDS[name], given)
    else:
        from vlsafe_envs.tasks.make import read_task_options

        read_task_options(TASK_IDS[name], given)


def _read_options(scenario: str, options: Mapping[str, Any]) -> tuple[Scenario, dict[str, Any]]:
    """The road, and the arguments of the environment on it; raises ``ValueError``."""
    check_options(options, (*_SCENARIO_OPTIONS, *_ENV_OPTIONS))
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
