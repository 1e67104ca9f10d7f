"""``vlsafe train``: VLSafe from recorded drives, or a baseline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def train(
    out: Annotated[Path, typer.Option(help="Folder of the agent, for example runs/mine/vlsafe.")],
    algo: Annotated[str, typer.Option(help="vlsafe, ppo_lag, ppo or bc.")] = "vlsafe",
    data: Annotated[
        Path | None,
        typer.Option(help="Data set. Online agents take from it the environment and --steps."),
    ] = None,
    env: Annotated[
        str | None, typer.Option(help="Environment id. [default: the data set's, or Highway]")
    ] = None,
    observation: Annotated[str, typer.Option(help="image, vector or multi.")] = "image",
    steps: Annotated[
        int | None,
        typer.Option(
            help="Gradient updates (vlsafe, bc; default 5000) or environment steps (default: as "
            "many as the data set holds, or 100000)."
        ),
    ] = None,
    update: Annotated[
        str | None, typer.Option(help="vlsafe: gated (default), lagrangian or none.")
    ] = None,
    safety: Annotated[
        str | None,
        typer.Option(help="vlsafe: score (default), a constant such as 0.5, or none (cost-blind)."),
    ] = None,
    world_model: Annotated[
        Path | None,
        typer.Option(help="vlsafe: share this agent's finished world model; train a policy only."),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="vlsafe: cpu (default), route (for the tasks), debug, 12M, 25M or 50M; ppo_lag: "
            "highway (default) or route."
        ),
    ] = None,
    cost: Annotated[
        str | None,
        typer.Option(
            help="vlsafe, ppo_lag: cost from judge and truth: either (default), vlm or env."
        ),
    ] = None,
    cost_limit: Annotated[
        float | None,
        typer.Option(
            help="vlsafe, ppo_lag: accepted cost of an episode (default: vlsafe 1.0, ppo_lag its "
            "preset's).",
            min=0,
        ),
    ] = None,
    scorer: Annotated[
        str | None, typer.Option(help="ppo_lag: the judge while it drives (default: bundled).")
    ] = None,
    density: Annotated[float | None, typer.Option(help="Traffic density.")] = None,
    env_arg: Annotated[
        list[str] | None, typer.Option(help="More of the environment's arguments, key=value.")
    ] = None,
    envs: Annotated[
        int | None, typer.Option(help="ppo_lag, ppo: environments side by side (8).", min=1)
    ] = None,
    reward_scale: Annotated[
        float | None,
        typer.Option(help="ppo_lag, ppo: factor on the reward that is learned from (1)."),
    ] = None,
    config: Annotated[
        list[str] | None, typer.Option(help="key=value; for vlsafe e.g. imagination.horizon=15.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.", min=0)] = 0,
    device: Annotated[str, typer.Option(help="PyTorch device.")] = "auto",
    threads: Annotated[
        int, typer.Option(help="PyTorch threads; small networks want 1.", min=1)
    ] = 1,
    overwrite: Annotated[bool, typer.Option(help="Remove an agent that is there.")] = False,
) -> None:
    """Train an agent; the same command goes on from the last checkpoint (every two minutes).

    VLSafe and BC learn from --data and never touch the environment.  PPO-Lag and PPO drive; given
    --data, they drive as many steps as it holds, in the same environment.  Options that an
    algorithm does not read are errors.
    """
    import torch

    from vlsafe_agents.cli.environments import choose_env, parse_pairs
    from vlsafe_agents.cli.train_settings import ALGORITHMS, OFFLINE, make_settings, refuse_unread
    from vlsafe_agents.cli.training import run_training

    if algo not in ALGORITHMS:
        raise ValueError(f"unknown algorithm {algo!r}; choose from {ALGORITHMS}")
    given: dict[str, Any] = {
        "data": None if data is None else str(data),
        "update": update,
        "safety": safety,
        "world_model": None if world_model is None else str(world_model),
        "preset": preset,
        "cost": cost,
        "cost_limit": cost_limit,
        "scorer": scorer,
        "envs": envs,
        "reward_scale": reward_scale,
    }
    refuse_unread(algo, [name for name, value in given.items() if value is not None])
    if data is not None and algo in OFFLINE and (env or density is not None or env_arg):
        raise ValueError("the data set names its environment; leave out --env and its arguments")
    metadata = _metadata(data)
    settings = make_settings(
        algo,
        steps if steps is not None else _default_steps(algo, metadata),
        choose_env(env, env_arg or [], density, metadata),
        given,
        observation,
        seed,
        device,
        parse_pairs(config or [], "--config"),
    )
    torch.set_num_threads(threads)
    facts = run_training(settings, out, overwrite)
    print(f"{out}: " + ", ".join(f"{name} {value}" for name, value in facts.items()))


def _metadata(data: Path | None) -> dict[str, Any] | None:
    if data is None:
        return None
    from vlsafe_agents.data.storage import read_metadata, resolve_dataset

    return read_metadata(resolve_dataset(data))


def _default_steps(algo: str, metadata: dict[str, Any] | None) -> int:
    if algo in ("vlsafe", "bc"):
        return 5_000
    return 100_000 if metadata is None else int(metadata["total_steps"])
