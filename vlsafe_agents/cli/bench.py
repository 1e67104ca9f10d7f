"""``vlsafe bench``: environments x algorithms x training seeds, from one file."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from vlsafe_agents.bench.cells import Cell
    from vlsafe_agents.bench.record import Found
    from vlsafe_agents.bench.suite import Suite

COMMANDS = ("collect", "label", "train", "train-risk", "evaluate")  # that cells are made of
_PROGRAM = (sys.executable, "-m", "vlsafe_agents.cli.main")


def bench(
    suite: Annotated[Path, typer.Argument(help="The suite, a YAML file (docs/benchmark.md).")],
    out: Annotated[Path, typer.Option(help="Folder of the suite's results.")],
    workers: Annotated[
        int, typer.Option(help="Commands side by side, one core each (with Ray: its cores).", min=1)
    ] = 2,
    engine: Annotated[str, typer.Option(help='"processes", or "ray" (needs Ray).')] = "processes",
    only: Annotated[
        str | None,
        typer.Option(help="Cells of this pattern, such as 'evaluate */bc', and what they need."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list the cells, and what is done.")
    ] = False,
) -> dict[str, Any]:
    """Run a suite; ends with a table, results.jsonl, results.md and report.html.

    The same command goes on where it was stopped, skips what is done and
    makes again what the suite now defines otherwise.  A cell that fails
    stops only those that need it; the same command tries it again.
    Only run suites that you trust: they name programs.
    """
    from vlsafe_agents.bench.cells import chosen, plan
    from vlsafe_agents.bench.record import SUITE_FILE, Records, read_results
    from vlsafe_agents.bench.suite import read_suite
    from vlsafe_agents.cli.answers import Unfinished
    from vlsafe_agents.cli.tables import say
    from wrappers.files import one_writer

    read = read_suite(suite)
    typed, out = str(out), out.absolute()
    cells = plan(read)
    check(read, cells)
    wanted = chosen(cells, only)
    _require_own(out, read)
    if dry_run:
        return {"cells": _list(wanted, Records(out).status(wanted), out)}
    with one_writer(out / SUITE_FILE, f"vlsafe bench --out {out}"):
        again = ("vlsafe", "bench", str(suite), "--out", typed)
        _keep(read, suite, out, again)
        failed = _run(read, again, cells, wanted, out, workers, engine)
    answer = {"report": _write_report(out), "failed": dict(failed), "results": read_results(out)}
    for name, why in failed:
        say(f"{name}: {why}")
    if failed:
        say(f"{len(failed)} of {len(wanted)} cells failed; the same command tries them again")
        raise Unfinished(answer)
    return answer


def _run(
    suite: Suite,
    again: Sequence[str],
    cells: Sequence[Cell],
    wanted: Sequence[Cell],
    out: Path,
    workers: int,
    engine: str,
) -> list[tuple[str, str]]:
    """Run cells; returns those that failed, each with the reason."""
    from vlsafe_agents.bench.engines import make_engine
    from vlsafe_agents.bench.record import Records
    from vlsafe_agents.bench.run import Runner
    from vlsafe_agents.cli.tables import note

    runner = Runner(
        wanted,
        out,
        make_engine(engine, workers),
        workers,
        lambda cell: command_of(cell, out),
        lambda cell: shlex.join((*again, "--only", cell.name)),
        lambda text: note(f"[{suite.name}] {text}"),
    )
    try:
        status = runner.run().status
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            "stopped; what was running is saved, and the same command goes on from there"
        ) from None
    finally:
        Records(out).write_results(cells)  # also of cells that were not asked for now
    return [
        (cell.name, found.why)
        for cell in wanted
        if (found := status[cell.name]).status in ("failed", "blocked")
    ]


def _require_own(out: Path, suite: Suite) -> None:
    """Refuse a folder that holds anything but this suite's results."""
    from vlsafe_agents.bench.record import SUITE_FILE
    from wrappers.files import read_json

    remedy = "give another --out, or remove the folder"
    if (out / SUITE_FILE).exists():
        name = read_json(out / SUITE_FILE, dict, remedy).get("name")
        if name != suite.name:
            raise FileExistsError(f"{out} holds the suite {name!r}, not {suite.name!r}; {remedy}")
    elif out.exists() and any(file.name[:1] != "." for file in out.iterdir()):
        raise FileExistsError(f"{out} holds something else than a suite's results; {remedy}")


def _keep(suite: Suite, path: Path, out: Path, again: Sequence[str]) -> None:
    """Write down what is run: the file as it is, and what a report has to know."""
    from vlsafe_agents.bench.record import SUITE_FILE
    from wrappers.files import read_text, write_json, write_text

    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "suite.yaml", read_text(path))
    labels = {row.name: row.label for row in suite.algorithms.values()}
    facts = {
        "name": suite.name,
        "about": suite.about,
        "reference": suite.reference,
        "algorithms": labels,
        "command": shlex.join(again),
    }
    write_json(out / SUITE_FILE, facts)


def _list(cells: Sequence[Cell], status: Mapping[str, Found], out: Path) -> list[dict[str, str]]:
    """Say what there is to do; returns it."""
    from vlsafe_agents.bench.run import shown
    from vlsafe_agents.cli.tables import print_table

    rows = []
    for cell in cells:
        found = status[cell.name]
        state = f"{found.status} ({found.why})" if found.why else found.status
        rows.append((cell.name, state, shlex.join(shown(command_of(cell, out)))))
    done = sum(found.status == "done" for found in status.values())
    titles = ("cell", "state", "command")
    print_table(f"{len(cells)} cells, {done} done", titles, rows)
    return [dict(zip(titles, row, strict=True)) for row in rows]


