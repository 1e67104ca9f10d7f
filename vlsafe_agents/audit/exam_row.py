"""A row of the hazard exam: one scorer's figures in one JSON file, for others to read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from vlsafe_agents.audit.results import VERDICTS, plain
from vlsafe_agents.evaluation.resampling import Estimate
from wrappers.files import read_json, write_json

FORM = 1  # of the file
_REMEDY = "a row is written by `vlsafe audit --exam`"


@dataclass(frozen=True)
class ExamFrames:
    """What was shown."""

    sha256: str  # of all frames and their truth
    number: int
    unlabelled: int  # that the scorer had no label for, left out everywhere
    size: int  # [px], of a side


@dataclass(frozen=True)
class Blank:
    """A black frame's score, and those of the frames beside it; None where none is shown one."""

    score: float | None
    unmoved: float | None  # share of the frames whose p is within 0.01 of it
    gap: float | None  # mean of p - score of safe frames less dangerous ones: score cancels


@dataclass(frozen=True)
class ChangedFrames:
    """Scores of changed frames, or of the question turned round."""

    auroc: Mapping[str, Estimate]  # by key of the question
    rank_correlation: float  # Spearman's, with the scores of the frames as they are
    mean_score: float
    change_in_danger: float  # mean change of p where the time to collision is short


@dataclass(frozen=True)
class Calibration:
    """P as the chance that neither a collision nor a departure from the road follows."""

    error: float  # expected calibration error, ten bins
    brier: Estimate  # mean square of p - truth; one half for all frames has 0.25
    mean_score: float
    safe_share: float  # of the frames


@dataclass(frozen=True)
class Price:
    """Of 1,000 frames; None where it is not known."""

    seconds: float | None  # of the clock
    processor_seconds: float | None  # of the process that asks
    tokens: float | None  # as the server reports them
    money: float | None  # in the currency of the prices that were given


@dataclass(frozen=True)
class ExamRow:
    """All figures of one scorer; NaN where one is not known."""

    name: str
    date: str  # ISO 8601
    command: str
    scorer: Mapping[str, Any]  # identity
    frames: ExamFrames
    questions: Mapping[str, str]  # their names, by key
    verdict: str  # on the first question
    auroc: Mapping[str, Estimate]  # of 1 - p, by key of the question
    roads: Mapping[str, float]  # AUROC of the first question on each road
    blank: Blank
    probe_frames: int  # that were shown changed, too
    changed: Mapping[str, ChangedFrames]  # by the name of the change
    negated: ChangedFrames | None  # by the question turned round: an AUROC below one half is right
    calibration: Calibration
    price: Price
    machine: str  # that the price was paid on
    versions: Mapping[str, str]
    scores: tuple[float | None, ...]  # p of every frame


def write_row(path: Path, row: ExamRow) -> None:
    """Write a row to a file."""
    write_json(path, {"exam": FORM, **plain(row)})


def read_rows(paths: Iterable[Path]) -> dict[Path, ExamRow]:
    """Rows by file: of files, and of all files ``*.json`` in folders.

    Raises:
        FileNotFoundError: where there is nothing.
        ValueError: for files that hold no row, and for rows of different frames, which must not
            stand in one table.
    """
    files: list[Path] = []
    for path in paths:
        found = sorted(path.glob("*.json")) if path.is_dir() else [path]
        if not found:
            raise FileNotFoundError(f"{path} holds no rows (*.json); {_REMEDY}")
        files += found
    rows = {path.resolve(): read_row(path) for path in files}
    check_frames_alike(rows)
    return rows


def check_frames_alike(rows: Mapping[Path, ExamRow]) -> None:
    """Refuse rows of different frames.

    Raises:
        ValueError: naming two of them.
    """
    first: tuple[Path, ExamRow] | None = None
    for place, row in rows.items():
        first = first or (place, row)
        if row.frames.sha256 != first[1].frames.sha256:
            raise ValueError(
                f"{first[0]} and {place} are about different frames (sha256 "
                f"{first[1].frames.sha256[:12]} and {row.frames.sha256[:12]}): their figures do "
                "not belong into one table; make both by the same version of vlsafe"
            )


def read_row(path: Path) -> ExamRow:
    """The row of a file.

    Raises:
        FileNotFoundError: where there is none.
        ValueError: for a file that holds no row, or one of a later form.
    """
    content = read_json(path, remedy=_REMEDY)
    if content.get("exam") != FORM:
        raise ValueError(
            f'{path} holds no row of the exam ("exam" is {content.get("exam")!r}, not {FORM}); '
            f"{_REMEDY}"
        )
    try:
        return _row({key: value for key, value in content.items() if key != "exam"})
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        said = f"no {error}" if isinstance(error, KeyError) else error
        raise ValueError(f"{path} holds no row of the exam ({said}); {_REMEDY}") from None


def _row(content: dict[str, Any]) -> ExamRow:
    found = _known(ExamRow, content)
    if found["verdict"] not in VERDICTS:
        raise ValueError(f"{found['verdict']!r} is no verdict")
    negated, changed = found["negated"], found["changed"]
    found |= {
        "name": _text(found["name"]),
        "questions": _all(found["questions"], _text),
        "frames": ExamFrames(**_known(ExamFrames, found["frames"])),
        "auroc": _all(found["auroc"], _estimate),
        "roads": _all(found["roads"], _number),
        "blank": Blank(**_all(_known(Blank, found["blank"]), _number_or_none)),
        "changed": _all(changed, _changed),
        "negated": None if negated is None else _changed(negated),
        "calibration": _calibration(_known(Calibration, found["calibration"])),
        "price": Price(**_all(_known(Price, found["price"]), _number_or_none)),
        "scores": tuple(map(_number_or_none, found["scores"])),
    }
    row = ExamRow(**found)
    if len(row.scores) != row.frames.number:
        raise ValueError(f"{len(row.scores)} scores of {row.frames.number} frames")
    return row


def _known(kind: type, content: dict[str, Any]) -> dict[str, Any]:
    """The fields of a dataclass, all of them and no other."""
    names = [field.name for field in fields(kind)]
    unknown = sorted(content.keys() - set(names))
    if unknown:
        raise ValueError(f"unknown keys {', '.join(unknown)}")
    return {name: content[name] for name in names}


def _all(content: dict[str, Any], read: Callable[[Any], Any]) -> dict[str, Any]:
    return {key: read(value) for key, value in content.items()}


def _changed(content: dict[str, Any]) -> ChangedFrames:
    found = _known(ChangedFrames, content)
    auroc = _all(found.pop("auroc"), _estimate)
    return ChangedFrames(auroc=auroc, **_all(found, _number))


def _calibration(content: dict[str, Any]) -> Calibration:
    brier = _estimate(content.pop("brier"))
    return Calibration(brier=brier, **_all(content, _number))


def _estimate(content: dict[str, Any]) -> Estimate:
    return Estimate(**_all(_known(Estimate, content), _number))


def _number(value: Any) -> float:
    """A number; JSON's null stands for NaN."""
    found = _number_or_none(value)
    return float("nan") if found is None else found


def _number_or_none(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number")
    return float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError(f"{value!r} is no name")
    return value
