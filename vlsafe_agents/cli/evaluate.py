"""``vlsafe evaluate``: an agent or a rule-based driver on fixed seeds."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from vlsafe_agents.cli.environments import EnvChoice
    from vlsafe_agents.evaluation import Evaluation

FIRST_SEED = 3_000_000_000  # data sets are collected with seeds below 2**31


@dataclass(frozen=True)
class _Subject:
    """Who is evaluated, where, and what its learning cost."""

    agent: Any
    name: str
    kind: Literal["driver", "agent"]
    env: EnvChoice
    observation: str
    folder: Path
    training: Mapping[str, Any]
    settings: Mapping[str, Any] | None = None  # that an agent was trained with


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
    first_seed: Annotated[int, typer.Option(help="Seed of the first episode.", min=0)] = FIRST_SEED,
    envs: Annotated[int, typer.Option(help="Episodes side by side in a process.", min=1)] = 16,
    workers: Annotated[
        int, typer.Option(help="Processes; with several, each drives one by one.", min=1)
    ] = 1,
    threads: Annotated[int, typer.Option(help="PyTorch threads.", min=1)] = 1,
    allow_pickle: Annotated[
        bool,
        typer.Option(
            "--allow-pickle",
            help="Also load a model saved by Stable-Baselines3 itself, whose file can run code: "
            "only if you trust where it came from.",
        ),
    ] = False,
) -> None:
    """Drive fixed seeds and write evaluation.json, with recordings for the report."""
    from vlsafe_agents.cli.environments import parse_env_args
    from vlsafe_agents.cli.tables import say

    env_args = parse_env_args(env_arg or [])
    subject = _driver(agent, out, data, env, env_arg or []) if _is_driver(agent) else None
    if subject is None:
        if env or data:
            raise ValueError("a trained agent knows its environment; leave out --env and --data")
        subject = _trained(Path(agent), out, allow_pickle)
        _set_threads(threads)
    choice = subject.env.with_kwargs(parse_env_args(env_arg or [], density))
    judge = None if scorer == "none" else scorer
    suffix = _suffix(subject.env.kwargs, choice.kwargs)
    path = subject.folder / f"evaluation{suffix}.json"
    with _writing(path):
        _require_own(path, subject, choice)
        seeds = range(first_seed, first_seed + episodes)
        result = _drive(subject, choice, judge if judge_all else None, seeds, envs, workers)
        recordings = subject.folder / f"episodes{suffix}"
        shutil.rmtree(recordings, ignore_errors=True)  # they are of the last evaluation
        options = {
            "data": None if data is None else str(data),
            "density": density,
            "env_args": env_args,
            "scorer": judge,
            "judge_all": judge_all,
        }
        result.write_json(
            path,
            subject.name,
            choice.env_id,
            choice.kwargs,
            subject.training,
            subject.kind,
            subject.settings,
            options,
        )
        if record:  # last: whatever goes wrong with it, the figures are there
            make_env = choice.factory(observation=subject.observation, scorer=judge)
            _record(subject, make_env, result, recordings)
    _print(result, subject.name)
    say(path)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Hold the right to write a result; folders that were made for nothing are removed again."""
    from wrappers.files import one_writer

    made = [folder for folder in path.parents if not folder.exists()]  # the innermost first
    try:
        with one_writer(path, "vlsafe evaluate"):
            yield
    except BaseException:
        with contextlib.suppress(OSError):  # one of them holds something after all
            for folder in made:
                folder.rmdir()
        raise


def _require_own(path: Path, subject: _Subject, choice: EnvChoice) -> None:
    """Refuse to write over other figures; what cannot be read holds none."""
    from vlsafe_agents.evaluation import read_evaluation

    try:
        found = read_evaluation(path)
    except (FileNotFoundError, ValueError):
        return
    if found.kind == "driver" or subject.kind == "driver":
        same = (found.kind, found.agent) == (subject.kind, subject.name)
    else:
        same = found.settings == subject.settings
    if found.kind is not None and not same:
        raise FileExistsError(
            f"{path} holds the evaluation of another {found.kind}, {found.agent!r}; give another "
            "--out, or remove the file"
        )
    if (found.env_id, found.env_kwargs) != (choice.env_id, choice.kwargs):
        raise FileExistsError(
            f"{path} holds drives in another environment, {found.env_id} {found.env_kwargs}; give "
            "another --out, or remove the file"
        )


