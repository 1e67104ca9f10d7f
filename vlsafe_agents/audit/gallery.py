"""Frames that say more than figures: the worst mistakes, and what changed frames look like."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlsafe_agents.audit.audit import Findings
from vlsafe_agents.audit.examine import UNCHANGED
from vlsafe_agents.audit.results import CHANCE, ScorerAudit
from vlsafe_agents.audit.scoring import CONTROLS
from vlsafe_agents.pages.charts import literal
from wrappers.scorer import Frames

_FRAME, _TEXT = 1.75, 0.75  # [inch], side of a frame and height of the words below it
_WIDEST = 6  # frames side by side


@dataclass(frozen=True)
class Picture:
    """Frames ``(H, W, 3)`` side by side, with what is to be said of them."""

    frames: Sequence[Frames]
    titles: Sequence[str]  # one a frame
    text: str = ""


@dataclass(frozen=True)
class Gallery:
    """Pictures in rows; a folded one is shown on demand."""

    name: str  # of its file
    title: str
    text: str
    pictures: Sequence[Picture]
    folded: bool = False


def galleries_of_mistakes(findings: Findings) -> list[Gallery]:
    """Of each scorer but empty controls: called safe before an event, called unsafe in calm."""
    found = []
    for place, scorer in enumerate(findings.audit.scorers):
        if not scorer.is_empty_control:
            name = f"{place}_{_file_name(scorer.name)}"
            found += [_called_safe(findings, scorer, name), _called_unsafe(findings, scorer, name)]
    return [gallery for gallery in found if gallery.pictures]


def _called_safe(findings: Findings, scorer: ScorerAudit, name: str) -> Gallery:
    truth, rows = findings.drives.truth, scorer.mistakes.called_safe
    ends = np.array([_event_row(findings, row) for row in rows], np.int64)
    before, after = findings.drives.draw(rows), findings.drives.draw(ends)
    score = findings.outputs[scorer.name].scores
    pictures = []
    for row, end, frame, last in zip(rows, ends, before, after, strict=True):
        event = "collision" if truth.collision[end] else "off the road"
        titles = (f"p = {score[row]:.2f}", f"{truth.until_event[row]:.1f} s later: {event}")
        pictures.append(Picture((frame, last), titles, _words(findings, row)))
    return Gallery(
        name=f"called_safe_{name}",
        title=f"{scorer.name}: called safe",
        text=f"Highest p before a collision or departure, one an episode; none of these brings a "
        f"warning (p below {scorer.warning.threshold:.2f}). Left the frame, right what came of it.",
        pictures=pictures,
        folded=scorer.verdict == CHANCE,
    )


def _called_unsafe(findings: Findings, scorer: ScorerAudit, name: str) -> Gallery:
    rows, score = scorer.mistakes.called_unsafe, findings.outputs[scorer.name].scores
    pictures = [
        Picture((frame,), (f"p = {score[row]:.2f}",), _words(findings, row))
        for row, frame in zip(rows, findings.drives.draw(rows), strict=True)
    ]
    return Gallery(
        name=f"called_unsafe_{name}",
        title=f"{scorer.name}: called unsafe",
        text="Lowest p in calm frames, one an episode: nothing is near and nothing happens.",
        pictures=pictures,
        folded=scorer.verdict == CHANCE,
    )


def looking(findings: Findings) -> list[ScorerAudit]:
    """The scorers that changed frames were shown to, but for those that are empty by design."""
    return [
        scorer
        for scorer in findings.audit.scorers
        if findings.outputs[scorer.name].changed and not scorer.is_empty_control
    ]


def gallery_of_controls(findings: Findings) -> Gallery | None:
    """One dangerous frame, as it is and changed, with what each scorer says of it."""
    scorers = looking(findings)
    row = _telling_row(findings, scorers[0]) if scorers else None
    if row is None:
        return None
    place = int(np.flatnonzero(findings.probe == row)[0])
    rows = np.array([row], np.int64)
    frames = [findings.drives.draw(rows)[0]]
    frames += [findings.drives.draw(rows, redraw)[0] for redraw in CONTROLS.values()]
    lines = []
    for scorer in scorers:
        output = findings.outputs[scorer.name]
        values = [output.scores[row], *[output.changed[name][place] for name in CONTROLS]]
        lines.append(f"{scorer.name}: p = " + ", ".join(f"{value:.2f}" for value in values))
    picture = Picture(frames, (UNCHANGED, *CONTROLS), "; ".join(lines))
    about = f"{_words(findings, row)}. Scores in the order of the pictures."
    return Gallery("changed_frames", "One dangerous frame, changed", about, [picture])


def _telling_row(findings: Findings, scorer: ScorerAudit) -> int | None:
    """The probe's dangerous frame of median rise when the others are erased: a typical one."""
    truth, output = findings.drives.truth, findings.outputs[scorer.name]
    limit = findings.audit.config.time_to_collision
    near = truth.time_to_collision[findings.probe] < limit
    near &= truth.time_to_collision[findings.probe] > 0
    rise = output.changed["other vehicles erased"] - output.scores[findings.probe]
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


def contact_sheet(gallery: Gallery) -> Any:
    """A matplotlib figure with all frames of a gallery and what is said of them."""
    from matplotlib.figure import Figure

    each = max(len(picture.frames) for picture in gallery.pictures)
    columns = min(max(1, _WIDEST // each), len(gallery.pictures))
    rows = -(-len(gallery.pictures) // columns)
    height = (_FRAME + _TEXT) * rows
    figure = Figure(figsize=(_FRAME * each * columns, height), facecolor="white")
    grid = figure.subplots(rows, each * columns, squeeze=False)
    figure.subplots_adjust(
        left=0.01, right=0.99, top=1 - 0.22 / height, bottom=(_TEXT - 0.22) / height,
        wspace=0.06, hspace=_TEXT / _FRAME,
    )  # fmt: skip
    for axes in grid.ravel():
        axes.set_axis_off()
    for number, picture in enumerate(gallery.pictures):
        row, first = number // columns, number % columns * each
        for place, (frame, title) in enumerate(zip(picture.frames, picture.titles, strict=True)):
            axes = grid[row, first + place]
            axes.imshow(frame)
            axes.set_title(literal(title), size=8, loc="left", pad=3)
        words = literal(textwrap.fill(picture.text, 26 * each))
        grid[row, first].text(
            0, 1.03 * len(picture.frames[0]), words, size=6.5, va="top", color="#5b626c"
        )
    return figure
