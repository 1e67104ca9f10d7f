"""What commands print: text as it is, and tables that are never cut.

rich reads ``[...]`` as markup, and gives a pipe 80 columns; a user's path must come out whole.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence

_NUMBER = re.compile(r"[-+$]?[\d.,]+( ?%)?")


def say(text: object) -> None:
    """Print a line."""
    print(printable(text), flush=True)


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a title and a table; columns of numbers are aligned right.

    As wide as the terminal, where long cells are folded; elsewhere as wide as it needs to be.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    cells = [[printable(cell) for cell in row] for row in rows]
    table = Table()
    for place, name in enumerate(columns):
        numeric = bool(cells) and all(_NUMBER.fullmatch(row[place]) for row in cells)
        table.add_column(
            Text(printable(name)), justify="right" if numeric else "left", overflow="fold"
        )
    for row in cells:
        table.add_row(*map(Text, row))
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=100_000)
        console = Console(highlight=False, width=max(console.measure(table).maximum, 40))
    say(title)
    console.print(table)


def printable(value: object) -> str:
    """A value in one or more lines that standard output can show, whatever is in a name."""
    text = "".join(
        letter if letter.isprintable() or letter in "\n " else repr(letter)[1:-1]
        for letter in str(value)
    )
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)
