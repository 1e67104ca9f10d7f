"""Tables of a suite, for a page, for Markdown and for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vlsafe_agents.bench.summary import Entry, SuiteResults, Task
from vlsafe_agents.evaluation.resampling import Estimate
from vlsafe_agents.report.tables import (
    NARROW,
    NOT_KNOWN,
    THIN_SPACE,
    Column,
    columns_of,
    count,
    figure,
    metric_cell,
    percent,
    time_taken,
)
from vlsafe_agents.training.facts import add

COST = Column("cost", "Cost", "an episode", figure)  # of environments that tell no true one apart
ONE_RUN = "one run"  # in place of an interval over training runs
# compared run by run: metric, title, and 1 where more is better
COMPARED = (("collision_rate", "fewer collisions", -1.0), ("return", "more return", 1.0))
_SHARES = ("collision_rate", "standing", "arrival_rate")  # comparable on every task
_AMOUNTS = ("mean_speed", "return", "env_cost", "cost")  # only within one environment


@dataclass(frozen=True)
class Cell:
    """A figure, its interval and the training seeds' own values; empty where there are none."""

    text: str
    interval: str = ""
    seeds: str = ""

    @property
    def lines(self) -> list[str]:
        """What there is of it."""
        return [part for part in (self.text, self.interval, self.seeds) if part]


@dataclass(frozen=True)
class TableRow:
    """A row of an algorithm."""

    label: str
    name: str  # empty where the label says it
    colour: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """A table with a caption; ``titles`` are pairs of a column's title and its unit."""

    title: str
    caption: str
    titles: tuple[tuple[str, str], ...]
    body: tuple[TableRow, ...]

    @property
    def columns(self) -> list[str]:
        """Titles of a plain table."""
        units = [
            f"{title} [{unit}]" if unit == "m/s" or "=" in unit else title
            for title, unit in self.titles
        ]
        return ["Agent", *units]

    @property
    def rows(self) -> list[list[str]]:
        """Cells of a plain table, of several lines each."""
        return [
            [_who(row, "\n"), *("\n".join(cell.lines) for cell in row.cells)] for row in self.body
        ]

    @property
    def markdown(self) -> str:
        """The table in Markdown: ``mean (interval; seeds)``."""
        heads = self.columns
        lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
        for row in self.body:
            cells = [_who(row, ", "), *map(_in_brackets, row.cells)]
            safe = [cell.replace("|", "\\|").replace(THIN_SPACE, ",") for cell in cells]
            lines.append("| " + " | ".join(safe) + " |")
        return "\n".join(lines)


def _who(row: TableRow, between: str) -> str:
    return f"{row.name}{between}{row.label}" if row.name else row.label


def _in_brackets(cell: Cell) -> str:
    first, *rest = cell.lines or [""]
    return f"{first} ({'; '.join(rest)})" if rest else first


def _row(entry: Entry, cells: Sequence[Cell]) -> TableRow:
    name = "" if entry.name == entry.label else entry.name
    return TableRow(entry.label, name, entry.colour, tuple(cells))


def results(task: Task) -> Table:
    """How everybody drove in a task: safety beside progress."""
    summaries = [entry.all_metrics for entry in task.entries]
    columns = columns_of(summaries, NARROW)
    if not any(column.metric == "env_cost" for column in columns):
        columns.append(COST)
    rows = [_row(entry, [_metric(entry, column) for column in columns]) for entry in task.entries]
    facts = task.evaluation
    arguments = ", ".join(f"{key}={value}" for key, value in facts.env_kwargs.items())
    where = facts.env_id + (f" ({arguments})" if arguments else "")
    return Table(
        title=task.name,
        caption=f"{where}; {len(facts.records)} drives of each training seed, on the same seeds.",
        titles=tuple((column.title, column.unit) for column in columns),
        body=tuple(rows),
    )


def _metric(entry: Entry, column: Column) -> Cell:
    cell = metric_cell(entry.all_metrics, column)
    own = entry.all_metrics[column.metric]["per_seed"]
    return Cell(cell.text, cell.interval, _own(own, column.show) if cell.text != NOT_KNOWN else "")


def _own(values: Sequence[float | None], show: Callable[[float], str]) -> str:
    """The training seeds' own values; empty where there is one."""
    if len(values) < 2 or all(value is None for value in values):
        return ""
    return ", ".join(NOT_KNOWN if value is None else show(value) for value in values)


