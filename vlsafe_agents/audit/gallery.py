"""Frames that say more than figures: the worst mistakes, and what changed frames look like."""

from __future__ import annotations

import numpy as np

from vlsafe_agents.audit.audit import Findings
from vlsafe_agents.audit.controls import CONTROLS
from vlsafe_agents.audit.results import JudgeAudit
from vlsafe_agents.audit.sections import Gallery, Picture
from vlsafe_agents.audit.verdict import CHANCE


def galleries_of_mistakes(findings: Findings) -> list[Gallery]:
    """For each judge that looks at anything: called safe before an event, called unsafe in calm."""
    found = []
    for place, judge in enumerate(findings.audit.judges):
        if not judge.is_empty_control:
            name = f"{place}_{_file_name(judge.name)}"
            found += [_called_safe(findings, judge, name), _called_unsafe(findings, judge, name)]
    return [gallery for gallery in found if gallery.pictures]


def _called_safe(findings: Findings, judge: JudgeAudit, name: str) -> Gallery:
    truth, rows = findings.drives.truth, judge.mistakes.called_safe
    ends = np.array([_event_row(findings, row) for row in rows], np.int64)
    before, after = findings.drives.draw(rows), findings.drives.draw(ends)
    score = findings.looks[judge.name].scores
    pictures = []
    for row, end, frame, last in zip(rows, ends, before, after, strict=True):
        event = "collision" if truth.collision[end] else "off the road"
        titles = (f"p = {score[row]:.2f}", f"{truth.until_event[row]:.1f} s later: {event}")
        pictures.append(Picture((frame, last), titles, _words(findings, row)))
    return Gallery(
        name=f"called_safe_{name}",
        title=f"{judge.name}: called safe",
        text=f"Highest p before a collision or departure, one an episode; none of these brings a "
        f"warning (p below {judge.warning.threshold:.2f}). Left the frame, right what came of it.",
        pictures=pictures,
        folded=judge.verdict == CHANCE,
    )


def _called_unsafe(findings: Findings, judge: JudgeAudit, name: str) -> Gallery:
    rows, score = judge.mistakes.called_unsafe, findings.looks[judge.name].scores
    pictures = [
        Picture((frame,), (f"p = {score[row]:.2f}",), _words(findings, row))
        for row, frame in zip(rows, findings.drives.draw(rows), strict=True)
    ]
    return Gallery(
        name=f"called_unsafe_{name}",
        title=f"{judge.name}: called unsafe",
        text="Lowest p in calm frames, one an episode: nothing is near and nothing happens.",
        pictures=pictures,
        folded=judge.verdict == CHANCE,
    )


def looking(findings: Findings) -> list[JudgeAudit]:
    """The judges that changed frames were shown to, but for those that are empty by design."""
    return [
        judge
        for judge in findings.audit.judges
        if findings.looks[judge.name].changed and not judge.is_empty_control
    ]


def gallery_of_controls(findings: Findings) -> Gallery | None:
    """One dangerous frame, as it is and changed, with what each judge says of it."""
    judges = looking(findings)
    row = _telling_row(findings, judges[0]) if judges else None
    if row is None:
        return None
    place = int(np.flatnonzero(findings.probe == row)[0])
    rows = np.array([row], np.int64)
    frames = [findings.drives.draw(rows)[0]]
    frames += [findings.drives.draw(rows, redraw)[0] for redraw in CONTROLS.values()]
    lines = []
    for judge in judges:
        looks = findings.looks[judge.name]
        values = [looks.scores[row], *[looks.changed[name][place] for name in CONTROLS]]
        lines.append(f"{judge.name}: p = " + ", ".join(f"{value:.2f}" for value in values))
    picture = Picture(frames, ("as it is", *CONTROLS), "; ".join(lines))
    about = f"{_words(findings, row)}. Scores in the order of the pictures."
    return Gallery("changed_frames", "One dangerous frame, changed", about, [picture])


def _telling_row(findings: Findings, judge: JudgeAudit) -> int | None:
    """The probe's dangerous frame of median rise when the others are erased: a typical one."""
    truth, looks = findings.drives.truth, findings.looks[judge.name]
    limit = findings.audit.config.time_to_collision
    near = truth.time_to_collision[findings.probe] < limit
    near &= truth.time_to_collision[findings.probe] > 0
    rise = looks.changed["other vehicles erased"] - looks.scores[findings.probe]
    near &= ~np.isnan(rise)
    if not near.any():
        return None
    rows = findings.probe[near]
    order = np.argsort(rise[near], kind="stable")
    return int(rows[order[len(order) // 2]])


def _event_row(findings: Findings, row: int) -> int:
    truth = findings.drives.truth
    ahead = np.flatnonzero(truth.until_event[row:] <= 0)
    return int(row + ahead[0])


def _words(findings: Findings, row: int) -> str:
    drives, truth = findings.drives, findings.drives.truth
    episode = int(truth.episode[row])
    near = truth.time_to_collision[row]
    words = [
        drives.names[drives.source_of_episode[episode]],
        f"{drives.drivers[episode]} driver" if drives.drivers[episode] else "",
        f"time to collision {near:.1f} s" if np.isfinite(near) else "on no collision course",
    ]
    return ", ".join(word for word in words if word)


def _file_name(name: str) -> str:
    """As much of a name as any file system takes."""
    return "".join(letter if letter.isalnum() else "_" for letter in name)[:40]
