"""``vlsafe evaluate``: an agent or a rule-based driver on fixed seeds."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlsafe_agents.cli import completion
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
from vlsafe_agents.cli.subjects import Given, find_subject

if TYPE_CHECKING:
    from vlsafe_agents.cli.environments import AnyEnv
    from vlsafe_agents.cli.subjects import Subject
    from vlsafe_agents.evaluation import Evaluation


def evaluate(
    agent: Annotated[
        str,
        typer.Argument(
            help="Folder of an agent or of a risk model, pretrained:NAME (one that comes with "
            "vlsafe, or owner/name[@revision] of Hugging Face), a driver such as expert, or a "
            "model.zip of --algo.",
            autocompletion=completion.subjects,
        ),
    ],
    episodes: Annotated[int, typer.Option(help="Evaluation episodes.", min=1)] = 20,
    density: Annotated[float | None, typer.Option(help="Another density than trained at.")] = None,
    out: Annotated[Path | None, typer.Option(help="Result folder; needed for a driver.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="A driver's environment: as this set's.")
    ] = None,
    algo: Annotated[
        str | None,
        typer.Option(
            help="The algorithm of a model.zip: ppo, sac, ... of Stable-Baselines3 too.",
            autocompletion=completion.stock_algorithms,
        ),
    ] = None,
    env: Annotated[
        str | None,
        typer.Option(
            help="Environment of a driver or a model.zip: an id, or module:function.",
            autocompletion=completion.env_ids,
        ),
    ] = None,
    wrapper: Wrapper = None,
    cost_key: CostKey = None,
    cost_function: CostFunction = None,
    allow_import: AllowImport = False,
    env_arg: Annotated[
        list[str] | None,
        typer.Option(help="The environment's arguments, key=value; others than trained with."),
    ] = None,
    shield: Annotated[
        Path | None,
        typer.Option(
            help="Replace actions that the risk model of this folder calls dangerous; or bundled."
        ),
    ] = None,
    shield_threshold: Annotated[
        float | None,
        typer.Option(
            help="Chance of a crash from which on an action is not taken. [default: as trained]"
        ),
    ] = None,
    cost_limit: Annotated[
        float | None,
        typer.Option(
            help="What an episode may cost, of an agent that was trained for a range of limits. "
            "[default: the lowest]"
        ),
    ] = None,
    stochastic: Annotated[
        bool,
        typer.Option(
            "--stochastic",
            help="Sample the policy's actions, as while learning, and do not take the likeliest.",
        ),
    ] = False,
    scorer: Annotated[
        str | None,
        typer.Option(
            help="The scorer; none for none. [default: bundled in our environments]",
            autocompletion=completion.scorers,
        ),
    ] = None,
    judge_all: Annotated[
        bool,
        typer.Option("--judge-all/--judge-recorded", help="Score all or the recorded ones."),
    ] = True,
    record: Annotated[bool, typer.Option(help="Record the best and the worst episode.")] = True,
    first_seed: FirstSeed = FIRST_SEED,
    envs: Annotated[int, typer.Option(help="Episodes side by side in a process.", min=1)] = 16,
    workers: Annotated[
        int, typer.Option(help="Processes; with several, each drives one by one.", min=1)
    ] = 1,
    threads: Threads = 1,
    allow_pickle: AllowPickle = False,
) -> dict[str, Any]:
    """Drive fixed seeds and write evaluation.json, with recordings for the report."""
    from vlsafe_agents.cli.environments import EnvChoice, parse_env_args
    from vlsafe_agents.cli.tables import say
    from vlsafe_agents.evaluation.stored import STOCHASTIC_SUFFIX

    env_args = parse_env_args(env_arg or [])
    own = {"wrapper": wrapper, "cost_key": cost_key, "cost_function": cost_function}
    asked = (shield, shield_threshold, cost_limit)
    given = Given(out, data, env, env_arg or [], own, allow_import, *asked)
    subject = find_subject(agent, algo, allow_pickle, given)
    if subject.kind == "agent":
        set_threads(threads)
    choice = subject.env.with_kwargs(parse_env_args(env_arg or [], density))
    ours = isinstance(choice, EnvChoice)
    scorer = scorer or ("bundled" if ours else "none")
    record = record and (ours or choice.kwargs.get("render_mode") == "rgb_array")
    scored_by = None if scorer == "none" else scorer
    if stochastic and not hasattr(subject.agent, "predict"):
        raise ValueError(f"--stochastic: {subject.name} has no policy to sample from; leave it out")
    sampled = STOCHASTIC_SUFFIX if stochastic else ""
    suffix = _suffix(subject.env.kwargs, choice.kwargs) + sampled + subject.suffix
    path = subject.folder / f"evaluation{suffix}.json"
    with _writing(path):
        _require_own(path, subject, choice)
        seeds = range(first_seed, first_seed + episodes)
        judge = scored_by if judge_all else None
        result = _drive(subject, choice, judge, seeds, envs, workers, not stochastic)
        recordings = subject.folder / f"episodes{suffix}"
        shutil.rmtree(recordings, ignore_errors=True)  # they are of the last evaluation
        options = {
            "data": None if data is None else str(data),
            "density": density,
            "env_args": env_args,
            "scorer": scored_by,
            "judge_all": judge_all,
            **({"stochastic": True} if stochastic else {}),
            **({} if subject.cost_limit is None else {"cost_limit": subject.cost_limit}),
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
            subject.shielded,
        )
        if record:  # last: whatever goes wrong with it, the figures are there
            make_env = subject.factory(choice, scored_by)
            _record(subject, make_env, result, recordings, not stochastic)
    _print(result, subject)
    say(path)
    return {
        "file": path,
        "agent": subject.name,
        "env_id": choice.env_id,
        "env_kwargs": choice.kwargs,
        "episodes": len(result.records),
        "summary": result.summary,
    }


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


def _require_own(path: Path, subject: Subject, choice: AnyEnv) -> None:
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
    if found.cost_limit != subject.cost_limit:
        raise FileExistsError(
            f"{path} holds drives under another limit, {found.cost_limit}; give another --out, or "
            "remove the file"
        )
    if found.shielded != subject.shielded:
        raise FileExistsError(
            f"{path} holds drives with another shield, {found.shielded}; give another --out, or "
            "remove the file"
        )
    if (found.env_id, found.env_kwargs) != (choice.env_id, choice.kwargs):
        raise FileExistsError(
            f"{path} holds drives in another environment, {found.env_id} {found.env_kwargs}; give "
            "another --out, or remove the file"
        )


def _drive(
    subject: Subject,
    choice: AnyEnv,
    scorer: str | None,
    seeds: range,
    envs: int,
    workers: int,
    deterministic: bool,
) -> Evaluation:
    from vlsafe_agents.cli.environments import EnvChoice
    from vlsafe_agents.common.progress import ProgressReport
    from vlsafe_agents.evaluation import evaluate as evaluate_agent

    make_vec_env = None
    if isinstance(choice, EnvChoice) and workers == 1 and not choice.one_a_process:
        make_vec_env = subject.vector_factory(choice, scorer)
    done = 0
    with ProgressReport(f"evaluate {subject.name}", len(seeds), "episodes") as report:
        report.update(0)

        def count(_: Any) -> None:
            nonlocal done
            done += 1
            report.update(done)

        return evaluate_agent(
            subject.agent,
            subject.factory(choice, scorer),
            seeds,
            deterministic,
            n_workers=min(workers, len(seeds)),
            progress=count,
            make_vec_env=make_vec_env,
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


def set_threads(threads: int) -> None:
    """Let PyTorch use so many threads."""
    import torch

    torch.set_num_threads(threads)


def _record(
    subject: Subject,
    make_env: Callable[[], Any],
    result: Evaluation,
    folder: Path,
    deterministic: bool,
) -> None:
    """Drive the best and the worst episode again, with the scorer, and keep their frames."""
    from vlsafe_agents.evaluation import Recording
    from vlsafe_agents.evaluation import evaluate as evaluate_agent

    unfinished = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    wanted = Recording(unfinished)
    seeds = sorted({record.seed for record in wanted.choose(result.records).values()})
    evaluate_agent(subject.agent, make_env, seeds, deterministic, record=wanted)
    os.replace(unfinished, folder)


def _print(result: Evaluation, subject: Subject) -> None:
    from vlsafe_agents.cli.tables import print_table
    from vlsafe_agents.evaluation import METRICS
    from vlsafe_agents.report.tables import NOT_KNOWN, figure, interval, percent

    rows = []
    for metric, entry in result.summary.items():
        show = percent if METRICS[metric].in_percent else figure
        if entry["mean"] is not None:
            rows.append((metric, show(entry["mean"]), interval(entry, show)))
        elif metric == "collision_rate":
            rows.append((metric, NOT_KNOWN, ""))
    who = subject.name
    if subject.shield is not None:
        who += f", shielded by {subject.shield.folder} (threshold {subject.shield.threshold:g})"
    if subject.cost_limit is not None:
        who += f", under the limit {subject.cost_limit:g}"
    title = f"{who}, {len(result.records)} episodes"
    print_table(title, ("metric", "mean", "95% interval"), rows)