def _drive(
    subject: _Subject,
    choice: EnvChoice,
    judge: str | None,
    seeds: range,
    envs: int,
    workers: int,
) -> Evaluation:
    from vlsafe_agents.common.progress import ProgressReport
    from vlsafe_agents.evaluation import evaluate as evaluate_agent

    seen = {"observation": subject.observation, "scorer": judge}
    together = workers == 1 and not choice.one_a_process
    done = 0
    with ProgressReport(f"evaluate {subject.name}", len(seeds), "episodes") as report:
        report.update(0)

        def count(_: Any) -> None:
            nonlocal done
            done += 1
            report.update(done)

        return evaluate_agent(
            subject.agent,
            choice.factory(**seen),
            seeds,
            n_workers=min(workers, len(seeds)),
            progress=count,
            make_vec_env=choice.vector_factory(**seen) if together else None,
            num_envs=envs,
        )


def _suffix(trained: dict[str, Any], driven: dict[str, Any]) -> str:
    """What tells apart the files of environments that differ from the agent's own."""
    changed = [(key, value) for key, value in sorted(driven.items()) if value != trained.get(key)]
    named = (
        f"_{key}_{value:g}" if isinstance(value, float) else f"_{key}_{value}"
        for key, value in changed
    )
    return re.sub(r"[^\w.-]", "-", "".join(named))


def _drivers() -> tuple[str, ...]:
    from vlsafe_envs.registry import all_driver_names

    return all_driver_names()


def _is_driver(name: str) -> bool:
    from vlsafe_agents.training.settings import SETTINGS_FILE

    if name in _drivers() and (Path(name) / SETTINGS_FILE).exists():
        raise ValueError(
            f"{name} is a driver, and here a folder with an agent, too: write ./{name} for the "
            "agent, or go elsewhere for the driver"
        )
    return name in _drivers()


def _driver(
    name: str, out: Path | None, data: Path | None, env: str | None, pairs: list[str]
) -> _Subject:
    from vlsafe_agents.cli.environments import choose_env
    from vlsafe_agents.cli.train import read_data_metadata

    if out is None:
        raise ValueError(
            f"where shall the figures of {name!r} go? give --out, e.g. runs/mine/{name}"
        )
    # With a data set, the pairs are changes to its environment, and the file's name will say so.
    choice = choose_env(env, [] if data else pairs, metadata=read_data_metadata(data))
    return _Subject(partial(_make_driver, name), name, "driver", choice, "vector", out, {})


def _make_driver(name: str, env: Any, rng: Any) -> Any:
    from vlsafe_envs.drivers import make_driver

    return make_driver(name, env, rng)


def _trained(folder: Path, out: Path | None, allow_pickle: bool) -> _Subject:
    from vlsafe_agents.cli.environments import EnvChoice
    from vlsafe_agents.training import load_agent
    from vlsafe_agents.training.facts import figures
    from vlsafe_agents.training.settings import SETTINGS_FILE
    from wrappers.files import read_json

    if not folder.is_dir():
        raise FileNotFoundError(
            f"no folder {str(folder)!r}, and no driver of that name ({', '.join(_drivers())})"
        )
    if (folder / "model.zip").exists() and not (folder / SETTINGS_FILE).exists():
        raise FileNotFoundError(
            f"{folder} holds a model.zip but no {SETTINGS_FILE}, so it is not known by which "
            "algorithm and for which environment it was trained; evaluate it from Python, with "
            "vlsafe_agents.evaluation.evaluate"
        )
    model, settings, facts = load_agent(folder, allow_pickle, EnvChoice)
    assert isinstance(settings.env, EnvChoice)
    name = folder.resolve().name
    observation, where = settings.observation, out or folder
    recorded: dict[str, Any] = read_json(folder / SETTINGS_FILE)
    return _Subject(
        model, name, "agent", settings.env, observation, where, figures(facts), recorded
    )


def _set_threads(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)


def _record(
    subject: _Subject, make_env: Callable[[], Any], result: Evaluation, folder: Path
) -> None:
    """Drive the best and the worst episode again, before the judge, and keep their frames."""
    from vlsafe_agents.evaluation import Recording
    from vlsafe_agents.evaluation import evaluate as evaluate_agent

    unfinished = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    wanted = Recording(unfinished)
    seeds = sorted({record.seed for record in wanted.choose(result.records).values()})
    evaluate_agent(subject.agent, make_env, seeds, record=wanted)
    os.replace(unfinished, folder)


def _print(result: Evaluation, name: str) -> None:
    from vlsafe_agents.cli.tables import print_table
    from vlsafe_agents.evaluation import METRICS
    from vlsafe_agents.report.tables import NOT_KNOWN, figure, interval, percent

    rows = []
    for metric, entry in result.summary.items():
        show = percent if METRICS[metric].kind == "share" else figure
        if entry["mean"] is not None:
            rows.append((metric, show(entry["mean"]), interval(entry, show)))
        elif metric == "collision_rate":
            rows.append((metric, NOT_KNOWN, ""))
    title = f"{name}, {len(result.records)} episodes"
    print_table(title, ("metric", "mean", "95% interval"), rows)
