"""``vlsafe train``: VLSafe from recorded drives, or a baseline."""

from __future__ import annotations

import shutil
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
    env: Annotated[str | None, typer.Option(help="Environment id.")] = None,
    observation: Annotated[str, typer.Option(help="image, vector or multi.")] = "image",
    steps: Annotated[
        int | None, typer.Option(help="Gradient updates (vlsafe, bc) or environment steps.")
    ] = None,
    update: Annotated[str, typer.Option(help="vlsafe: gated, lagrangian or none.")] = "gated",
    safety: Annotated[
        str, typer.Option(help="vlsafe: score, a constant such as 0.5, or none (cost-blind).")
    ] = "score",
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
    cost: Annotated[str, typer.Option(help="Cost from judge and truth: either, vlm, env.")] = (
        "either"
    ),
    cost_limit: Annotated[float, typer.Option(help="Accepted cost of an episode.", min=0)] = 1.0,
    scorer: Annotated[str, typer.Option(help="The judge of online agents.")] = "bundled",
    density: Annotated[float | None, typer.Option(help="Traffic density.")] = None,
    env_arg: Annotated[
        list[str] | None, typer.Option(help="More of the environment's arguments, key=value.")
    ] = None,
    envs: Annotated[int, typer.Option(help="Environments side by side (online).", min=1)] = 8,
    reward_scale: Annotated[
        float, typer.Option(help="Factor on the reward that online agents learn from.")
    ] = 1.0,
    config: Annotated[
        list[str] | None, typer.Option(help="key=value; for vlsafe e.g. imagination.horizon=15.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    device: Annotated[str, typer.Option(help="PyTorch device.")] = "auto",
    threads: Annotated[int, typer.Option(help="PyTorch threads; small networks want 1.")] = 1,
    overwrite: Annotated[bool, typer.Option(help="Remove an agent that is there.")] = False,
) -> None:
    """Train an agent; the same command goes on from the last checkpoint (every two minutes).

    VLSafe and BC learn from --data and never touch the environment.  PPO-Lag and PPO drive; given
    --data, they drive as many steps as it holds, in the same environment.
    """
    from .environments import choose_env, parse_pairs
    from .training import DEFAULT_PRESETS, OFFLINE, TrainSettings, check_config, run_training

    metadata = _metadata(data)
    if data is not None and algo in OFFLINE and (env or density is not None or env_arg):
        raise ValueError("the data set names its environment; leave out --env and its arguments")
    if world_model is not None and algo != "vlsafe":
        raise ValueError(f"--world-model {world_model}: {algo} has no world model")
    options: dict[str, Any] = {} if preset is None else {"preset": preset}
    if preset is not None and algo not in DEFAULT_PRESETS:
        raise ValueError(f"--preset {preset}: {algo} has no presets")
    if algo == "vlsafe":
        chosen = preset or DEFAULT_PRESETS[algo]
        options = {"preset": chosen, "update": update, "safety": _safety(safety)}
    settings = TrainSettings(
        algo=algo,
        steps=steps if steps is not None else _default_steps(algo, metadata),
        env=choose_env(env, env_arg or [], density, metadata),
        observation=observation,
        data=str(data) if data is not None else None,
        world_model=str(world_model) if world_model is not None else None,
        cost=cost,
        scorer=None if scorer == "none" else scorer,
        cost_limit=cost_limit,
        envs=envs,
        reward_scale=reward_scale,
        seed=seed,
        device=device,
        options=options,
        config=parse_pairs(config or [], "--config"),
    )
    check_config(settings)  # before anything is removed
    if overwrite:
        shutil.rmtree(out, ignore_errors=True)
    _set_threads(threads)
    facts = run_training(settings, out)
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


def _safety(text: str) -> str | float | None:
    if text == "none":
        return None
    try:
        return float(text)
    except ValueError:
        return text


def _set_threads(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
