"""The hazard exam: frozen frames, rows of figures, and their tables."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vlsafe_agents.audit import AuditConfig, NamedScorer
from vlsafe_agents.audit.changes import (
    CHANGES,
    half_resolution,
    low_contrast,
    mirrored,
    mirrored_about_ego,
    noisy,
)
from vlsafe_agents.audit.exam import ERASED, Candidate, check_figures, take_exam
from vlsafe_agents.audit.exam_row import ExamRow, read_row, read_rows, write_row
from vlsafe_agents.audit.exam_tables import exam_tables, markdown
from vlsafe_agents.audit.frozen import (
    BUNDLED_FRAMES,
    COLUMNS,
    FrozenFrames,
    read_frozen,
    write_frozen,
)
from wrappers import ConstantScorer, make_scorer
from wrappers.ranking import auroc
from wrappers.score_cache import ScoreCache
from wrappers.scorer import check_frames

ROOT = Path(__file__).resolve().parents[2]
QUICK = AuditConfig(resamples=60)


@pytest.fixture(scope="module")
def bundled() -> FrozenFrames:
    return read_frozen()


def toy_frames(count: int = 40) -> FrozenFrames:
    """Every other frame is before an event; the red of its left half grows with the danger."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(60, 90, (count, 8, 8, 3), np.uint8)
    erased = np.zeros_like(pictures)
    rows = []
    for place in range(count):
        near = place % 2 == 0
        pictures[place, :, :4, 0] = (150 if near else 20) + place
        erased[place, :, :4, 0] = 10 if near else 0
        rows.append(
            dict.fromkeys(COLUMNS, "0")
            | {"road": "ab"[place % 4 // 2], "driver": "expert", "density": "1"}
            | {"seed": str(place), "until_off_road": "inf", "until_cut": "inf", "headway": "2"}
            | {"time_to_collision": "1" if near else "inf", "erasable": str(int(near))}
            | {"until_collision": "1.5" if near else "inf"}
        )
    return FrozenFrames(rows, {8: pictures}, {8: erased})


class Eyes:
    """Reads the danger off the left half, or answers the opposite."""

    def __init__(self, turned: bool = False, silent: int = 0) -> None:
        self.turned, self.silent = turned, silent
        self.shown = 0

    @property
    def identity(self) -> dict[str, Any]:
        return {"name": "eyes", "turned": self.turned, "silent": self.silent}

    def opposite(self) -> Eyes:
        return Eyes(turned=not self.turned)

    def __call__(self, frames: Any, infos: Any = None) -> Any:
        check_frames(frames)
        self.shown += len(frames)
        danger = frames[:, :, :4, 0].mean((1, 2)) / 255
        scores = (danger if self.turned else 1 - danger).astype(np.float32)
        if len(frames) > self.silent:
            scores[: self.silent] = np.nan
        return scores


def exam(scorer: Any, frames: FrozenFrames, opposite: Any = None, **options: Any) -> ExamRow:
    named = NamedScorer("eyes", scorer)
    (row,) = take_exam([Candidate(named, opposite)], frames, QUICK, **options)
    return row


# --- the frames -----------------------------------------------------------------------------------


def test_the_shipped_frames_are_half_dangerous_on_every_road(bundled: FrozenFrames) -> None:
    from vlsafe_envs.registry import ROWS

    event = bundled.truth.until_event <= 2
    roads = np.array([row["road"] for row in bundled.rows])
    assert set(roads) == {row.name for row in ROWS}
    for road in set(roads):
        assert event[roads == road].sum() == (~event)[roads == road].sum() >= 10
    assert len({frame.tobytes() for frame in bundled.pictures[64]}) == len(bundled)
    assert BUNDLED_FRAMES.stat().st_size < 2.5e6


def test_no_drive_is_one_that_anybody_learnt_from(bundled: FrozenFrames) -> None:
    drives = [(row["road"], row["seed"]) for row in bundled.rows]
    assert len(set(drives)) == len(drives)
    assert min(int(seed) for _, seed in drives) >= 4_100_000_000
    assert {row["density"] for row in bundled.rows} == {"0.75", "1.25", "1.75"}


def test_the_truth_belongs_to_the_pictures(bundled: FrozenFrames) -> None:
    """Without the others p rises: what was erased had been the danger."""
    scorer, rows = make_scorer("distilled"), np.flatnonzero(bundled.erasable)
    _, frames, erased = bundled.at(64)
    assert len(rows) > 40
    assert (bundled.truth.time_to_collision[rows] < 2).all()
    rise = scorer(erased[rows]) - scorer(frames[rows])
    assert (rise > 0).mean() > 0.9


def test_frames_come_back_as_they_were_written(tmp_path: Path) -> None:
    frames = toy_frames(6)
    write_frozen(tmp_path / "a.zip", frames)
    write_frozen(tmp_path / "b.zip", frames)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    found = read_frozen(tmp_path / "a.zip")
    assert found.sha256 == frames.sha256
    np.testing.assert_array_equal(found.pictures[8], frames.pictures[8])
    np.testing.assert_array_equal(found.truth.until_event, [1.5, np.inf] * 3)
    changed = {8: frames.pictures[8] ^ np.uint8(1)}
    assert replace(frames, pictures=changed).sha256 != frames.sha256


def test_a_damaged_file_of_frames_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "frames.zip"
    write_frozen(path, toy_frames(4))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"frames.zip cannot be read as frozen frames .*install"):
        read_frozen(path)


def test_changes_do_what_they_say() -> None:
    frames = np.random.default_rng(0).integers(60, 190, (3, 8, 8, 3), np.uint8)
    np.testing.assert_array_equal(mirrored(mirrored(frames)), frames)
    np.testing.assert_array_equal(mirrored(frames)[:, :, 0], frames[:, :, -1])
    for side in (-2, -1, 0, 1, 2):  # of the ego vehicle, in column 4 of 8
        np.testing.assert_array_equal(
            mirrored_about_ego(frames)[:, :, 4 + side], frames[:, :, 4 - side]
        )
    half = half_resolution(frames)
    np.testing.assert_array_equal(half[:, 0, 0], half[:, 1, 1])
    np.testing.assert_allclose(half[:, 0, 0], frames[:, :2, :2].mean((1, 2)), atol=0.5)
    low = low_contrast(frames).astype(float)
    np.testing.assert_allclose(low.std((1, 2)), 0.3 * frames.std((1, 2)), atol=1)
    np.testing.assert_allclose(low.mean((1, 2)), frames.mean((1, 2)), atol=0.5)
    grey = np.full((2, 64, 64, 3), 128, np.uint8)
    assert noisy(grey).std() == pytest.approx(0.12 * 255, rel=0.05)
    np.testing.assert_array_equal(noisy(grey), noisy(grey))
    assert (noisy(grey)[0] != noisy(grey)[1]).any()


# --- the row --------------------------------------------------------------------------------------


def test_a_row_tells_what_a_scorer_saw() -> None:
    frames, eyes = toy_frames(), Eyes()
    row = exam(eyes, frames, eyes.opposite, command="vlsafe audit --exam")
    score = 1 - frames.pictures[8][:, :, :4, 0].mean((1, 2)) / 255
    safe = np.arange(40) % 2 == 1
    assert row.verdict == "good"
    assert row.auroc["event"].value == auroc(1 - score, ~safe) == 1.0
    assert row.roads == {"a": 1.0, "b": 1.0}
    assert row.negated is not None
    assert row.negated.auroc["event"].value == 0.0
    assert row.negated.rank_correlation == pytest.approx(-1)
    assert row.calibration.brier.value == pytest.approx(((score - safe) ** 2).mean(), abs=1e-6)
    assert row.calibration.brier.low < row.calibration.brier.value < row.calibration.brier.high
    assert row.calibration.safe_share == 0.5
    assert row.blank.score == 1.0
    assert row.blank.unmoved == 0.0
    assert row.blank.gap == pytest.approx(score[safe].mean() - score[~safe].mean(), abs=1e-6)
    assert set(row.changed) == {*CHANGES, ERASED}
    assert row.changed["mirrored"].auroc["event"].value < 0.9  # it looks at one half
    assert row.changed[ERASED].change_in_danger > 0.5
    np.testing.assert_allclose([p for p in row.scores if p is not None], score, atol=1e-5)
    assert row.price.seconds is not None
    assert row.price.tokens is None
    assert eyes.shown == 1 + 40 * 5 + 20


def test_a_scorer_of_words_alone_is_found_out() -> None:
    row = exam(ConstantScorer(0.9), toy_frames())
    assert row.verdict == "no better than chance"
    assert (row.blank.unmoved, row.blank.gap) == (1.0, 0.0)
    assert row.negated is None


def test_frames_without_a_label_are_counted_and_left_out() -> None:
    row = exam(Eyes(silent=3), toy_frames())
    assert row.frames.unlabelled == 3
    assert row.scores[:3] == (None, None, None)
    assert row.auroc["event"].value == 1.0


def test_truth_is_read_and_nothing_is_changed_for_who_reads_it() -> None:
    row = exam(make_scorer("oracle"), toy_frames())
    assert row.auroc["time_to_collision"].value == 1.0
    assert row.changed == {}
    assert row.blank.score is None


def test_what_the_cache_knows_is_not_shown_again_and_has_no_price(tmp_path: Path) -> None:
    cache, frames = ScoreCache(tmp_path), toy_frames()
    first, second = Eyes(), Eyes()
    one, other = exam(first, frames, cache=cache), exam(second, frames, cache=cache)
    assert first.shown > 40
    assert second.shown == 0
    assert one.scores == other.scores
    assert one.price.seconds is not None
    assert other.price.seconds is None


def test_a_scorer_that_gives_up_gets_no_row() -> None:
    eyes: Any = Eyes()
    eyes.stopped = "the budget is spent"
    with pytest.raises(RuntimeError, match="not shown all frames: the budget is spent; no row"):
        exam(eyes, toy_frames())


def test_who_looks_at_several_frames_is_refused() -> None:
    with pytest.raises(ValueError, match="looks at 3 frames at once"):
        exam(make_scorer("frames:3:random"), toy_frames())


# --- files and tables -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def row() -> ExamRow:
    return exam(Eyes(silent=1), toy_frames(), Eyes().opposite)


def test_a_row_comes_back_as_it_was_written(row: ExamRow, tmp_path: Path) -> None:
    write_row(tmp_path / "row.json", row)
    found = read_row(tmp_path / "row.json")
    write_row(tmp_path / "again.json", found)
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "row.json").read_bytes()
    assert found.auroc == row.auroc
    assert found.scores == row.scores


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"exam": 9}, r'"exam" is 9, not 1'),
        ({"verdict": "superb"}, "'superb' is no verdict"),
        ({"more": 1}, "unknown keys more"),
        ({"price": {}}, "no 'seconds'"),
        ({"name": ""}, "'' is no name"),
        ({"scores": [0.5]}, "1 scores of 40 frames"),
        ({"auroc": {"event": {"value": "high", "low": 0, "high": 1}}}, "'high' is no number"),
    ],
)
def test_a_file_that_is_no_row_is_refused(
    row: ExamRow, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    path = tmp_path / "row.json"
    write_row(path, row)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=rf"row.json holds no row of the exam \(.*{message}"):
        read_row(path)


