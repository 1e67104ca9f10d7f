"""``vlsafe foresight``: does an agent see a crash coming, and what comes where it says "safe"?"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlsafe_agents.cli import completion
from vlsafe_agents.cli.evaluate import set_threads
from vlsafe_agents.cli.options import (
    FIRST_SEED,
    AllowImport,
    AllowPickle,
    CostFunction,
    CostKey,
    FirstSeed,
    Threads,
    Wrapper,
)
from vlsafe_agents.cli.subjects import Given, Subject, of_training

if TYPE_CHECKING:
    from vlsafe_agents.cli.environments import AnyEnv
    from vlsafe_agents.foresight import Drive, Foresight
    from vlsafe_agents.foresight.drives import Sense
    from vlsafe_agents.foresight.signals import Signals
    from vlsafe_agents.risk import RiskModel

DENSER = 1.5  # times the density of training, where none is given


def foresight(
    run: Annotated[
        Path, typer.Argument(help="Folder of a trained agent, or of a risk model.", metavar="RUN")
    ],
    data: Annotated[
        Path | None,
        typer.Option(help="Recorded drives to judge, in place of its own in that traffic."),
    ] = None,
    episodes: Annotated[
        int, typer.Option(help="Drives in each traffic; of --data the first ones.", min=1)
    ] = 100,
    density: Annotated[
        list[float] | None,
        typer.Option(
            help="Other traffic to drive in; give it several times for several. "
            "[default: 1.5 times the density of training, in our environments]"
        ),
    ] = None,
    risk: Annotated[
        Path | None,
        typer.Option(
            help="Also ask the risk model of this folder (`vlsafe train-risk`); or bundled."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The figures. [default: RUN/foresight.json]")
    ] = None,
    env: Annotated[
        str | None,
        typer.Option(
            help="Environment of an agent whose own is not known.",
            autocompletion=completion.env_ids,
        ),
    ] = None,
    env_arg: Annotated[
        list[str] | None,
        typer.Option(help="The environment's arguments, key=value; others than trained with."),
    ] = None,
    wrapper: Wrapper = None,
    cost_key: CostKey = None,
    cost_function: CostFunction = None,
    allow_import: AllowImport = False,
    first_seed: FirstSeed = FIRST_SEED,
    dreams: Annotated[int, typer.Option(help="Dreams of each state.", min=1)] = 8,
    threads: Threads = 1,
    allow_pickle: AllowPickle = False,
) -> dict[str, Any]:
    """Measure how well an agent's danger signals foresee real crashes.

    The agent drives, in traffic as it was trained in and in denser traffic.  Of each signal that
    it has: how well it ranks decisions by whether a crash follows within 0.5, 1, 2 and 5 s, and how
    often one follows where the signal says "safe".  Writes foresight.json, which `vlsafe report`
    shows.
    """
    from vlsafe_agents.cli.tables import say
    from vlsafe_agents.foresight import FORESIGHT_FILE
    from wrappers.files import one_writer, read_json

    own = {"wrapper": wrapper, "cost_key": cost_key, "cost_function": cost_function}
    subject = of_training(
        run, allow_pickle, Given(out, None, env, env_arg or [], own, allow_import)
    )
    set_threads(threads)
    path = out or run / FORESIGHT_FILE
    with one_writer(path, "vlsafe foresight"):
        found = _measured(subject, data, risk, density, env_arg or [], episodes, first_seed, dreams)
        found.write(path)
    _print(found)
    say(path)
    return {"file": path, **read_json(path)}


def _measured(
    subject: Subject,
    data: Path | None,
    risk: Path | None,
    density: list[float] | None,
    env_arg: list[str],
    episodes: int,
    first_seed: int,
    dreams: int,
) -> Foresight:
    """Drive, or read recorded drives, and measure."""
    from vlsafe_agents.foresight import CHANCES, Foresight, Steps, Traffic, measure
    from vlsafe_agents.foresight.signals import signals_of

    places = _places(subject.env, density, env_arg)
    usual = next(iter(places.values()))
    seconds = _seconds(usual, subject.observation)
    model, sense = _risk(subject, risk)
    signals = signals_of(subject.agent, model, dreams)
    seeds = range(first_seed, first_seed + episodes)
    steps: list[Steps] = []  # of each traffic
    looked_at: list[tuple[str, dict[str, Any], str | None]] = []  # in which, and the recordings
    for title, place in places.items():
        if data is not None and place is usual:
            drives, kwargs = _recorded(subject, data, model, signals, seconds, episodes)
            looked_at.append((title, kwargs, str(data)))
        else:
            drives = _driven(subject, title, place, signals, seconds, seeds, sense)
            looked_at.append((title, place.kwargs, None))
        steps.append(Steps.of(drives, seconds))
    figures = measure(steps[0], steps[1:], seconds, CHANCES)
    options = {
        "data": None if data is None else str(data),
        "risk": None if risk is None else str(risk),
        "episodes": episodes,
        "first_seed": first_seed,
        "density": density,
        "env_arg": env_arg,
        "dreams": dreams,
    }
    traffics = [Traffic(*what, found) for what, found in zip(looked_at, figures, strict=True)]
    settings = dict(subject.settings or {})
    return Foresight(subject.name, settings, usual.env_id, seconds, options, tuple(traffics))


def _risk(subject: Subject, folder: Path | None) -> tuple[RiskModel | None, Sense | None]:
    """The risk model to ask, and how it sees environments; None: as the agent does."""
    from vlsafe_agents.cli.shielding import read_shield, seen_by_all
    from vlsafe_agents.risk import ShieldedPolicy

    if isinstance(subject.agent, ShieldedPolicy):
        if folder is not None:
            raise ValueError("--risk: the folder is of a risk model, which is asked itself")
        return subject.agent.model, None
    if folder is None:
        return None, None
    run = read_shield(folder, None, subject.env, "--risk").run
    return run.model, partial(seen_by_all, run.observation)


def _places(
    trained_in: AnyEnv, density: list[float] | None, env_arg: list[str]
) -> dict[str, AnyEnv]:
    """Environments by the title of their traffic, the one of training first.

    Raises:
        ValueError: for another density as an argument of all of them.
    """
    from vlsafe_agents.cli.environments import parse_env_args
    from vlsafe_agents.foresight import AS_RECORDED

    arguments = parse_env_args(env_arg)
    if "density" in arguments:
        raise ValueError("--env-arg density=...: other traffic is given by --density")
    usual = trained_in.with_kwargs(arguments)
    densities = _denser(usual) if density is None else density
    others = {f"density {one:g}": usual.with_kwargs({"density": one}) for one in densities}
    return {AS_RECORDED: usual, **others}


def _denser(choice: AnyEnv) -> list[float]:
    """1.5 times an environment's density, where it is known to have one."""
    from vlsafe_agents.cli.environments import EnvChoice
    from vlsafe_envs.options import option_defaults
    from vlsafe_envs.registry import row_of

    if not isinstance(choice, EnvChoice):
        return []
    own = choice.kwargs.get("density")
    own = option_defaults(row_of(choice.env_id))["density"] if own is None else own
    greatest = max(own) if isinstance(own, list | tuple) else own
    return [round(DENSER * float(greatest), 6)]


