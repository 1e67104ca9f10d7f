"""``vlsafe report``: one self-contained HTML page about a run folder, or a suite's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def report(
    run: Annotated[Path, typer.Argument(help="Run folder, for example runs/mine; or of a suite.")],
    out: Annotated[Path | None, typer.Option(help="The page; default RUN/report.html.")] = None,
) -> dict[str, Any]:
    """Write tables, learning curves, dreams and videos of a run into one HTML file.

    Of a suite's folder (`vlsafe bench`) tables with intervals over training
    seeds, profiles and what learning cost.
    """
    from vlsafe_agents.bench.page import is_suite, write_suite_report
    from vlsafe_agents.cli.tables import say
    from vlsafe_agents.report import write_report

    if is_suite(run):
        page = write_suite_report(run, out)[0]
    else:
        page = write_report(run, out or run / "report.html")
    say(page)
    return {"report": page}