def test_rows_of_different_frames_are_not_put_together(row: ExamRow, tmp_path: Path) -> None:
    write_row(tmp_path / "a.json", row)
    write_row(tmp_path / "b.json", replace(row, frames=replace(row.frames, sha256="f" * 64)))
    with pytest.raises(ValueError, match=r"a.json and .*b.json are about different frames"):
        read_rows([tmp_path])
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="empty holds no rows"):
        read_rows([tmp_path / "empty"])


def test_figures_that_do_not_follow_from_the_scores_are_refused(row: ExamRow) -> None:
    check_figures(row, toy_frames(), QUICK)
    better = replace(row, auroc={**row.auroc, "event": replace(row.auroc["event"], value=0.8)})
    with pytest.raises(ValueError, match=r"says AUROC 0.800 .* its scores give 1.000"):
        check_figures(better, toy_frames(), QUICK)


def test_the_best_row_comes_first_and_unknown_is_a_dash(row: ExamRow) -> None:
    worse = exam(ConstantScorer(0.5), toy_frames())
    seen, roads, changes, worth = exam_tables([replace(worse, name="nobody"), row])
    assert [cells[0] for cells in seen.rows] == ["eyes", "nobody"]
    assert seen.rows[0][-1] == "1 of 40"
    assert roads.columns == ("scorer", "a", "b")
    assert "question turned round" in changes.columns
    assert changes.rows[1][changes.columns.index("question turned round")] == "\u2013"
    assert worth.rows[1][worth.columns.index("as black")] == "100%"


def test_the_page_shows_the_committed_rows(bundled: FrozenFrames) -> None:
    rows = read_rows([ROOT / "benchmarks" / "exam"])
    assert {row.frames.sha256 for row in rows.values()} == {bundled.sha256}
    for one in rows.values():
        check_figures(one, bundled, AuditConfig())
    page = (ROOT / "docs" / "exam.md").read_text(encoding="utf-8")
    shown = re.search(r"<!-- rows -->\n(.*?)<!-- end of rows -->", page, re.DOTALL)
    assert shown is not None
    assert shown[1].strip() == markdown(exam_tables(list(rows.values()))).strip()
    assert {"bundled", "distilled", "oracle"} <= {one.name for one in rows.values()}
