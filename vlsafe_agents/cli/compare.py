"""``vlsafe compare``: algorithms over several training seeds in one table."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from vlsafe_agents.evaluation.comparison import Algorithm, Comparison
    from vlsafe_agents.report.tables import Column


def compare(
    files: Annotated[
        list[Path],
        typer.Argument(help="Evaluations, for example runs/seed*/*/evaluation.json."),
    ],
    markdown: Annotated[bool, typer.Option(help="Print a Markdown table.")] = False,
) -> dict[str, Any]:
    """Put evaluations side by side; agents' folders of one name are seeds of one algorithm.

    Intervals (95%) of a single training seed are over its episodes, as in
    its evaluation and the report.  Of several seeds they are bootstraps
    over the seeds and, within them, their episodes, never narrower than
    all those episodes allow; below them stand the seeds' own values.
    """
    from vlsafe_agents.cli.tables import print_table, say
    from vlsafe_agents.evaluation.comparison import compare as read
    from vlsafe_agents.report.tables import NARROW, columns_of, narrow_title, spaced

    comparison = read(files)
    columns = columns_of([a.summary for a in comparison.algorithms], NARROW)
    table = [_row(algorithm, columns) for algorithm in comparison.algorithms]
    titles = ["Agent", *map(narrow_title, columns), "Crashes in learning"]
    if markdown:
        say(_markdown(titles, table))
    else:
        rows = [["\n".join(cell) for cell in row] for row in table]
        print_table(_caption(comparison), titles, spaced(rows))
    return asdict(comparison)


def _caption(comparison: Comparison) -> str:
    settings = ", ".join(f"{key}={value}" for key, value in comparison.env_kwargs.items())
    where = comparison.env_id + (f" ({settings})" if settings else "")
    return f"{where}, {comparison.episodes} episodes an agent"


def _row(algorithm: Algorithm, columns: list[Column]) -> list[tuple[str, ...]]:
    """The cells of one algorithm: mean, interval and the seeds' own values, as far as known."""
    from vlsafe_agents.report.tables import count

    caused = ", ".join(map(count, algorithm.collisions_caused))
    if algorithm.role.key in ("expert", "driver") and not algorithm.shielded:
        caused = "-"  # nobody has learned
    cells = [_cell(algorithm, column) for column in columns]
    who = (algorithm.name, algorithm.role.label) if algorithm.role.label else (algorithm.name,)
    return [who, *cells, (caused,)]


def _cell(algorithm: Algorithm, column: Column) -> tuple[str, ...]:
    from vlsafe_agents.report.tables import NOT_KNOWN, metric_cell

    cell = metric_cell(algorithm.summary, column)
    seeds = algorithm.summary[column.metric]["per_seed"]
    own = [NOT_KNOWN if value is None else column.show(value) for value in seeds]
    lines = (cell.text, cell.interval, ", ".join(own) if len(own) > 1 else "")
    return tuple(line for line in lines if line)


def _markdown(titles: list[str], table: list[list[tuple[str, ...]]]) -> str:
    """One line an algorithm: ``mean (interval; seeds)``."""
    lines = ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    for row in table:
        cells = [f"{mean} ({'; '.join(rest)})" if rest else mean for mean, *rest in row]
        safe = [cell.replace("|", "\\|").replace("\n", " ") for cell in cells]
        lines.append("| " + " | ".join(safe) + " |")
    return "\n".join(lines)
