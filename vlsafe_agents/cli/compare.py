"""``vlsafe compare``: algorithms over several training seeds in one table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from vlsafe_agents.evaluation.comparison import Algorithm, Comparison
    from vlsafe_agents.report.tables import Column

# What fits beside each other; never the collision rate without what it was bought with.
METRICS = (
    "collision_rate",
    "arrival_rate",
    "off_route_rate",
    "off_road_rate",
    "mean_speed",
    "return",
    "env_cost",
)


def compare(
    files: Annotated[
        list[Path],
        typer.Argument(help="Evaluations, for example runs/seed*/*/evaluation.json."),
    ],
    markdown: Annotated[bool, typer.Option(help="Print a Markdown table.")] = False,
) -> None:
    """Put evaluations side by side; agents' folders of one name are seeds of one algorithm.

    Intervals (95%) are bootstraps over training seeds and, within them, episodes; with a single
    seed over its episodes alone.  Below them stand the seeds' own values.  What never happened in
    n episodes may happen in up to 3 / n of them, though its interval ends at 0.
    """
    from vlsafe_agents.evaluation.comparison import compare as read
    from vlsafe_agents.report.tables import COLUMNS

    comparison = read(files)
    known = [
        column
        for column in COLUMNS
        if column.metric in METRICS
        and any(a.summary[column.metric]["mean"] is not None for a in comparison.algorithms)
    ]
    table = [_row(algorithm, known) for algorithm in comparison.algorithms]
    titles = ["Agent", *map(_title, known), "Crashes in learning"]
    if markdown:
        print(_markdown(titles, table))
    else:
        _print(_caption(comparison), titles, table)


def _title(column: Column) -> str:
    return f"{column.title} [{column.unit}]" if column.unit == "m/s" else column.title


def _caption(comparison: Comparison) -> str:
    settings = ", ".join(f"{key}={value}" for key, value in comparison.env_kwargs.items())
    where = comparison.env_id + (f" ({settings})" if settings else "")
    return f"{where}, {comparison.episodes} episodes an agent"


def _row(algorithm: Algorithm, columns: list[Column]) -> list[tuple[str, ...]]:
    """The cells of one algorithm: mean, interval and the seeds' own values, as far as known."""
    caused = tuple(f"{value:g}" for value in algorithm.collisions_caused)
    cells = [_cell(algorithm.summary[column.metric], column) for column in columns]
    return [(algorithm.name,), *cells, (", ".join(caused),)]


def _cell(figures: dict[str, Any], column: Column) -> tuple[str, ...]:
    if figures["mean"] is None:
        return ("-",)
    mean, low, high = (column.show(figures[key]) for key in ("mean", "low", "high"))
    seeds = ["-" if value is None else column.show(value) for value in figures["per_seed"]]
    return mean, f"{low} to {high}", *([", ".join(seeds)] if len(seeds) > 1 else [])


def _markdown(titles: list[str], table: list[list[tuple[str, ...]]]) -> str:
    """One line an algorithm: ``mean (interval; seeds)``."""
    lines = ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    for row in table:
        cells = [f"{mean} ({'; '.join(rest)})" if rest else mean for mean, *rest in row]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _print(caption: str, titles: list[str], table: list[list[tuple[str, ...]]]) -> None:
    from rich.console import Console
    from rich.table import Table

    shown = Table(title=caption, show_lines=True)
    for index, title in enumerate(titles):
        shown.add_column(title, justify="right" if index else "left")
    for row in table:
        shown.add_row(*("\n".join(cell) for cell in row))
    Console().print(shown)
