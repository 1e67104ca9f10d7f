"""``vlsafe audit``: does a scorer see danger? A report that may say "no better than chance"."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlsafe_agents.cli import completion
from vlsafe_agents.cli.collect import DEFAULT_MIX
from vlsafe_agents.cli.exam import run_exam, server_spec
from vlsafe_agents.cli.options import Threads
from vlsafe_agents.cli.scorers import load_scorer, source_of

if TYPE_CHECKING:
    from vlsafe_agents.audit import Audit, AuditConfig, NamedScorer, PromptPair

DEFAULT_SCORERS = ("bundled", "random-weights", "shuffled:bundled", "constant:0.5", "oracle")
LABELS = "labels"  # the scores that the data sets hold already
TURNED = "(turned round)"  # marks names of prompt pairs whose safe sentence speaks of danger


def audit(
    data: Annotated[
        list[Path] | None, typer.Argument(help="Data sets made by `vlsafe collect`, or none.")
    ] = None,
    scorer: Annotated[
        list[str] | None,
        typer.Option(
            help=f'Any scorer, or "{LABELS}": those in the data. May be repeated.',
            autocompletion=completion.scorers,
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the report.")] = Path("runs/audit"),
    exam: Annotated[
        bool,
        typer.Option("--exam", help="On the frozen frames that come with vlsafe, not on drives."),
    ] = False,
    server: Annotated[
        str | None,
        typer.Option(help="The exam of a VLM behind this address, such as http://host:8000/v1."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Its name there. [default: the only one]")
    ] = None,
    compare: Annotated[
        list[Path] | None,
        typer.Option(help="Rows of the exam, or folders of them, for its tables; repeatable."),
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option(
            help="Without DATA: environments to drive in.", autocompletion=completion.env_ids
        ),
    ] = None,
    density: Annotated[list[float] | None, typer.Option(help="Their traffic densities.")] = None,
    env_arg: Annotated[
        list[str] | None, typer.Option(help="More of their arguments, key=value or key=v1|v2.")
    ] = None,
    episodes: Annotated[int, typer.Option(help="Drives in each of them.", min=1)] = 40,
    mix: Annotated[
        str,
        typer.Option(
            help="Drivers and their shares of episodes.",
            show_default=DEFAULT_MIX.replace(",", ", "),  # or else help cuts it off
        ),
    ] = DEFAULT_MIX,
    horizon: Annotated[float, typer.Option(help="k, in seconds: does it happen within?")] = 2.0,
    ttc: Annotated[
        float, typer.Option(help="t, in seconds: is the time to collision below?")
    ] = 2.0,
    false_alarms: Annotated[
        float, typer.Option(help="Share of calm frames that may bring a warning.")
    ] = 0.05,
    resamples: Annotated[int, typer.Option(help="Of the bootstrap over episodes.", min=1)] = 1000,
    probe_frames: Annotated[
        int, typer.Option(help="Frames for controls and other prompts.", min=1)
    ] = 4000,
    gallery: Annotated[int, typer.Option(help="Mistakes to show of each kind.", min=0)] = 6,
    seed: Annotated[int, typer.Option(help="Of drives, bootstrap and shuffling.", min=0)] = 777,
    write: Annotated[
        bool, typer.Option("--write", help="Keep the verdicts in the data sets' metadata.")
    ] = False,
    batch_size: Annotated[int, typer.Option(help="Frames scored at once.", min=1)] = 64,
    threads: Threads = 1,
    workers: Annotated[int, typer.Option(help="Processes that drive.", min=1)] = 2,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Neither use nor keep scores of other runs.")
    ] = False,
) -> dict[str, Any]:
    """Hold scorers against the simulator's truth: report.html, report.md, audit.json, scores.npz.

    With DATA these are audited; without, drives are recorded under
    OUT/data first, one data set for each environment, density and
    combination of --env-arg values.  With --exam or --server scorers are
    shown frozen frames instead: a row of figures each in OUT/exam, tables
    in OUT/exam.md.  The same command goes on where it was killed.
    """
    from vlsafe_agents.audit import AuditConfig, write_audit, write_verdicts
    from vlsafe_agents.audit import audit as run_audit
    from vlsafe_agents.audit.verdicts import as_json

    config = AuditConfig(
        horizon=horizon,
        time_to_collision=ttc,
        false_alarm_rate=false_alarms,
        resamples=resamples,
        probe_frames=probe_frames,
        gallery=gallery,
        seed=seed,
    )
    _check(config, data, env, density, env_arg)
    if exam or server or compare or model:
        drives = {"DATA": data, "--env": env, "--density": density, "--env-arg": env_arg}
        _check_exam(drives, write, config, model, server)
        scorers = _examined(scorer, server, model, exam, threads)
        cache = None if no_cache else _score_cache()
        return run_exam(scorers, out, config, cache, batch_size, compare or [])
    specs = list(scorer or DEFAULT_SCORERS)
    scorers = _named_scorers(specs, threads)  # before driving: a mistake here costs no time
    if not data:
        common = {"episodes": episodes, "mix": mix, "seed": seed, "workers": workers}
        data = _record_drives(out / "data", env or [], density or [], env_arg or [], **common)
    sources = [source_of(path) for path in data]
    findings = run_audit(
        sources,
        scorers,
        config,
        prompts=_prompt_pairs(),
        cache=None if no_cache else _score_cache(),
        batch_size=batch_size,
    )
    page = write_audit(findings, out)
    if write:
        write_verdicts(findings.audit)
    _print(findings.audit, page)
    return {"report": page, **as_json(findings.audit)}


def _check(config: AuditConfig, data: Any, env: Any, density: Any, env_arg: Any) -> None:
    from vlsafe_envs.costs import HORIZON

    if config.time_to_collision > HORIZON:
        raise ValueError(
            f"--ttc {config.time_to_collision:g}: the simulator looks {HORIZON:g} s ahead, so no "
            "longer time to collision is known"
        )
    if data and (env or density or env_arg):
        raise ValueError("--env, --density and --env-arg are for drives without DATA; leave them")


def _check_exam(
    drives: dict[str, Any], write: bool, config: AuditConfig, model: str | None, server: str | None
) -> None:
    from vlsafe_agents.audit.frozen import HORIZON

    if not config.horizon == config.time_to_collision == HORIZON:
        raise ValueError(
            f"the exam asks about {HORIZON:g} s, or else its rows could not be compared; leave "
            "--horizon and --ttc out"
        )
    given = [name for name, value in drives.items() if value]
    if given or write:
        what = ", ".join([*given, *(["--write"] if write else [])])
        raise ValueError(f"the exam is on frames of its own; leave {what} out")
    if model is not None and server is None:
        raise ValueError("--model is of a server; give its address, too: --server")


def _examined(
    specs: Sequence[str] | None, server: str | None, model: str | None, exam: bool, threads: int
) -> list[NamedScorer]:
    """Who is examined: nobody where rows are only to be compared."""
    chosen = list(specs or [])
    if server is not None:
        chosen.append(server_spec(server, model))
    if exam and not chosen:
        chosen = list(DEFAULT_SCORERS)
    if LABELS in chosen:
        raise ValueError(f'"{LABELS}" are of data sets; the exam is on frames of its own')
    return _named_scorers(chosen, threads)


def _record_drives(
    root: Path,
    envs: Sequence[str],
    densities: Sequence[float],
    env_args: Sequence[str],
    **common: Any,
) -> list[Path]:
    """Record the drives that are not there yet; the folders of the data sets under ``root``.

    Args:
        root: folder of all data sets
        envs: ids of environments; all of vlsafe's where there are none
        densities: of their traffic; their own where there are none
        env_args: more of their arguments, as ``key=value`` or ``key=value|value``
        common: what ``vlsafe collect`` is told of all of them
    """
    from vlsafe_agents.cli.collect import collect
    from vlsafe_envs import ENV_IDS

    folders = []
    options = [_values(pair) for pair in env_args]
    traffic: Sequence[float | None] = densities or [None]
    for env_id, density, pairs in product(envs or list(ENV_IDS), traffic, product(*options)):
        name = env_id.removeprefix("vlsafe_envs:").removeprefix("VLSafe-").lower()
        parts = [name, *([] if density is None else [f"density={density:g}"]), *pairs]
        folders.append(root / re.sub(r"[^\w.=,-]", "-", "_".join(parts)))
        given = None if density is None else str(density)
        collect(out=folders[-1], env=env_id, density=given, env_arg=list(pairs), **common)
    return folders


def _values(pair: str) -> list[str]:
    """``"lanes=3|4"`` as ``["lanes=3", "lanes=4"]``."""
    key, sign, values = pair.partition("=")
    return [f"{key}{sign}{value}" for value in values.split("|")]


def _named_scorers(specs: Sequence[str], threads: int) -> list[NamedScorer]:
    """Scorers by name; one that is shuffled, too, is built and asked once."""
    from vlsafe_agents.audit import NamedScorer
    from wrappers import ShuffledScorer

    built: dict[str, Any] = {}
    found = []
    for spec in specs:
        if spec == LABELS:
            found.append(NamedScorer(spec, None))
            continue
        scorer = load_scorer(spec, threads)
        if isinstance(scorer, ShuffledScorer):  # all scores will be there to be permuted
            inner = built.setdefault(str(scorer.scorer.identity), scorer.scorer)
            found.append(NamedScorer(spec, inner, scorer.deal))
            continue
        known = built.setdefault(str(scorer.identity), scorer)
        found.append(NamedScorer(spec, known, with_prompts=partial(_with_prompts, spec)))
    return found


def _with_prompts(spec: str, prompts: tuple[str, str]) -> Any:
    from wrappers import make_scorer
    from wrappers.specs import split_spec

    bare, options = split_spec(spec)
    return make_scorer(bare, **{**options, "prompts": prompts})


def _prompt_pairs() -> list[PromptPair]:
    """The paper's sentences, and others that no caption of the bundled scorer was made from."""
    from vlsafe_agents.audit import PromptPair
    from wrappers.clip_training.evaluation import PROMPT_PAIRS
    from wrappers.prompts import SAFE_PROMPT, UNSAFE_PROMPT

    pairs = {"the paper's": (SAFE_PROMPT, UNSAFE_PROMPT), **PROMPT_PAIRS}
    return [
        PromptPair(name.replace(f" {TURNED}", ""), *pair, turned_round=TURNED in name)
        for name, pair in pairs.items()
    ]


def _score_cache() -> Any:
    from wrappers.score_cache import ScoreCache

    return ScoreCache()


def _print(result: Audit, page: Path) -> None:
    from vlsafe_agents.audit import interval
    from vlsafe_agents.cli.tables import print_table, say

    keys = ("event", "time_to_collision")
    rows = [
        (found.name, *(interval(found.answers[k].evidence.auroc) for k in keys), found.verdict)
        for found in result.scorers
    ]
    titles = ("scorer", *(result.questions[key] for key in keys), "verdict")
    print_table("AUROC of 1 - p, 95% interval over episodes", titles, rows)
    for found in result.scorers:
        say(found.summary)
    say(f"report: {page}")
