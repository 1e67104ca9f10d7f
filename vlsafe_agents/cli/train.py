"""``vlsafe train``: VLSafe from recorded drives, or a baseline."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Optional, get_args, get_type_hints

import typer

from vlsafe_agents.algorithms import ALGORITHMS, find_algorithm
from vlsafe_agents.cli import completion
from vlsafe_agents.cli.options import CostFunction, EnvArg, RewardFunction, Wrapper
from vlsafe_agents.training.hyperparameters import is_by_environment, read_hyperparameters
from vlsafe_agents.training.settings import (
    METADATA,
    READ_BY_SOME,
    TrainSettings,
    flag,
    read_settings,
    read_settings_file,
)

_COMPLETED = {
    "algo": completion.algorithms,
    "observation": completion.observations,
    "preset": completion.presets,
    "scorer": completion.scorers,
}


def _with_settings(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command with an option for each of :class:`TrainSettings` in place of ``**given``."""
    signature = inspect.signature(command, eval_str=True)
    out, *own = (p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD)
    hints = get_type_hints(TrainSettings)
    settings = [_option(name, hints[name]) for name in METADATA if name != "env"]
    options = [out, *settings, *own]
    command.__signature__ = signature.replace(parameters=options)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in options}
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
    names = (flag(name),) if limits.pop("flag", False) else ()  # without its --no-...
    text = known["help"]
    if name in READ_BY_SOME and name != "data":
        readers = [
            row.name
            for row in ALGORITHMS.values()
            if name in row.read_by(online=True) or name in row.read_by(online=False)
        ]
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
        annotation=Annotated[
            Optional[kind],  # noqa: UP045
            typer.Option(*names, help=text, autocompletion=_COMPLETED.get(name), **limits),
        ],
    )


