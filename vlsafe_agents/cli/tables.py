"""What commands print: text as it is, and tables that are never cut.

rich reads ``[...]`` as markup, and gives a pipe 80 columns; a user's path must come out whole.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

_LEFT_OUT = [False]  # whether tables and lines are
_NUMBER = re.compile(r"[-+$]?[\d.,]+( ?%)?")
_THOUSANDS = re.compile("(?<=\\d)\u2009(?=\\d)")  # on pages a thin space is there


@contextmanager
def left_out() -> Iterator[None]:
    """Print neither tables nor lines of results in this block."""
    before, _LEFT_OUT[0] = _LEFT_OUT[0], True
    try:
        yield
    finally:
        _LEFT_OUT[0] = before


def say(text: object) -> None:
    """Print a line of a result."""
    if not _LEFT_OUT[0]:
        note(text)


def note(text: object) -> None:
    """Print a line about how the work goes."""
    print(printable(text), flush=True)


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table; columns of numbers are aligned right.

    As wide as the terminal, where long cells are folded, between words if there is room for the
    longest; elsewhere as wide as it needs to be.
    """
    if _LEFT_OUT[0]:
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    cells = [[printable(_THOUSANDS.sub(",", str(cell))) for cell in row] for row in rows]
    table = Table(title=Text(printable(title)))
    console = Console(highlight=False)
    names = [printable(name) for name in columns]
    room = console.width - 3 * len(names) - 1  # between the lines of the table
    widths = _widths([names, *cells], room) if console.is_terminal else [None] * len(names)
    for place, name in enumerate(names):
        numeric = bool(cells) and all(_NUMBER.fullmatch(row[place]) for row in cells)
        table.add_column(
            Text(name),
            justify="right" if numeric else "left",
            overflow="fold",
            width=widths[place],
        )
    for row in cells:
        table.add_row(*map(Text, row))
    if not console.is_terminal:
        console = Console(highlight=False, width=100_000)
        console = Console(highlight=False, width=max(console.measure(table).maximum, 40))
    console.print(table)


def _widths(lines: Sequence[Sequence[str]], room: int) -> list[int | None]:
    """Widths of columns that are too wide together; None for each where words would not fit."""
    from rich.cells import cell_len

    columns = list(zip(*lines, strict=True))
    most = [max(cell_len(line) for cell in c for line in cell.split("\n")) for c in columns]
    least = [max(cell_len(word) for cell in c for word in cell.split() or [""]) for c in columns]
    spare = room - sum(least)
    if sum(most) <= room or spare < 0:
        return [None] * len(columns)
    found = []
    for wanted, width in zip(most, least, strict=True):
        more = min(spare, wanted - width)
        spare -= more
        found.append(width + more)
    return [*found]


def printable(value: object) -> str:
    """A value in one or more lines that standard output can show, whatever is in a name."""
    text = "".join(
        letter if letter.isprintable() or letter in "\n " else repr(letter)[1:-1]
        for letter in str(value)
    )
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)
