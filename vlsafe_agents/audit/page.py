"""Writing the report: one HTML file, one Markdown file with pictures, and the figures as JSON."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

from vlsafe_agents.audit.audit import Findings
from vlsafe_agents.audit.gallery import contact_sheet
from vlsafe_agents.audit.results import CHANCE, GOOD, RULE, UNKNOWN, USABLE, WEAK, WORSE
from vlsafe_agents.audit.sections import Section, sections
from vlsafe_agents.audit.verdicts import as_json
from vlsafe_agents.common.version import vlsafe_version
from vlsafe_agents.pages.html import render
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

    The HTML file needs no other; ``scores.npz`` holds the scores ``(N,)`` of each scorer and the
    truth about each frame.  Returns the HTML file.
    """
    out = Path(out)
    (out / PICTURES).mkdir(parents=True, exist_ok=True)
    result = as_json(findings.audit)
    write_text(out / "audit.json", json.dumps(result, indent=1) + "\n")
    _save_scores(findings, out / "scores.npz")
    told = sections(findings)
    shown = {
        "scorers": findings.audit.scorers,
        "badges": _BADGES,
        "rule": RULE,
        "facts": _facts(findings),
        "date": result["date"],
        "command": _command(findings),
        "identities": {
            scorer.name: json.dumps(scorer.identity, indent=1) for scorer in findings.audit.scorers
        },
        "version": vlsafe_version(),
        "sections": told,
    }
    folder = Path(__file__).parent
    write_text(out / "report.html", render(folder, "audit.html.j2", **shown))
    _save_pictures(told, out / PICTURES)
    text = render(folder, "audit.md.j2", pictures=PICTURES, **shown)
    write_text(out / "report.md", text)
    return out / "report.html"


def _save_pictures(told: Sequence[Section], folder: Path) -> None:
    """All charts and galleries as PNG files, for the Markdown file."""
    for section in told:
        for chart in section.charts:
            chart.figure.patch.set(alpha=1.0, facecolor="white")  # transparent, for the page
            with replacing(folder / f"{chart.name}.png") as temporary:
                chart.figure.savefig(temporary, format="png", dpi=120)
        for gallery in section.galleries:
            with replacing(folder / f"{gallery.name}.png") as temporary:
                contact_sheet(gallery).savefig(temporary, format="png", dpi=100)


def _save_scores(findings: Findings, path: Path) -> None:
    truth = {f"truth/{name}": values for name, values in vars(findings.drives.truth).items()}
    scores = {f"score/{name}": output.scores for name, output in findings.outputs.items()}
    write_npz(path, truth | scores)


def _facts(findings: Findings) -> str:
    audit = findings.audit
    frames = sum(facts.frames for facts in audit.data_sets)
    episodes = sum(facts.episodes for facts in audit.data_sets)
    events = sum(facts.events["event"] for facts in audit.data_sets)
    return (
        f"{len(audit.scorers)} scorers on {frames:,} frames of {episodes:,} drives from "
        f"{len(audit.data_sets)} data sets; {events:,} drives hold a collision or leave the road"
    )


def _command(findings: Findings) -> str:
    """The command with everything that the figures depend on."""
    config = vars(findings.audit.config)
    lines = ["vlsafe audit", *[shlex.quote(facts.path) for facts in findings.audit.data_sets]]
    lines += [f"--scorer {shlex.quote(scorer.name)}" for scorer in findings.audit.scorers]
    lines.append(" ".join(f"{option} {config[name]:g}" for name, option in _OPTIONS.items()))
    return " \\\n    ".join(lines)
