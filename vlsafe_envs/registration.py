"""What ``gym.make`` and ``gym.make_vec`` call for every id."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import gymnasium as gym

from vlsafe_envs.checks import check_autoreset, check_choice, check_num_envs
from vlsafe_envs.observations import PARTS
from vlsafe_envs.options import Chosen, read_options
from vlsafe_envs.registry import row_named
from vlsafe_envs.scenarios import TrafficConfig
from vlsafe_envs.scored import check_cost, check_scorer, scored
from vlsafe_envs.simulator import Simulator

if TYPE_CHECKING:
    from gymnasium.vector import VectorEnv

    from vlsafe_envs.batch.stacked import DrivingBatch

ENGINES = ("auto", "compiled", "highway_env")
VECTORS = ("features", "metadrive")


@functools.cache
def _warn_once(message: str) -> None:
    gym.logger.warn(message)


def compiled_traffic(config: TrafficConfig, engine: str) -> Simulator | None:
    """The compiled simulator, or ``None`` where highway-env's own is to drive.

    With ``"auto"`` that is where the compiled one cannot simulate ``config``; a Gymnasium warning
    says so once.

    Raises:
        ValueError: for an unknown engine or when ``"compiled"`` cannot simulate ``config``.
    """
    check_choice("engine", engine, ENGINES)
    if engine == "highway_env":
        return None
    try:
        from vlsafe_envs.simulators.engine import CompiledTraffic

        return CompiledTraffic(config)
    except (ImportError, NotImplementedError) as error:
        if engine == "compiled":
            raise ValueError(
                f"engine='compiled' cannot simulate this traffic ({error}): "
                "use engine='highway_env'"
            ) from error
        _warn_once(f"no compiled traffic engine ({error}): driving highway-env, slowly")
    return None


def make_simulator(chosen: Chosen) -> Simulator:
    """The simulator that drives the traffic of a choice of options."""
    return _MAKERS[chosen.scenario.row.simulator](chosen)


def _on_highway_env(chosen: Chosen) -> Simulator:
    compiled = compiled_traffic(chosen.scenario.traffic, chosen.simulator["engine"])
    if compiled is not None:
        return compiled
    from vlsafe_envs.simulators.highway_env.traffic import HighwayEnvTraffic

    return HighwayEnvTraffic(chosen.scenario.traffic)


def _on_paths(chosen: Chosen) -> Simulator:
    from vlsafe_envs.simulators.paths.world import make_world

    return make_world(chosen.scenario.traffic)


def _on_metadrive(chosen: Chosen) -> Simulator:
    from vlsafe_envs.simulators.metadrive.world import make_world

    kind = chosen.env.get("observation", "image")
    known = isinstance(kind, str) and kind in PARTS  # others are refused later
    observed = reads_metadrive(chosen) and known and "vector" in PARTS[kind]
    ends = {name: value for name, value in chosen.simulator.items() if name != "vector"}
    return make_world(chosen.scenario.traffic, observed, **ends)


_MAKERS = {"highway_env": _on_highway_env, "paths": _on_paths, "metadrive": _on_metadrive}


def reads_metadrive(chosen: Chosen) -> bool:
    """Whether the vector is MetaDrive's own: always with its task, else where it was asked for."""
    if chosen.scenario.row.simulator != "metadrive":
        return False
    vector = chosen.simulator.get("vector", "metadrive")
    check_choice("vector", vector, VECTORS)
    return vector == "metadrive"


def make_env(
    scenario: str, *, scorer: Any = "bundled", cost: str = "either", **options: Any
) -> gym.Env[Any, Any]:
    """Build an environment; what ``gym.make`` calls.

    Args:
        scenario: the road's name in the registry, such as ``"left_turn"``.
        scorer: scores every frame (see ``wrappers.make_scorer``); ``None``: nobody does.
        cost: how ``info["cost"]`` is made with a scorer: ``"either"``, ``"env"`` or ``"vlm"``.
        options: see :func:`~vlsafe_envs.options.option_defaults`; ``None`` for a default.

    Raises:
        ValueError: for unknown options and impossible values.
        ImportError: where MetaDrive is wanted and not installed.
    """
    from vlsafe_envs.env import DrivingEnv

    check_cost(cost, scorer)
    chosen = read_options(row_named(scenario), options)
    more: dict[str, Any] = {}
    if reads_metadrive(chosen):
        from vlsafe_envs.simulators.metadrive.observation import METADRIVE_VECTOR

        more["vector"] = METADRIVE_VECTOR
    simulator = make_simulator(chosen)
    env = DrivingEnv(chosen.scenario, simulator, chosen.task, **chosen.env, **more)
    return scored(env, scorer, cost)


def make_vector_env(
    scenario: str,
    num_envs: int = 1,
    *,
    scorer: Any = "bundled",
    cost: str = "either",
    autoreset_mode: Any = "NextStep",
    **options: Any,
) -> VectorEnv[Any, Any, Any]:
    """Build N environments; what ``gym.make_vec`` calls.

    Where they can be stepped together all frames are scored in one call of one scorer.  Elsewhere
    they are stepped one after the other in Gymnasium's ``SyncVectorEnv`` (with ``engine="auto"``, a
    warning says so once), and those of which a process holds only one in ``AsyncVectorEnv``.

    Args:
        scenario: see :func:`make_env`.
        num_envs: how many.
        scorer: see :func:`make_env`.
        cost: see :func:`make_env`.
        autoreset_mode: ``"NextStep"``, ``"SameStep"`` or ``"Disabled"``, see
            https://farama.org/Vector-Autoreset-Mode.
        options: see :func:`make_env`.

    Raises:
        ValueError: for unknown options and impossible values.
    """
    from vlsafe_envs.batch.checked import CheckedAsyncVectorEnv, CheckedSyncVectorEnv
    from vlsafe_envs.batch.gymnasium import VectorDrivingEnv

    check_num_envs(num_envs)
    mode = check_autoreset(autoreset_mode)
    batch = make_batch(scenario, num_envs, scorer=scorer, cost=cost, **options)
    if batch is not None:
        return VectorDrivingEnv(batch, mode)
    one = functools.partial(make_env, scenario, scorer=scorer, cost=cost, **options)
    if row_named(scenario).one_per_process:
        make_env(scenario, scorer=None, **options).close()  # faults show here, not in a worker
        return CheckedAsyncVectorEnv(one, num_envs, mode)
    return CheckedSyncVectorEnv(one, num_envs, mode)


def make_batch(
    scenario: str, num_envs: int, *, scorer: Any = "bundled", cost: str = "either", **options: Any
) -> DrivingBatch | None:
    """The environments that :func:`make_vector_env` steps together; ``None`` where it cannot.

    Raises:
        ValueError: for unknown options and impossible values.
    """
    row = row_named(scenario)
    check_cost(cost, scorer)
    chosen = read_options(row, options)
    # Windows belong to environments of their own.
    if not row.stacked or chosen.env.get("render_mode") == "human":
        return None
    if compiled_traffic(chosen.scenario.traffic, chosen.simulator["engine"]) is None:
        return None
    from vlsafe_envs.batch.stacked import DrivingBatch

    frame_cost = None
    if scorer is not None:
        from wrappers import FrameCost

        check_scorer(scorer)
        frame_cost = FrameCost(scorer, cost)
    task: Any = chosen.task
    return DrivingBatch(chosen.scenario, num_envs, frame_cost, task, **chosen.env)


# What data sets recorded until November 2026 name as the makers of their environments.
make_task_env, make_task_vector_env = make_env, make_vector_env
