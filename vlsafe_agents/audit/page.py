"""Writing the report: one HTML file, one Markdown file with pictures, and the figures as JSON."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

from vlsafe_agents.audit.audit import Findings
from vlsafe_agents.audit.contact_sheet import contact_sheet
from vlsafe_agents.audit.record import as_json
from vlsafe_agents.audit.sections import Chart, Gallery, Section
from vlsafe_agents.audit.story import sections
from vlsafe_agents.audit.verdict import CHANCE, GOOD, RULE, UNKNOWN, USABLE, WEAK, WORSE
from vlsafe_agents.common.version import vlsafe_version
from vlsafe_agents.report.figures import svg
from vlsafe_agents.report.pictures import png_uri
from wrappers.files import replacing, write_npz, write_text

PICTURES = "pictures"  # folder beside the Markdown file
_OPTIONS = {
    "horizon": "--horizon",
    "time_to_collision": "--ttc",
    "false_alarm_rate": "--false-alarms",
    "resamples": "--resamples",
    "probe_frames": "--probe-frames",
    "gallery": "--gallery",
    "seed": "--seed",
}  # of the command line, by settings
_BADGES = {GOOD: "good", USABLE: "usable", WEAK: "weak", CHANCE: "bad", WORSE: "bad", UNKNOWN: ""}


def write_audit(findings: Findings, out: Path) -> Path:
    """Write ``report.html``, ``report.md`` with its pictures, ``audit.json`` and ``scores.npz``.

    The HTML file needs no other; ``scores.npz`` holds the scores ``(N,)`` of each judge and the
    truth about each frame.  Returns the HTML file.
    """
    out = Path(out)
    (out / PICTURES).mkdir(parents=True, exist_ok=True)
    result = as_json(findings.audit)
    write_text(out / "audit.json", json.dumps(result, indent=1) + "\n")
    _save_scores(findings, out / "scores.npz")
    told = sections(findings)
    context = {
        "judges": findings.audit.judges,
        "badges": _BADGES,
        "rule": RULE,
        "facts": _facts(findings),
        "date": result["date"],
        "command": _command(findings),
        "identities": {
            judge.name: json.dumps(judge.identity, indent=1) for judge in findings.audit.judges
        },
        "version": vlsafe_version(),
        "sections": told,
    }
    environment = _environment()
    folder = Path(__file__).parent
    style = (folder.parent / "report" / "report.css").read_text(encoding="utf-8")
    style += (folder / "audit.css").read_text(encoding="utf-8")
    page = environment.get_template("audit.html.j2").render(style=style, **context)
    write_text(out / "report.html", page)
    _save_pictures(told, out / PICTURES)
    text = environment.get_template("audit.md.j2").render(pictures=PICTURES, **context)
    write_text(out / "report.md", text)
    return out / "report.html"


def _environment() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=PackageLoader("vlsafe_agents", "audit"),
        autoescape=select_autoescape(enabled_extensions=("html.j2",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["svg"] = lambda chart: svg(chart.figure, chart.name)
    environment.filters["uri"] = png_uri
    environment.filters["two_lines"] = _two_lines
    environment.filters["plain"] = _plain
    return environment


def _plain(text: Any) -> str:
    """Text that Markdown shows as it is, in one line."""
    escaped = re.sub(r"([\\`*\[\]|])", r"\\\1", str(text)).replace("<", "&lt;")
    return " ".join(escaped.split())


def _two_lines(text: str) -> Any:
    """``"0.91 (0.90 to 0.93)"`` with the interval in small print below."""
    from markupsafe import Markup, escape

    value, bracket, rest = text.partition(" (")
    inside, closed, more = rest.partition(")")
    if not (bracket and closed and " to " in inside):
        return escape(text)
    below = f"{inside}{more}"
    return Markup(f"{escape(value)}<small>{escape(below)}</small>")


def _save_pictures(told: list[Section], folder: Path) -> None:
    for section in told:
        for chart in section.charts:
            _save_chart(chart, folder)
        for gallery in section.galleries:
            _save_gallery(gallery, folder)


def _save_chart(chart: Chart, folder: Path) -> None:
    chart.figure.patch.set(alpha=1.0, facecolor="white")  # transparent until now, for the page
    with replacing(folder / f"{chart.name}.png") as temporary:
        chart.figure.savefig(temporary, format="png", dpi=120)


def _save_gallery(gallery: Gallery, folder: Path) -> None:
    with replacing(folder / f"{gallery.name}.png") as temporary:
        contact_sheet(gallery).savefig(temporary, format="png", dpi=100)


def _save_scores(findings: Findings, path: Path) -> None:
    truth = {f"truth/{name}": values for name, values in vars(findings.drives.truth).items()}
    scores = {f"score/{name}": looks.scores for name, looks in findings.looks.items()}
    write_npz(path, truth | scores)


def _facts(findings: Findings) -> str:
    audit = findings.audit
    frames = sum(facts.frames for facts in audit.data_sets)
    episodes = sum(facts.episodes for facts in audit.data_sets)
    events = sum(facts.events["event"] for facts in audit.data_sets)
    return (
        f"{len(audit.judges)} scorers on {frames:,} frames of {episodes:,} drives from "
        f"{len(audit.data_sets)} data sets; {events:,} drives hold a collision or leave the road"
    )


def _command(findings: Findings) -> str:
    """The command with everything that the figures depend on."""
    config = vars(findings.audit.config)
    lines = ["vlsafe audit", *[shlex.quote(facts.path) for facts in findings.audit.data_sets]]
    lines += [f"--scorer {shlex.quote(judge.name)}" for judge in findings.audit.judges]
    lines.append(" ".join(f"{option} {config[name]:g}" for name, option in _OPTIONS.items()))
    return " \\\n    ".join(lines)
