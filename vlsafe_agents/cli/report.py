"""``vlsafe report``: one page about a run folder, or about suites of benchmarks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def report(
    run: Annotated[
        list[Path],
        typer.Argument(help="Run folder, for example runs/mine; or folders of suites."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="The page; default RUN/report.html. One that ends in .md is about all suites."
        ),
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(help="Keep in this folder what a suite's page is made of: without agents."),
    ] = None,
) -> dict[str, Any]:
    """Write tables, learning curves, dreams and videos of a run into one HTML file.

    Of a suite's folder (`vlsafe bench`) tables with intervals over training
    seeds, profiles and what learning cost; of several suites a Markdown
    page, with charts in a folder beside it.
    """
    from vlsafe_agents.bench.kept import keep_suite
    from vlsafe_agents.bench.page import is_suite, write_results_page, write_suite_report
    from vlsafe_agents.cli.tables import say
    from vlsafe_agents.report import write_report

    as_markdown = out is not None and out.suffix == ".md"
    others = [folder for folder in run if not is_suite(folder)]
    if others and (as_markdown or keep is not None or len(run) > 1):
        raise ValueError(f"{others[0]} is no folder of `vlsafe bench`; name folders of suites")
    if len(run) > 1 and (keep is not None or not as_markdown):
        raise ValueError(
            "several suites have one Markdown page, e.g. --out docs/results.md, and are kept one "
            "by one"
        )
    answer: dict[str, Any] = {}
    if keep is not None:
        keep_suite(run[0], keep)
        say(keep)
        answer["kept"] = keep
        if out is None:
            return answer
    if as_markdown:
        assert out is not None
        page = write_results_page(run, out)
    elif others:
        page = write_report(run[0], out or run[0] / "report.html")
    else:
        page = write_suite_report(run[0], out)[0]
    say(page)
    return {**answer, "report": page}
