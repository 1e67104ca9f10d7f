"""``vlsafe collect``: drivers, agents or your own policies drive into a Minari data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlsafe_agents.cli import completion
from vlsafe_agents.cli.options import CostFunction, CostKey, EnvArg, RewardFunction, Wrapper

if TYPE_CHECKING:
    from vlsafe_agents.cli.environments import AnyEnv
    from vlsafe_agents.data.branching import BranchConfig, Brancher
    from vlsafe_agents.data.collect import CollectSummary
    from vlsafe_agents.data.driving import Fleet

DEFAULT_STEPS = 20_000
RECORDED = ("multi", "all")  # observations that hold images, which scorers look at
BRANCH_SECONDS = 5.0
DEFAULT_MIX = "expert=0.5, noisy=0.25, aggressive=0.15, random=0.1"


def collect(
    out: Annotated[Path, typer.Option(help="Minari root folder, for example runs/mine/data.")],
    name: Annotated[
        str | None,
        typer.Option(
            help="Minari id of the data set, such as vlsafe/highway/expert-v0, or only its last "
            "part. [default: vlsafe/highway-v0 for the highway, and so on]"
        ),
    ] = None,
    env: Annotated[
        str,
        typer.Option(
            help="Environment: an id of ours or of Gymnasium, or module:function.",
            autocompletion=completion.env_ids,
        ),
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
    branches: Annotated[
        int,
        typer.Option(
            help="States of each episode from which the simulator also drives on under the "
            "macro-actions that were not taken; a data set beside.",
            min=0,
        ),
    ] = 0,
    branch_seconds: Annotated[
        float, typer.Option(help="How long at most [s].", min=0.1)
    ] = BRANCH_SECONDS,
    density: Annotated[
        str | None,
        typer.Option(help="Traffic density; 0.8:1.3 draws one for each episode from this range."),
    ] = None,
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
) -> dict[str, Any]:
    """Drive a mix of drivers and store what they see, costs and scenes.

    The same command goes on where it was killed; no finished episode is lost or driven twice.
    """
    from vlsafe_agents.cli.environments import EnvChoice, choose_env, parse_density
    from vlsafe_agents.cli.policies import driver_maker, is_policy, make_watched
    from vlsafe_agents.data.collect import CollectConfig
    from vlsafe_agents.data.collect import collect as collect_episodes
    from vlsafe_agents.data.collection import check_place, minari_id
    from vlsafe_envs.drivers import make_driver

    own = {"wrapper": wrapper, "cost_key": cost_key}
    own |= {"cost_function": cost_function, "reward_function": reward_function}
    choice = choose_env(env, env_arg or [], parse_density(density), own=own)
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
        dataset_id=minari_id(choice.env_id, name),
        observation=None if observation == RECORDED[0] else observation,
        branches=_branches(choice, branches, branch_seconds) if branches else None,
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
        config,
        out,
        make_env,
        drive,
        workers=workers,
        overwrite=overwrite,
        fleet=fleet,
        brancher=_brancher() if branches else None,
    )
    _print(summary)
    return vars(summary)


def _shares(choice: AnyEnv, mix: str | None, policy: str | None) -> dict[str, float]:
    """The drivers of a mix, each known to drive there."""
    from vlsafe_agents.cli.environments import EnvChoice, parse_mix
    from vlsafe_agents.cli.policies import RANDOM, check_policy, is_policy
    from vlsafe_envs.drivers import driver_names
    from wrappers.checks import did_you_mean

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
                f"policy is module:function, or the folder of a trained agent"
                f"{did_you_mean(name, known)}"
            )
        check_policy(name)
    return shares


def _branches(choice: AnyEnv, states: int, seconds: float) -> BranchConfig:
    """What is to be driven on from recorded states."""
    from vlsafe_agents.cli.environments import EnvChoice
    from vlsafe_agents.data.branching import BranchConfig
    from vlsafe_envs.drivers.macros import macro_names
    from vlsafe_envs.options import make_scenario
    from vlsafe_envs.registry import row_of

    if not isinstance(choice, EnvChoice):
        raise ValueError(
            f"--branches: {choice.env_id} is not ours, and cannot be brought back to a state; "
            "leave --branches out"
        )
    traffic = make_scenario(row_of(choice.env_id).name, **choice.kwargs).traffic
    macros = macro_names(choice.env_id, **choice.kwargs)
    return BranchConfig(states, macros, traffic.policy_frequency, seconds)


def _brancher() -> Brancher:
    from vlsafe_agents.data.branching import Brancher
    from vlsafe_envs.drivers.macros import make_macro
    from vlsafe_envs.snapshots import branches

    return Brancher(branches, make_macro)


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
    from vlsafe_agents.data.collection import branches_id

    columns = ("driver", "episodes", "steps", "unsafe steps", "collisions", "mean return")
    title = f"{summary.steps:,} steps in {summary.episodes:,} episodes"
    print_table(title, columns, _rows(summary.drivers))
    say(
        f"{summary.unsafe_share:.1%} of all steps are unsafe, "
        f"collisions: {_counted(summary.collisions)}; "
        f"{summary.megabytes} MB in {summary.path}"
    )
    found = summary.branches
    if found is None:
        return
    title = f"{found['steps']:,} steps in {found['episodes']:,} branches, not counted above"
    print_table(title, ("macro-action", *columns[1:]), _rows(found["drivers"]))
    say(
        f"{found['simulated_steps']:,} steps were simulated for the branches, with "
        f"{_counted(found['collisions'])} collisions; they are in "
        f"{summary.path.with_name(branches_id(summary.path.name))}"
    )


def _counted(count: float | None) -> str:
    return "not known" if count is None else f"{count:,}"


def _rows(drivers: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, ...]]:
    from vlsafe_agents.data.branching import DRIVER_PREFIX

    return [
        (
            name.removeprefix(DRIVER_PREFIX),
            f"{row['episodes']:,}",
            f"{row['steps']:,}",
            f"{row['unsafe_steps'] / row['steps']:.1%}",
            _counted(row["collisions"]),
            f"{row['return'] / row['episodes']:.1f}",
        )
        for name, row in drivers.items()
    ]
