"""The report of a suite: one HTML file, and the tables in Markdown."""

from __future__ import annotations

from pathlib import Path

from vlsafe_agents.bench import figures
from vlsafe_agents.bench.record import RESULTS
from vlsafe_agents.bench.summary import SUITE_FILE, SuiteResults, read_suite_results
from vlsafe_agents.bench.tables import (
    COMPARED,
    Table,
    improvement,
    interquartile,
    learning,
    results,
)
from vlsafe_agents.common.version import versions
from vlsafe_agents.pages.html import render
from wrappers.files import write_text

PAGE, MARKDOWN = "report.html", "results.md"


def is_suite(folder: Path) -> bool:
    """Whether a folder is one of ``vlsafe bench``."""
    return (folder / SUITE_FILE).is_file() and (folder / RESULTS).is_file()


def write_suite_report(out: Path, page: Path | None = None) -> tuple[Path, list[Table]]:
    """Write the page and ``results.md`` of a suite's folder.

    Args:
        out: folder of ``vlsafe bench``.
        page: the HTML file; None: ``report.html`` there.

    Returns:
        the HTML file, and the tables of results for a terminal

    Raises:
        FileNotFoundError: for a folder without results.
        ValueError: for damaged files.
    """
    found = read_suite_results(out)
    tasks = [results(task) for task in found.tasks]
    together: list[Table] = []
    if found.tasks:
        together = [interquartile(found)]
        for metric, title, sign in COMPARED:
            if (table := improvement(found, metric, title, sign)) is not None:
                together.append(table)
    costs = learning(found)
    shown = {
        "suite": found,
        "tasks": tasks,
        "together": together,
        "learning": costs,
        "commands": commands(found),
        "cells": _count(found),
        "notes": list(dict.fromkeys(found.notes)),
        "versions": versions_of(found),
    }
    charts = {}
    if found.tasks:
        for name, draw in (
            ("frontier", figures.frontier),
            ("safety", figures.safety),
            ("efficiency", figures.efficiency),
            ("profiles", figures.profiles),
        ):
            charts[name] = figures.drawn(draw(found), name)
    folder = Path(__file__).parent
    page = out / PAGE if page is None else page
    write_text(page, render(folder, "suite.html.j2", charts=charts, **shown))
    write_text(out / MARKDOWN, render(folder, "suite.md.j2", **shown))
    return page, tasks


def commands(found: SuiteResults) -> list[tuple[str, str]]:
    """For each algorithm the command that runs its cells, and what they need."""
    pattern = "{command} --only '*/{name}'"
    return [
        (found.entry(name).title, pattern.format(command=found.command, name=name))
        for name in found.names
    ]


def versions_of(found: SuiteResults) -> str:
    """What the cells were made with, by the last of them."""
    done = [line for line in found.lines if line.get("status") == "done"]
    if not done:
        return ", ".join(f"{name} {version}" for name, version in versions())
    last = done[-1]
    known = ", ".join(f"{name} {version}" for name, version in (last.get("versions") or {}).items())
    commit = last.get("commit")
    return f"{known}; commit {commit}" if commit else known


def _count(found: SuiteResults) -> str:
    done = sum(line.get("status") == "done" for line in found.lines)
    seconds = sum(float(line.get("cpu_s") or 0.0) for line in found.lines)
    return f"{done} of {len(found.lines)} cells done, {seconds / 3600:.2g} processor hours"