def interquartile(found: SuiteResults) -> Table:
    """Interquartile means over training seeds and all tasks."""
    alone = len({task.environment for task in found.tasks}) == 1
    asked: list[tuple[str, str, str, bool]] = [
        (metric, title, unit, False)
        for metric, title, unit in (
            ("collision_rate", "Collisions", "share of drives"),
            ("standing", "Standing", "share of steps"),
            ("arrival_rate", "Arrivals", "share of drives"),
            ("mean_speed", "Mean speed", "m/s"),
            ("return", "Return", "an episode"),
            ("env_cost", "Cost, truth", "an episode"),
            ("cost", "Cost", "an episode"),
        )
        if metric in _SHARES or (alone and metric in _AMOUNTS)
    ]
    if found.reference is not None:
        asked.append(("return", "Return", f"{found.reference} = 1", True))
    columns: list[tuple[tuple[str, str], list[Estimate | None], Callable[[float], str]]] = []
    for metric, title, unit, relative in asked:
        own = [found.interquartile(name, metric, relative) for name in found.names]
        known = any(one is not None for one in own)
        if known and not (metric == "cost" and columns[-1][0][0] == "Cost, truth"):
            show = percent if unit.startswith("share") else figure
            columns.append(((title, unit), own, show))
    rows = [
        _row(found.entry(name), [_estimate(own[place], show) for _, own, show in columns])
        for place, name in enumerate(found.names)
    ]
    return Table(
        title="All tasks together",
        caption="Interquartile mean over all training seeds and tasks (the mean of the middle half "
        "of them, which an outlier does not move; of fewer than four the mean), with 95% "
        "intervals of a bootstrap over training seeds, stratified by task.",
        titles=tuple(title for title, _, _ in columns),
        body=tuple(rows),
    )


def improvement(found: SuiteResults, metric: str, title: str, sign: float) -> Table | None:
    """How probably a run of one row does better than one of a column; None of fewer than two."""
    names = [name for name in found.names if found.metric_scores(name, metric) is not None]
    if len(names) < 2:
        return None
    rows = []
    for one in names:
        cells = [
            Cell("") if one == other
            else _estimate(found.improvement(one, other, metric, sign), "{:.2f}".format)
            for other in names
        ]  # fmt: skip
        rows.append(_row(found.entry(one), cells))
    return Table(
        title=f"Who has {title}",
        caption=f"Probability that a training run of the row's algorithm has {title} than one of "
        "the column's, averaged over tasks; 0.5: nobody has, ties count half. 95% intervals of a "
        "bootstrap over training seeds.",
        titles=tuple((name, "") for name in names),
        body=tuple(rows),
    )


def _estimate(found: Estimate | None, show: Callable[[float], str]) -> Cell:
    if found is None:
        return Cell(NOT_KNOWN)
    known = found.low == found.low  # no NaN
    return Cell(show(found.value), f"{show(found.low)} to {show(found.high)}" if known else ONE_RUN)


def learning(found: SuiteResults) -> list[Table]:
    """What learning has cost in each environment: transitions, crashes, updates, time, memory."""
    tables = []
    for environment in dict.fromkeys(task.environment for task in found.tasks):
        task = next(task for task in found.tasks if task.environment == environment)
        entries = [entry for entry in task.entries if entry.has_learned]
        if entries:
            tables.append(_learning(environment, entries))
    return tables


def _learning(environment: str, entries: Sequence[Entry]) -> Table:
    rows = []
    for entry in entries:
        cells = [
            _amount(entry.costs("env_steps"), count),
            _amount(entry.costs("collisions_caused"), count),
            _amount(entry.costs("dataset_steps"), count),
            _amount(entry.costs("dataset_collisions"), count),
            _with_shared(entry, "gradient_steps", count),
            _with_shared(entry, "wall_s", time_taken),
            _amount([run.spent.get("cpu_s") for run in entry.runs], time_taken),
            _amount([run.spent.get("peak_memory_mb") for run in entry.runs], count),
        ]
        rows.append(_row(entry, cells))
    return Table(
        title=f"What learning cost: {environment}",
        caption="Means over training seeds, with their own values. An agent that learns by driving "
        "crashes while it learns; one that learns from recorded drives has the crashes of its "
        "data. Time is that of learning, all attempts together, with the world model that it "
        "shares; processor time and the largest process's memory are those of the last attempt.",
        titles=(
            ("Transitions driven", ""),
            ("Crashes while learning", ""),
            ("Transitions in its data", ""),
            ("Crashes in its data", ""),
            ("Gradient steps", ""),
            ("Time", ""),
            ("Processor time", ""),
            ("Memory", "MB"),
        ),
        body=tuple(rows),
    )


def _amount(values: Sequence[float | None], show: Callable[[float | None], str]) -> Cell:
    """The mean over training seeds; not known where one of them is not."""
    total = add(*values)
    mean = None if total is None else total / len(values)
    own = ", ".join(show(value) for value in values) if len(set(values)) > 1 else ""
    return Cell(show(mean), "", own)


def _with_shared(entry: Entry, key: str, show: Callable[[float | None], str]) -> Cell:
    own, shared = entry.costs(key), entry.costs(f"world_model_{key}")
    cell = _amount([add(a, b or 0) for a, b in zip(own, shared, strict=True)], show)
    if not any(shared):
        return cell
    part = _amount(shared, show)
    return Cell(cell.text, f"{part.text} of it shared")
