"""``vlsafe collect``: drivers, agents or your own policies drive into a Minari data set."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlsafe_agents.cli.options import CostFunction, CostKey, EnvArg, RewardFunction, Wrapper

if TYPE_CHECKING:
    from vlsafe_agents.cli.environments import AnyEnv
    from vlsafe_agents.data.collect import CollectSummary
    from vlsafe_agents.data.driving import Fleet

DEFAULT_STEPS = 20_000
RECORDED = ("multi", "all")  # observations that hold images, which scorers look at
DEFAULT_MIX = "expert=0.5, noisy=0.25, aggressive=0.15, random=0.1"


def collect(
    out: Annotated[Path, typer.Option(help="Minari root folder, for example runs/mine/data.")],
    env: Annotated[
        str, typer.Option(help="Environment: an id of ours or of Gymnasium, or module:function.")
    ] = "VLSafe-Highway-v0",
    steps: Annotated[
        int | None,
        typer.Option(help=f"Stop when as many steps are there; {DEFAULT_STEPS:,} if not given."),
    ] = None,
    episodes: Annotated[int | None, typer.Option(help="Or: as many episodes.")] = None,
    mix: Annotated[
        str | None,
        typer.Option(
            help="Drivers and their shares of episodes; policies, too. "
            f"[default: {DEFAULT_MIX}; random=1 in environments that are not ours]"
        ),
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option(help="One policy in place of --mix: module:function, or an agent's folder."),
    ] = None,
    density: Annotated[float | None, typer.Option(help="Traffic density.")] = None,
    observation: Annotated[
        str, typer.Option(help="multi (images, vectors) or all (vehicles as a set, too).")
    ] = "multi",
    env_arg: EnvArg = None,
    wrapper: Wrapper = None,
    cost_key: CostKey = None,
    cost_function: CostFunction = None,
    reward_function: RewardFunction = None,
    seed: Annotated[int, typer.Option(help="Decides seeds and drivers of all episodes.")] = 0,
    workers: Annotated[int, typer.Option(help="Processes.", min=1)] = 2,
    overwrite: Annotated[bool, typer.Option(help="Remove what is already there.")] = False,
) -> None:
    """Drive a mix of drivers and store what they see, costs and scenes.

    The same command goes on where it was killed; no finished episode is lost or driven twice.
    """
    from vlsafe_agents.cli.environments import EnvChoice, choose_env
    from vlsafe_agents.cli.policies import driver_maker, is_policy, make_watched
    from vlsafe_agents.data.collect import CollectConfig
    from vlsafe_agents.data.collect import collect as collect_episodes
    from vlsafe_agents.data.collection import check_place
    from vlsafe_envs.drivers import make_driver

    own = {"wrapper": wrapper, "cost_key": cost_key}
    own |= {"cost_function": cost_function, "reward_function": reward_function}
    choice = choose_env(env, env_arg or [], density, own=own)
    if observation not in RECORDED:
        raise ValueError(f"--observation {observation!r}: choose one of {', '.join(RECORDED)}")
    if observation != RECORDED[0] and not isinstance(choice, EnvChoice):
        raise ValueError("--observation is for our environments; others show what they show")
    shares = _shares(choice, mix, policy)
    drive: Any = make_driver
    if steps is None and episodes is None:
        steps = DEFAULT_STEPS
    config = CollectConfig(
        env_id=choice.env_id,
        env_kwargs=choice.kwargs,
        mix=shares,
        steps=steps,
        episodes=episodes,
        seed=seed,
        dataset_id=_dataset_id(choice.env_id),
        observation=None if observation == RECORDED[0] else observation,
    )
    # no scorer while driving: `vlsafe label` scores in batches, and may do so again
    options = {"observation": observation, "scorer": None, "scene_in_info": True}
    make_env, fleet = choice.factory(**options), None
    if not isinstance(choice, EnvChoice):
        make_env().close()  # what is wrong with it is said before there is a folder
    target = out.resolve() / config.dataset_id
    if overwrite or not target.exists():
        check_place(target)  # before anything is compiled
    if any(map(is_policy, shares)) or not isinstance(choice, EnvChoice):
        make_env = partial(make_watched, make_env)
        drive = driver_maker(make_driver if isinstance(choice, EnvChoice) else None)
    else:
        fleet = _fleet(choice, options, workers)
    if workers > 1 and not choice.one_a_process and not target.exists():
        _compile(make_env, drive, fleet, next(iter(shares)))
    summary = collect_episodes(
        config, out, make_env, drive, workers=workers, overwrite=overwrite, fleet=fleet
    )
    _print(summary)


def _shares(choice: AnyEnv, mix: str | None, policy: str | None) -> dict[str, float]:
    """The drivers of a mix, each known to drive there."""
    from vlsafe_agents.cli.environments import EnvChoice, parse_mix
    from vlsafe_agents.cli.policies import RANDOM, check_policy, is_policy
    from vlsafe_envs.drivers import driver_names

    ours = isinstance(choice, EnvChoice)
    if mix is not None and policy is not None:
        raise ValueError("give either --mix or --policy; policies may stand in a mix, too")
    shares = (
        {policy: 1.0}
        if policy is not None
        else parse_mix((DEFAULT_MIX if ours else "random=1") if mix is None else mix)
    )
    known = driver_names(choice.env_id) if ours else (RANDOM,)
    for name in shares:
        if name in known:
            continue
        if not is_policy(name):
            option = "--mix" if policy is None else "--policy"
            raise ValueError(
                f"{option}: unknown driver {name!r}; {choice.env_id} has {', '.join(known)}; a "
                "policy is module:function, or the folder of a trained agent"
            )
        check_policy(name)
    return shares


def _dataset_id(env_id: str) -> str:
    """A Minari id made of an environment's."""
    if env_id.startswith("VLSafe-"):
        return f"vlsafe/{env_id.removeprefix('VLSafe-').lower()}"
    name = re.sub(r"[^\w-]+", "-", env_id).strip("-").lower()
    return f"vlsafe/{name}" if re.search(r"-v\d+$", name) else f"vlsafe/{name}-v0"