@_with_settings
def train(
    *,
    out: Annotated[Path, typer.Option(help="Folder of the agent, for example runs/mine/vlsafe.")],
    settings: Annotated[
        Path | None,
        typer.Option(
            help="A run's settings.json, or a YAML file of settings by environment id; options "
            "that are given go first."
        ),
    ] = None,
    env: Annotated[
        str | None,
        typer.Option(
            help="Environment id. [default: the data set's, or Highway]",
            autocompletion=completion.env_ids,
        ),
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
    track: Annotated[
        str | None,
        typer.Option(help="Send the log to wandb or trackio, too; wandb:PROJECT names a project."),
    ] = None,
    threads: Annotated[
        int, typer.Option(help="PyTorch threads; small networks want 1.", min=1)
    ] = 1,
    overwrite: Annotated[bool, typer.Option(help="Remove an agent that is there.")] = False,
    **given: Any,
) -> dict[str, Any]:
    """Train an agent; the same command goes on from the last checkpoint (every two minutes).

    VLSafe, BC, BC-Safe, IQL, CQL, CPQ, COptiDICE and CDT learn from --data and never touch the
    environment.  VLSafe without --data, or with --online, drives and learns in turn, and so do
    PPO-Lag, TRPO-Lag, SAC-Lag (continuous actions), PPO, Recurrent PPO, TRPO, DQN, QR-DQN and SAC
    (continuous actions); given --data, they drive as many steps as it holds, in the same
    environment.  Options that an algorithm does not read are errors.
    """
    import torch

    from vlsafe_agents.cli.environments import choose_env, is_ours, parse_pairs, stored_env
    from vlsafe_agents.cli.other_envs import NOT_NAMED, OtherEnv
    from vlsafe_agents.training import run

    given = {k: str(v) if isinstance(v, Path) else v for k, v in given.items() if v is not None}
    given["config"] = parse_pairs(given.get("config", []), "--config")
    if settings is not None and is_by_environment(settings):
        given, known = _for_environment(settings, given, env), None
    else:
        told = partial(stored_env, allow_import=allow_import)
        given, known = _taken_over(settings, given, told)
    spec = find_algorithm(given.get("algo", METADATA["algo"]["default"]))
    data, dataset = given.get("data"), None
    if "online" in spec.reads and data is None:
        given["online"] = True
    offline = spec.offline and not given.get("online")
    own = {"wrapper": wrapper, "cost_key": cost_key}
    own |= {"cost_function": cost_function, "reward_function": reward_function}
    metadata = read_data_metadata(data)
    if spec.offline and data is not None and metadata is not None:
        named = env or density is not None or env_arg or any(own.values())
        if offline and is_ours(metadata) and named:
            raise ValueError(
                "the data set names its environment; leave out --env and its arguments"
            )
        if not is_ours(metadata):  # `vlsafe collect` has stored the environment's cost as "cost"
            key = None if "env_id" in metadata else cost_key
            dataset = open_data(data, given.get("cost"), key, spec)
    if metadata is not None and not offline:
        steps = metadata["total_steps"] if dataset is None else dataset.num_steps
        given.setdefault("steps", int(steps))
    if known is not None and env is None:
        if density is not None or env_arg or any(own.values()):
            source = "--start-from" if settings is None else "--settings"
            raise ValueError(f"{source} names its environment; to change it give --env, too")
        choice: Any = known
    elif dataset is not None and env is None and "env_id" not in (metadata or {}):
        if not offline:
            raise ValueError(f"{data} names no environment to drive in; name it with --env")
        choice = OtherEnv(NOT_NAMED, {k: v for k, v in own.items() if v})
    else:
        choice = choose_env(env, env_arg or [], density, metadata, own, allow_import)
    if isinstance(choice, OtherEnv):
        given = {**_for_other(choice, spec, dataset, given), **given}
    wanted = TrainSettings(env=choice, **given)
    torch.set_num_threads(threads)
    make = partial(make_env, wanted, dataset)
    facts = run.train(wanted, out, make, dataset, overwrite=overwrite, tracker=track)
    _show(out, facts)
    return {"folder": out, **facts}


def _show(out: Path, facts: Mapping[str, Any]) -> None:
    from vlsafe_agents.cli.tables import say

    if facts:  # of several processes, one has them
        say(f"{out}: " + ", ".join(f"{name} {value}" for name, value in facts.items()))


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


def _taken_over(
    settings: Path | None, given: dict[str, Any], env: Callable[..., Any]
) -> tuple[dict[str, Any], Any]:
    """Settings with those of a file, or of an agent to go on from, and their environment or None.

    What is given goes first.
    """
    started = given.get("start_from")
    if settings is not None:
        earlier = read_settings_file(settings, env)
        taken = earlier.given()
    elif started is not None:
        earlier = read_settings(Path(started), env)
        taken = _inherited(earlier)
    else:
        return given, None
    config = {**earlier.config, **given["config"]}
    return {**taken, **given, "config": config}, earlier.env


def _for_environment(file: Path, given: dict[str, Any], env: str | None) -> dict[str, Any]:
    """Settings with those that a file has for the environment; what is given goes first."""
    from vlsafe_agents.cli.environments import EnvChoice

    name = env or (read_data_metadata(given.get("data")) or {}).get("env_id") or EnvChoice().env_id
    taken = read_hyperparameters(file, str(name).removeprefix("vlsafe_envs:"))
    return {**taken, **given, "config": {**taken.get("config", {}), **given["config"]}}


def _inherited(earlier: TrainSettings) -> dict[str, Any]:
    """What an agent takes over from the one that it goes on from, unless it is given."""
    names = ("algo", "observation", "preset", "update", "safety", "cost_limit", "cost")
    found = {name: getattr(earlier, name) for name in names}
    off = earlier.spec.switched_off(found)
    return {k: v for k, v in found.items() if v is not None and k not in off}


def _for_other(choice: Any, spec: Any, dataset: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings for another environment: its own kind of observation, its own cost, no scorer."""
    from vlsafe_agents.cli.other_envs import NOT_NAMED, observation_kind

    if choice.env_id == NOT_NAMED:
        space = dataset.observation_space
    else:
        env = choice.factory()()
        space = env.observation_space
        env.close()
    found = {"observation": observation_kind(space)}
    defaults = {"cost": "env" if dataset is None else dataset.cost_mode, "scorer": "none"}
    reads = spec.read_by(given.get("online"))
    if "update" in reads and "update" not in given and "safety" not in given:
        update = _update_without_scores(dataset, given)
        defaults |= {} if update is None else {"update": update}
    return found | {k: v for k, v in defaults.items() if k in reads}


def _update_without_scores(dataset: Any, given: Mapping[str, Any]) -> str | None:
    """The update of an agent that is told no safety scores; None where it is told some."""
    from vlsafe_agents.cli.tables import note

    if given.get("online"):
        if given.get("scorer", "none") != "none":
            return None
        update, where = "lagrangian", "while it drives, without --scorer"
    else:
        if dataset is None or dataset.has_safety_score:
            return None
        update, where = "lagrangian" if dataset.has_cost else "none", "in the data"
    note(f"no safety_score {where}: --update {update}, unless one is given")
    return update


def make_env(settings: TrainSettings, dataset: Any = None) -> Any:
    """The environments of settings, with the scorer and the cost that the agent learns from."""
    from vlsafe_agents.cli.other_envs import NOT_NAMED, OtherEnv, SpacesOnly
    from vlsafe_envs.sb3 import make_vec_env

    unread = settings.cost == "env" and settings.update != "gated"  # no cost is made of the scores
    scorer = None if settings.scorer == "none" or unread else settings.scorer
    if settings.env.env_id == NOT_NAMED:
        return SpacesOnly(dataset.observation_space, dataset.action_space)
    if isinstance(settings.env, OtherEnv):
        return settings.env.factory(scorer=scorer, cost=settings.cost)()
    options: dict[str, Any] = {"observation": settings.observation, "scorer": scorer}
    if settings.cost is not None and not settings.offline:
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
