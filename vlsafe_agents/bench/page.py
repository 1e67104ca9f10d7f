"""The report of a suite: one HTML file, and the tables in Markdown."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vlsafe_agents.bench import figures
from vlsafe_agents.bench.record import RESULTS, SUITE_FILE
from vlsafe_agents.bench.summary import SuiteResults, read_suite_results
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
# What charts show, and how they are read.
_SAID = {
    "frontier": ("Return against cost", "Return against cost of an episode, with 95% intervals."),
    "safety": ("Collisions against speed", "Collisions against mean speed, with 95% intervals."),
    "efficiency": (
        "Collisions against crashes while learning",
        "Collisions against crashes that were caused while learning. Those in recorded data are "
        "not counted here. Bars: least and most of the training seeds across, 95% intervals "
        "upright.",
    ),
    "profiles": (
        "Profiles of returns",
        "Share of drives that earn more than a return, with 95% bands.",
    ),
}


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
    shown = shown_of(found)
    charts = {name: figures.drawn(draw(found), name) for name, draw in _charts(found).items()}
    folder = Path(__file__).parent
    page = out / PAGE if page is None else page
    write_text(page, render(folder, "suite.html.j2", charts=charts, **shown))
    write_text(out / MARKDOWN, render(folder, "suite.md.j2", charts=[], **shown))
    return page, shown["tasks"]


def write_results_page(suites: Sequence[Path], page: Path) -> Path:
    """Write one Markdown page about several suites, and its charts beside it as SVG files.

    Args:
        suites: folders of ``vlsafe bench``, or what :func:`~vlsafe_agents.bench.kept.keep_suite`
            has kept of them.
        page: the file; charts lie in a folder of its name without the ending.

    Returns:
        the file

    Raises:
        FileNotFoundError: for a folder without results.
        ValueError: for damaged files, or two suites of one name.
    """
    parts: list[dict[str, Any]] = []
    for folder in suites:
        found = read_suite_results(folder)
        if any(part["suite"].name == found.name for part in parts):
            raise ValueError(f"{folder}: there is another suite {found.name!r}; name one of them")
        charts = []
        for name, draw in _charts(found).items():
            place = Path(page.stem) / f"{found.name}-{name}.svg"
            write_text(
                page.parent / place, figures.drawn_alone(draw(found), f"{found.name}-{name}")
            )
            charts.append((place.as_posix(), *_SAID[name]))
        parts.append({**shown_of(found), "charts": charts})
    again = shlex.join(["vlsafe", "report", *map(str, suites), "--out", str(page)])
    text = render(Path(__file__).parent, "results.md.j2", suites=parts, command=again)
    write_text(page, text.rstrip() + "\n")
    return page


def shown_of(found: SuiteResults) -> dict[str, Any]:
    """What pages say of a suite, but for charts."""
    together: list[Table] = []
    if found.tasks:
        together = [interquartile(found)]
        for metric, title, sign in COMPARED:
            if (table := improvement(found, metric, title, sign)) is not None:
                together.append(table)
    return {
        "suite": found,
        "tasks": [results(task) for task in found.tasks],
        "together": together,
        "learning": learning(found),
        "commands": commands(found),
        "cells": _count(found),
        "notes": list(dict.fromkeys(found.notes)),
        "versions": versions_of(found),
        "machine": machines_of(found),
    }


def _charts(found: SuiteResults) -> dict[str, Callable[[SuiteResults], Any]]:
    """What draws each chart of a suite, by its name; none where nobody has driven."""
    if not found.tasks:
        return {}
    return {
        "frontier": figures.frontier,
        "safety": figures.safety,
        "efficiency": figures.efficiency,
        "profiles": figures.profiles,
    }


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
    return f"{known}; commit {commit or 'not known'}"


def machines_of(found: SuiteResults) -> str:
    """Where the cells were made."""
    done = [line for line in found.lines if line.get("status") == "done"]
    known = dict.fromkeys(str(line["machine"]) for line in done if line.get("machine"))
    return "Machine: " + ("; ".join(known) or "not known")


def _count(found: SuiteResults) -> str:
    done = sum(line.get("status") == "done" for line in found.lines)
    seconds = sum(float(line.get("cpu_s") or 0.0) for line in found.lines)
    return f"{done} of {len(found.lines)} cells done, {seconds / 3600:.2g} processor hours"