def _write_report(out: Path) -> Path:
    from vlsafe_agents.bench.page import write_suite_report
    from vlsafe_agents.cli.tables import print_table, say

    page, tables = write_suite_report(out)
    for table in tables:
        print_table(table.title, table.columns, table.rows)
    say(f"\nThe tables: {out / 'results.md'}\nThe report, one file for any browser: {page}")
    return page


# --- commands -------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _commands() -> dict[str, Any]:
    """The commands that cells are made of, as the command line knows them."""
    from vlsafe_agents.cli import collect, evaluate, label, train, train_risk

    homes: tuple[Any, ...] = (
        collect.collect,
        label.label,
        train.train,
        train_risk.train_risk,
        evaluate.evaluate,
    )
    app = typer.Typer()
    for name, home in zip(COMMANDS, homes, strict=True):
        app.command(name)(home)
    return dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def command_of(cell: Cell, out: Path) -> list[str]:
    """What is to be run for a cell.

    Raises:
        ValueError: for options that the command does not have.
    """
    from vlsafe_agents.bench.cells import in_folder

    arguments = [str(in_folder(argument, out)) for argument in cell.arguments]
    if cell.command == "command":
        return arguments
    given = in_folder(cell.options, out)
    return [*_PROGRAM, cell.command, *arguments, *options_of(cell.command, given)]


def options_of(command: str, given: Mapping[str, Any]) -> list[str]:
    """Options by the names of a command's parameters, as they are typed.

    Raises:
        ValueError: for a name that the command does not have.
    """
    from vlsafe_agents.cli.option_values import as_words, find_option

    known = [p for p in _commands()[command].params if p.param_type_name == "option"]
    words = (as_words(find_option(name, known, command), value) for name, value in given.items())
    return [word for option in words for word in option]


def check(suite: Suite, cells: Sequence[Cell]) -> None:
    """Check all that can be known before hours are spent.

    Raises:
        ValueError: for environments and drivers that there are none of, options that commands do
            not have or refuse, and settings that algorithms do not read; naming the place.
    """
    for name, environment in suite.environments.items():
        _check_environment(f"environments.{name}", environment)
    for row in suite.algorithms.values():
        if row.kind == "driver":
            _check_driver(suite, row.name, str(row.driver))
        elif row.kind == "command" or row.kind == "model":
            _check_stock(row.name, str(row.algo))
    checked: set[tuple[Any, ...]] = set()
    for cell in cells:
        if cell.command == "command":
            continue
        key = (cell.command, cell.environment, cell.condition, cell.row or cell.folder)
        if key in checked:  # seeds differ in nothing else
            continue
        checked.add(key)
        where = _place_of(cell)
        try:
            words = options_of(cell.command, cell.options)
            _commands()[cell.command].make_context(cell.command, [*cell.arguments, *words])
            if cell.command == "train":
                _check_training(cell)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{where}: {error}") from error
        except Exception as error:  # of click, whose classes typer may hide
            if not hasattr(error, "format_message"):
                raise
            raise ValueError(f"{where}: {error.format_message()}") from error


def _place_of(cell: Cell) -> str:
    """Where in the suite a cell's options stand."""
    if cell.row is not None:
        return f"algorithms.{cell.row}" + (" or evaluation" if cell.command == "evaluate" else "")
    return f"data.{Path(cell.folder).name}.{cell.command}"


def _check_environment(where: str, environment: Any) -> None:
    from vlsafe_agents.cli.environments import EnvChoice, choose_env

    pairs: list[str] = []
    try:
        choice = choose_env(environment.env, pairs, environment.density)
        if isinstance(choice, EnvChoice):
            choice.with_kwargs(environment.env_args)
            for changes in environment.conditions.values():
                choice.with_kwargs(changes.env_args)
        elif not environment.allow_import:
            raise ValueError(
                f"{environment.env} is not ours, and making it imports what it names; if you trust "
                "it, say allow_import: true"
            )
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _check_driver(suite: Suite, row: str, driver: str) -> None:
    from vlsafe_envs.drivers import driver_names
    from wrappers.checks import did_you_mean

    for name, environment in suite.environments.items():
        if suite.algorithms[row] not in suite.rows_in(name):
            continue
        known = () if environment.allow_import else driver_names(environment.env)
        if driver not in known:
            raise ValueError(
                f"algorithms.{row}: {name} has no driver {driver!r}; it has "
                f"{', '.join(known) or 'none'}{did_you_mean(driver, known)}"
            )


def _check_stock(row: str, algorithm: str) -> None:
    from vlsafe_agents.algorithms import ALGORITHMS
    from vlsafe_agents.evaluation.stock import STOCK
    from wrappers.checks import did_you_mean

    known = sorted({*STOCK, *ALGORITHMS})
    if algorithm not in known:
        alike = did_you_mean(algorithm, known)
        raise ValueError(
            f"algorithms.{row}: unknown algo {algorithm!r}; choose one of {', '.join(known)}{alike}"
        )


def _check_training(cell: Cell) -> None:
    """Whether the algorithm reads these settings, and takes them."""
    from vlsafe_agents.training.settings import METADATA, EnvName, TrainSettings

    given = {key: value for key, value in cell.options.items() if key in METADATA and key != "env"}
    given["config"] = dict(given.get("config") or {})
    TrainSettings(env=EnvName(str(cell.options.get("env", ""))), **given).check()