def _fleet(choice: AnyEnv, options: dict[str, Any], workers: int) -> Fleet | None:
    """How each worker drives many at once; None where the compiled engine cannot."""
    from vlsafe_agents.cli.environments import EnvChoice
    from vlsafe_agents.data.driving import Fleet
    from vlsafe_envs.batch.gymnasium import VectorDrivingEnv
    from vlsafe_envs.drivers.many import DriverBatch

    if not isinstance(choice, EnvChoice) or choice.one_a_process:
        return None
    make_envs = choice.vector_factory(**options)
    env = make_envs(1)
    env.close()
    if not isinstance(env.unwrapped, VectorDrivingEnv):
        return None
    if workers > 1:
        make_envs = partial(_with_few_threads, make_envs, workers)
    return Fleet(make_envs, DriverBatch)


def _compile(make_env: Any, make_driver: Any, fleet: Fleet | None, driver: str) -> None:
    """Drive one step here, so that the engine is compiled once and not by every worker."""
    import numpy as np

    rng = np.random.default_rng(0)
    if fleet is None:
        env = make_env()
        env.reset(seed=0)
        chosen = make_driver(driver, env, rng)
        chosen.reset()
        env.step(chosen.act())
    else:
        env = fleet.make_env(1)
        env.reset(seed=0)
        team = fleet.make_drivers(env)
        team.assign(0, driver, rng)
        env.step(team.act([0]))
    env.close()


def _with_few_threads(make_envs: Callable[[int], Any], workers: int, num_envs: int) -> Any:
    """Environments in one of several worker processes, which share the cores."""
    import os

    from vlsafe_envs.threads import limit_threads

    limit_threads(max(1, (os.cpu_count() or 1) // workers))
    return make_envs(num_envs)


def _print(summary: CollectSummary) -> None:
    from vlsafe_agents.cli.tables import print_table, say

    rows = [
        (
            name,
            f"{row['episodes']:,}",
            f"{row['steps']:,}",
            f"{row['unsafe_steps'] / row['steps']:.1%}",
            f"{row['collisions']:,}",
            f"{row['return'] / row['episodes']:.1f}",
        )
        for name, row in summary.drivers.items()
    ]
    columns = ("driver", "episodes", "steps", "unsafe steps", "collisions", "mean return")
    print_table(f"{summary.steps:,} steps in {summary.episodes:,} episodes", columns, rows)
    say(
        f"{summary.unsafe_share:.1%} of all steps are unsafe, {summary.collisions} collisions; "
        f"{summary.megabytes} MB in {summary.path}"
    )
