"""``vlsafe report``: one self-contained HTML page about a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[Path, typer.Argument(help="Run folder, for example runs/mine.")],
    out: Annotated[Path | None, typer.Option(help="The page; default RUN/report.html.")] = None,
) -> None:
    """Write tables, learning curves, dreams and videos of a run into one HTML file."""
    from vlsafe_agents.cli.tables import say
    from vlsafe_agents.report import write_report

    say(write_report(run, out or run / "report.html"))
