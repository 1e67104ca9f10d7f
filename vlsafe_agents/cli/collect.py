"""``vlsafe collect``: rule-based drivers drive into a Minari data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from vlsafe_agents.data.collect import CollectSummary

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
    make_env = choice.factory(observation="multi", scorer=None, scene_in_info=True)
    summary = collect_episodes(
        config, out, make_env, make_driver, workers=workers, overwrite=overwrite
    )
    _print(summary)


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
