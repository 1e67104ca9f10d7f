"""``vlsafe train``: VLSafe from recorded drives, or a baseline."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Optional, get_args, get_type_hints

import typer

from vlsafe_agents.algorithms import ALGORITHMS, find_algorithm
from vlsafe_agents.training.settings import METADATA, READ_BY_SOME, TrainSettings


def _with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """The command with an option for each of :class:`TrainSettings` in place of ``**given``."""
    signature = inspect.signature(command, eval_str=True)
    out, *own = (p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD)
    hints = get_type_hints(TrainSettings)
    settings = [_option(name, hints[name]) for name in METADATA if name != "env"]
    options = [out, *settings, *own]
    command.__signature__ = signature.replace(parameters=options)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in options} | {"return": None}
    return command


def _option(name: str, hint: Any) -> inspect.Parameter:
    """A setting as an option of the command line; None where it is not given."""
    known = METADATA[name]
    limits = dict(known["option"])
    kind = next((k for k in get_args(hint) if k is not type(None)), hint)
    if limits.pop("path", False):
        kind = Path
    if limits.pop("pairs", False):
        kind = list[str]
    text = known["help"]
    if name in READ_BY_SOME and name != "data":
        readers = [row.name for row in ALGORITHMS.values() if name in row.reads]
        text = f"{', '.join(readers)}: {text}"
    if name == "preset":
        text += " " + "; ".join(
            f"{row.name}: {', '.join(row.presets)}" for row in ALGORITHMS.values() if row.presets
        )
    if known["shown"] is not None:
        text += f" [default: {known['shown']}]"
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[Optional[kind], typer.Option(help=text, **limits)],  # noqa: UP045
    )


@_with_settings
def train(
    *,
    out: Annotated[Path, typer.Option(help="Folder of the agent, for example runs/mine/vlsafe.")],
    env: Annotated[
        str | None, typer.Option(help="Environment id. [default: the data set's, or Highway]")
    ] = None,
    density: Annotated[float | None, typer.Option(help="Traffic density.")] = None,
    env_arg: Annotated[
        list[str] | None, typer.Option(help="More of the environment's arguments, key=value.")
    ] = None,
    threads: Annotated[
        int, typer.Option(help="PyTorch threads; small networks want 1.", min=1)
    ] = 1,
    overwrite: Annotated[bool, typer.Option(help="Remove an agent that is there.")] = False,
    **given: Any,
) -> None:
    """Train an agent; the same command goes on from the last checkpoint (every two minutes).

    VLSafe and BC learn from --data and never touch the environment.  PPO-Lag and PPO drive; given
    --data, they drive as many steps as it holds, in the same environment.  Options that an
    algorithm does not read are errors.
    """
    import torch

    from vlsafe_agents.cli.environments import choose_env, parse_pairs
    from vlsafe_agents.training import run

    given = {k: str(v) if isinstance(v, Path) else v for k, v in given.items() if v is not None}
    given["config"] = parse_pairs(given.get("config", []), "--config")
    spec = find_algorithm(given.get("algo", METADATA["algo"]["default"]))
    data = given.get("data")
    if data is not None and spec.offline and (env or density is not None or env_arg):
        raise ValueError("the data set names its environment; leave out --env and its arguments")
    metadata = read_data_metadata(data)
    if metadata is not None and not spec.offline:
        given.setdefault("steps", int(metadata["total_steps"]))
    settings = TrainSettings(env=choose_env(env, env_arg or [], density, metadata), **given)
    torch.set_num_threads(threads)
    facts = run.train(settings, out, lambda: make_env(settings), overwrite=overwrite)
    print(f"{out}: " + ", ".join(f"{name} {value}" for name, value in facts.items()))


def make_env(settings: TrainSettings) -> Any:
    """The environments of settings, with the scorer and the cost that the agent learns from."""
    from vlsafe_envs.sb3 import make_vec_env

    scorer = None if settings.scorer == "none" or settings.cost == "env" else settings.scorer
    options: dict[str, Any] = {"observation": settings.observation, "scorer": scorer}
    if settings.cost is not None and not settings.spec.offline:
        options["cost"] = settings.cost
    return make_vec_env(
        settings.env.env_id,
        n_envs=settings.envs or 1,
        seed=settings.seed,
        env_kwargs={**settings.env.kwargs, **options},
    )


def read_data_metadata(data: str | Path | None) -> dict[str, Any] | None:
    """Metadata of a data set; None where there is none."""
    if data is None:
        return None
    from vlsafe_agents.data.storage import read_metadata, resolve_dataset

    return read_metadata(resolve_dataset(Path(data)))
