"""``vlsafe collect``: rule-based drivers drive into a Minari data set."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from vlsafe_agents.data.collect import CollectSummary
    from vlsafe_agents.data.driving import Fleet

    from .environments import EnvChoice

DEFAULT_MIX = "expert=0.5,noisy=0.25,aggressive=0.15,random=0.1"


def collect(
    out: Annotated[Path, typer.Option(help="Minari root folder, for example runs/mine/data.")],
    env: Annotated[str, typer.Option(help="Environment id.")] = "VLSafe-Highway-v0",
    steps: Annotated[int | None, typer.Option(help="Stop when as many steps are there.")] = None,
    episodes: Annotated[int | None, typer.Option(help="Or: as many episodes.")] = None,
    mix: Annotated[str, typer.Option(help="Drivers and their shares of episodes.")] = DEFAULT_MIX,
    density: Annotated[float | None, typer.Option(help="Traffic density.")] = None,
    env_arg: Annotated[
        list[str] | None, typer.Option(help="More of the environment's arguments, key=value.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides seeds and drivers of all episodes.")] = 0,
    workers: Annotated[int, typer.Option(help="Processes.", min=1)] = 2,
    overwrite: Annotated[bool, typer.Option(help="Remove what is already there.")] = False,
) -> None:
    """Drive a mix of drivers and store images, vectors, costs and scenes.

    The same command goes on where it was killed; no finished episode is lost or driven twice.
    """
    from vlsafe_agents.data.collect import CollectConfig
    from vlsafe_agents.data.collect import collect as collect_episodes
    from vlsafe_envs.experts import DRIVER_NAMES, make_driver

    from .environments import choose_env, parse_mix

    shares = parse_mix(mix)
    for name in shares:
        if name not in DRIVER_NAMES:
            raise ValueError(f"unknown driver {name!r}; choose from {', '.join(DRIVER_NAMES)}")
    choice = choose_env(env, env_arg or [], density)
    if steps is None and episodes is None:
        steps = 20_000
    config = CollectConfig(
        env_id=choice.env_id,
        env_kwargs=choice.kwargs,
        mix=shares,
        steps=steps,
        episodes=episodes,
        seed=seed,
        dataset_id=f"vlsafe/{choice.env_id.removeprefix('VLSafe-').lower()}",
    )
    # no judge while driving: `vlsafe label` scores in batches, and may do so again
    options = {"observation": "multi", "scorer": None, "scene_in_info": True}
    make_env = choice.factory(**options)
    fleet = _fleet(choice, options, workers)
    summary = collect_episodes(
        config, out, make_env, make_driver, workers=workers, overwrite=overwrite, fleet=fleet
    )
    _print(summary)


def _fleet(choice: EnvChoice, options: dict[str, Any], workers: int) -> Fleet | None:
    """How each worker drives many at once; None where the compiled engine cannot."""
    from vlsafe_agents.data.driving import Fleet
    from vlsafe_envs.driver_batch import DriverBatch
    from vlsafe_envs.vector_env import VectorDrivingEnv

    make_envs = choice.vector_factory(**options)
    env = make_envs(1)
    env.close()
    if not isinstance(env.unwrapped, VectorDrivingEnv):
        return None
    if workers > 1:
        make_envs = partial(_with_few_threads, make_envs, workers)
    return Fleet(make_envs, DriverBatch)


def _with_few_threads(make_envs: Callable[[int], Any], workers: int, num_envs: int) -> Any:
    """Environments in one of several worker processes, which share the cores."""
    import os

    from vlsafe_envs.threads import limit_threads

    limit_threads(max(1, (os.cpu_count() or 1) // workers))
    return make_envs(num_envs)


def _print(summary: CollectSummary) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{summary.steps:,} steps in {summary.episodes:,} episodes")
    for column in ("driver", "episodes", "steps", "unsafe steps", "collisions", "mean return"):
        table.add_column(column, justify="left" if column == "driver" else "right")
    for name, row in summary.drivers.items():
        table.add_row(
            name,
            f"{row['episodes']:,}",
            f"{row['steps']:,}",
            f"{row['unsafe_steps'] / row['steps']:.1%}",
            f"{row['collisions']:,}",
            f"{row['return'] / row['episodes']:.1f}",
        )
    console = Console()
    console.print(table)
    console.print(
        f"{summary.unsafe_share:.1%} of all steps are unsafe, {summary.collisions} collisions; "
        f"{summary.megabytes} MB in {summary.path}"
    )
