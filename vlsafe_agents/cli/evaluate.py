"""``vlsafe evaluate``: an agent or a rule-based driver on fixed seeds."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

FIRST_SEED = 3_000_000_000  # data sets are collected with seeds below 2**31


@dataclass(frozen=True)
class _Subject:
    """Who is evaluated, where, and what its learning cost."""

    agent: Any
    name: str
    env: Any  # EnvChoice
    observation: str
    folder: Path
    training: dict[str, Any]


def evaluate(
    agent: Annotated[str, typer.Argument(help="Folder of an agent, or a driver such as expert.")],
    episodes: Annotated[int, typer.Option(help="Evaluation episodes.", min=1)] = 20,
    density: Annotated[float | None, typer.Option(help="Another density than trained at.")] = None,
    out: Annotated[Path | None, typer.Option(help="Result folder; needed for a driver.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="A driver's environment: as this set's.")
    ] = None,
    env: Annotated[str | None, typer.Option(help="A driver's environment id.")] = None,
    env_arg: Annotated[
        list[str] | None,
        typer.Option(help="The environment's arguments, key=value; others than trained with."),
    ] = None,
    scorer: Annotated[str, typer.Option(help="The judge; none for no judge.")] = "bundled",
    judge_all: Annotated[
        bool, typer.Option("--judge-all/--judge-recorded", help="Judge all or the recorded ones.")
    ] = True,
    record: Annotated[bool, typer.Option(help="Record the best and the worst episode.")] = True,
    first_seed: Annotated[int, typer.Option(help="Seed of the first episode.")] = FIRST_SEED,
    envs: Annotated[int, typer.Option(help="Episodes side by side in a process.", min=1)] = 16,
    workers: Annotated[
        int, typer.Option(help="Processes; with several, each drives one by one.", min=1)
    ] = 1,
    threads: Annotated[int, typer.Option(help="PyTorch threads.", min=1)] = 1,
) -> None:
    """Drive fixed seeds and write evaluation.json, with recordings for the report."""
    from vlsafe_agents.common.progress import ProgressReport
    from vlsafe_agents.evaluation import evaluate as evaluate_agent

    from .environments import parse_env_args

    changes = {"density": density, **parse_env_args(env_arg or [])}
    subject = _driver(agent, out, data, env, env_arg or []) if agent in _drivers() else None
    if subject is None:
        if env or data:
            raise ValueError("a trained agent knows its environment; leave out --env and --data")
        subject = _trained(Path(agent), out)
        _set_threads(threads)
    choice = subject.env.with_kwargs(**changes)
    judge = None if scorer == "none" else scorer
    seen = {"observation": subject.observation, "scorer": judge if judge_all else None}
    together = workers == 1 and not choice.one_a_process
    judged = choice.factory(observation=subject.observation, scorer=judge)
    seeds = range(first_seed, first_seed + episodes)
    done = 0
    with ProgressReport(f"evaluate {subject.name}", episodes, "episodes") as report:

        def count(_: Any) -> None:
            nonlocal done
            done += 1
            report.update(done)

        result = evaluate_agent(
            subject.agent,
            choice.factory(**seen),
            seeds,
            n_workers=min(workers, episodes),
            progress=count,
            make_vec_env=choice.vector_factory(**seen) if together else None,
            num_envs=envs,
        )
    suffix = _suffix(subject.env.kwargs, choice.kwargs)
    subject.folder.mkdir(parents=True, exist_ok=True)
    if record:
        _record(subject, judged, result.records, subject.folder / f"episodes{suffix}")
    path = subject.folder / f"evaluation{suffix}.json"
    result.write_json(path, subject.name, choice.env_id, choice.kwargs, subject.training)
    _print(result.summary, subject.name, episodes)
    print(path)


def _suffix(trained: dict[str, Any], driven: dict[str, Any]) -> str:
    """What tells apart the files of environments that differ from the agent's own."""
    changed = [(key, value) for key, value in sorted(driven.items()) if value != trained.get(key)]
    named = (
        f"_{key}_{value:g}" if key == "density" else f"_{key}_{value}" for key, value in changed
    )
    return re.sub(r"[^\w.-]", "-", "".join(named))


def _drivers() -> tuple[str, ...]:
    from vlsafe_envs.experts import DRIVER_NAMES
    from vlsafe_envs.metadrive.experts import SHIPPED_NAMES

    return (*DRIVER_NAMES, *SHIPPED_NAMES)


def _driver(
    name: str, out: Path | None, data: Path | None, env: str | None, pairs: list[str]
) -> _Subject:
    from .environments import choose_env
    from .train import _metadata

    if out is None:
        raise ValueError(
            f"where shall the figures of {name!r} go? give --out, e.g. runs/mine/{name}"
        )
    # With a data set, the pairs are changes to its environment, and the file's name will say so.
    choice = choose_env(env, [] if data else pairs, metadata=_metadata(data))
    return _Subject(partial(_make_driver, name), name, choice, "vector", out, {})


def _make_driver(name: str, env: Any, rng: Any) -> Any:
    from vlsafe_envs.experts import make_driver

    return make_driver(name, env, rng)


def _trained(folder: Path, out: Path | None) -> _Subject:
    from .training import load_agent

    if not folder.is_dir():
        raise FileNotFoundError(
            f"no folder {str(folder)!r}, and no driver of that name ({', '.join(_drivers())})"
        )
    model, settings, facts = load_agent(folder)
    facts.pop("open_loop", None)
    return _Subject(model, folder.name, settings.env, settings.observation, out or folder, facts)


def _set_threads(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)


def _record(
    subject: _Subject, make_env: Callable[[], Any], records: list[Any], folder: Path
) -> None:
    """Drive the best and the worst episode again, before the judge, and keep their frames."""
    from vlsafe_agents.evaluation import Recording
    from vlsafe_agents.evaluation import evaluate as evaluate_agent

    shutil.rmtree(folder, ignore_errors=True)
    wanted = Recording(folder)
    seeds = sorted({record.seed for record in wanted.choose(records).values()})
    evaluate_agent(subject.agent, make_env, seeds, record=wanted)


def _print(summary: dict[str, dict[str, float | None]], name: str, episodes: int) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{name}, {episodes} episodes")
    for column in ("metric", "mean", "95% interval"):
        table.add_column(column, justify="left" if column == "metric" else "right")
    for metric, row in summary.items():
        if row["mean"] is not None:
            interval = f"{row['low']:.3g} to {row['high']:.3g}"
            table.add_row(metric, f"{row['mean']:.4g}", interval)
    Console().print(table)