def _seconds(choice: AnyEnv, observation: str) -> float:
    from vlsafe_agents.foresight.drives import seconds_of

    env = choice.factory(observation=observation, scorer=None)()
    try:
        return seconds_of(env.metadata, choice.env_id)
    finally:
        env.close()


def _driven(
    subject: Subject,
    title: str,
    choice: AnyEnv,
    signals: Sequence[Signals],
    seconds: float,
    seeds: range,
    sense: Sense | None,
) -> list[Drive]:
    """Drives of the agent itself."""
    from vlsafe_agents.common.progress import ProgressReport
    from vlsafe_agents.foresight.drives import decisions_apart, drive

    env = _vectorised(choice, subject.observation, len(seeds))
    try:
        with ProgressReport(f"foresight, {title}", len(seeds), "drives") as report:
            report.update(0)
            every = decisions_apart(seconds)
            return drive(subject.agent, env, seeds, signals, every, report.update, sense=sense)
    finally:
        env.close()


def _vectorised(choice: AnyEnv, observation: str, most: int) -> Any:
    """Environments side by side, or one where a process cannot hold several."""
    from gymnasium.vector import SyncVectorEnv

    from vlsafe_agents.cli.environments import EnvChoice
    from vlsafe_agents.evaluation.agents import ROWS

    seen = {"observation": observation, "scorer": None}
    if isinstance(choice, EnvChoice) and not choice.one_a_process:
        return choice.vector_factory(**seen)(min(most, ROWS))
    return SyncVectorEnv([choice.factory(**seen)])


def _recorded(
    subject: Subject,
    data: Path,
    model: RiskModel | None,
    signals: Sequence[Signals],
    seconds: float,
    most: int,
) -> tuple[list[Drive], dict[str, Any]]:
    """Recorded drives, and the arguments of the environment that they were recorded in."""
    from vlsafe_agents.common.progress import ProgressReport
    from vlsafe_agents.data import EpisodeDataset
    from vlsafe_agents.foresight.drives import decisions_apart, replay

    seen = subject.agent.observation_space
    stored = EpisodeDataset.from_minari(
        data, cost="env", observation_space=seen if model is None else None
    )
    dataset = stored.select(seen)
    sensed = None if model is None else stored.select(model.observation_space)
    total = min(most, dataset.num_episodes)
    with ProgressReport("foresight, recorded drives", total, "drives") as report:
        report.update(0)
        every = decisions_apart(seconds)
        drives = replay(subject.agent, dataset, signals, every, most, report.update, sensed=sensed)
    return drives, dict(dataset.metadata.get("env_kwargs") or {})


def _print(found: Foresight) -> None:
    from vlsafe_agents.cli.tables import print_table, say
    from vlsafe_agents.foresight import words

    for traffic in found.traffics:
        measured = traffic.measured
        left_out = ", ".join(f"{base.left_out:,}" for base in measured.base)
        horizons = ", ".join(f"{base.horizon:g}" for base in measured.base)
        say(
            f"{traffic.title}: {measured.drives} drives, {measured.crashed} ended in a crash; "
            f"{measured.steps:,} decisions, of which {left_out} left out, as it is not known what "
            f"came within {horizons} s"
        )
    print_table("AUROC, 95% interval over drives", *words.auroc_rows(found))
    horizon = found.horizons[words.main_horizon(found)]
    title = f'Crash within {horizon:g} s where the signal says "safe" (thresholds as recorded)'
    print_table(title, *words.safe_rows(found))
    say(words.sentence(found))
