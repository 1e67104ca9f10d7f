"""``vlsafe train``: VLSafe from recorded drives, or a baseline."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Optional, get_args, get_type_hints

import typer

from vlsafe_agents.algorithms import ALGORITHMS, find_algorithm
from vlsafe_agents.cli.options import CostFunction, EnvArg, RewardFunction, Wrapper
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
    env_arg: EnvArg = None,
    wrapper: Wrapper = None,
    cost_key: Annotated[
        str | None, typer.Option(help="The info that is the cost, of the data or while it drives.")
    ] = None,
    cost_function: CostFunction = None,
    reward_function: RewardFunction = None,
    allow_import: Annotated[
        bool,
        typer.Option("--allow-import", help="Use an environment that --data name and not we."),
    ] = False,
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

    from vlsafe_agents.cli.environments import choose_env, is_ours, parse_pairs
    from vlsafe_agents.cli.other_envs import NOT_NAMED, OtherEnv
    from vlsafe_agents.training import run

    given = {k: str(v) if isinstance(v, Path) else v for k, v in given.items() if v is not None}
    given["config"] = parse_pairs(given.get("config", []), "--config")
    spec = find_algorithm(given.get("algo", METADATA["algo"]["default"]))
    data, dataset = given.get("data"), None
    own = {"wrapper": wrapper, "cost_key": cost_key}
    own |= {"cost_function": cost_function, "reward_function": reward_function}
    metadata = read_data_metadata(data)
    if spec.offline and data is not None and metadata is not None:
        if is_ours(metadata) and (env or density is not None or env_arg or any(own.values())):
            raise ValueError(
                "the data set names its environment; leave out --env and its arguments"
            )
        if not is_ours(metadata):  # `vlsafe collect` has stored the environment's cost as "cost"
            key = None if "env_id" in metadata else cost_key
            dataset = open_data(data, given.get("cost"), key, spec)
    if metadata is not None and not spec.offline:
        given.setdefault("steps", int(metadata["total_steps"]))
    if dataset is not None and env is None and "env_id" not in (metadata or {}):
        choice: Any = OtherEnv(NOT_NAMED, {k: v for k, v in own.items() if v})
    else:
        choice = choose_env(env, env_arg or [], density, metadata, own, allow_import)
    if isinstance(choice, OtherEnv):
        given = {**_for_other(choice, spec, dataset), **given}
    settings = TrainSettings(env=choice, **given)
    torch.set_num_threads(threads)
    facts = run.train(
        settings, out, lambda: make_env(settings, dataset), dataset, overwrite=overwrite
    )
    if facts:  # of several processes, one has them
        print(f"{out}: " + ", ".join(f"{name} {value}" for name, value in facts.items()))


def open_data(data: str, cost: str | None, cost_key: str | None, spec: Any) -> Any:
    """Other people's data to learn from, Minari's or a file of flat arrays."""
    from vlsafe_agents.data import EpisodeDataset, from_dsrl
    from vlsafe_agents.data.flat import is_flat_file

    if is_flat_file(data):
        if cost_key is not None:
            raise ValueError(f"{data} holds its costs in the array 'costs'; leave out --cost-key")
        return from_dsrl(data)
    mode: Any = cost if "cost" in spec.reads else "env"
    return EpisodeDataset.from_minari(data, cost=mode, cost_key=cost_key)


def _for_other(choice: Any, spec: Any, dataset: Any) -> dict[str, Any]:
    """Settings for another environment: its own kind of observation, its own cost, no scorer."""
    from vlsafe_agents.cli.other_envs import NOT_NAMED, observation_kind
    from vlsafe_agents.cli.tables import say

    if choice.env_id == NOT_NAMED:
        space = dataset.observation_space
    else:
        env = choice.factory()()
        space = env.observation_space
        env.close()
    found = {"observation": observation_kind(space)}
    defaults = {"cost": "env" if dataset is None else dataset.cost_mode, "scorer": "none"}
    if spec.name == "vlsafe" and dataset is not None and not dataset.has_safety_score:
        defaults["update"] = "lagrangian" if dataset.has_cost else "none"
        say(f"no safety_score in the data: --update {defaults['update']}, unless one is given")
    return found | {k: v for k, v in defaults.items() if k in spec.reads}


def make_env(settings: TrainSettings, dataset: Any = None) -> Any:
    """The environments of settings, with the scorer and the cost that the agent learns from."""
    from vlsafe_agents.cli.other_envs import NOT_NAMED, OtherEnv, SpacesOnly
    from vlsafe_envs.sb3 import make_vec_env

    scorer = None if settings.scorer == "none" or settings.cost == "env" else settings.scorer
    if settings.env.env_id == NOT_NAMED:
        return SpacesOnly(dataset.observation_space, dataset.action_space)
    if isinstance(settings.env, OtherEnv):
        return settings.env.factory(scorer=scorer)()
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
    """Metadata of a data set, of which a file of flat arrays has none; None where there is none."""
    if data is None:
        return None
    from vlsafe_agents.data.flat import is_flat_file
    from vlsafe_agents.data.storage import read_metadata, resolve_dataset

    return {} if is_flat_file(data) else read_metadata(resolve_dataset(Path(data)))
