"""Scores against that of a blank frame: what a picture adds to the words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from wrappers import ContrastScorer, make_scorer


class Brightness:
    """p rises with the frame's brightness, and is ``prior`` for a black one."""

    def __init__(self, prior: float = 0.3, context_frames: int = 1) -> None:
        self.prior, self.context_frames = prior, context_frames
        self.identity = {"name": "brightness", "prior": prior}
        self.seen: list[tuple[int, ...]] = []
        self.broken = False

    def __call__(self, frames: Any, infos: Any = None) -> Any:
        self.seen.append(frames.shape)
        means = frames.reshape(len(frames), -1).mean(1) / 255
        scores = (self.prior + (1 - self.prior) * means).astype(np.float32)
        self.last_reasons = ["broken" if self.broken else None] * len(frames)
        return np.full_like(scores, np.nan) if self.broken else scores


def grey(*levels: int) -> np.ndarray:
    return np.asarray(levels, np.uint8)[:, None, None, None] + np.zeros((1, 4, 4, 3), np.uint8)


def test_two_answers_are_corrected_by_those_to_a_blank_frame() -> None:
    """The definition itself: probabilities of both answers divided, then brought to a sum of 1."""
    inner = Brightness(0.3)
    levels = grey(0, 10, 100, 240)
    found = ContrastScorer(inner)(levels)
    p = inner(levels).astype(np.float64)
    safe, unsafe = p / 0.3, (1 - p) / 0.7
    np.testing.assert_allclose(found, safe / (safe + unsafe), atol=1e-6)
    assert found[0] == pytest.approx(0.5)
    assert (np.diff(found) > 0).all()
    difference = ContrastScorer(inner, scale="difference")(levels)
    np.testing.assert_allclose(difference, (1 + p - 0.3) / 2, atol=1e-6)


def test_answers_from_the_words_alone_are_worth_a_half() -> None:
    for value in (0.0, 0.2, 1.0):
        for scale in ("log_odds", "difference"):
            scorer = ContrastScorer(make_scorer(f"constant:{value}"), scale)
            np.testing.assert_allclose(scorer(grey(0, 99, 255)), 0.5, atol=1e-6)


def test_sure_answers_stay_sure_where_the_blank_one_is_another() -> None:
    class Sure(Brightness):
        def __call__(self, frames: Any, infos: Any = None) -> Any:
            return (frames.reshape(len(frames), -1).max(1) > 0).astype(np.float32)

    np.testing.assert_allclose(ContrastScorer(Sure())(grey(0, 9)), [0.5, 1.0], atol=1e-5)


def test_a_blank_frame_is_scored_once_for_each_shape() -> None:
    inner = Brightness()
    scorer = ContrastScorer(inner)
    scorer(grey(1, 2))
    scorer(grey(3))
    scorer(np.zeros((1, 8, 8, 3), np.uint8))
    blank = [shape for shape in inner.seen if shape[0] == 1]
    assert blank.count((1, 4, 4, 3)) == 2  # the blank one and the call with one frame
    assert blank.count((1, 8, 8, 3)) == 2
    windows = ContrastScorer(Brightness(context_frames=2))
    assert windows.context_frames == 2
    assert windows(np.zeros((3, 2, 4, 4, 3), np.uint8)) == pytest.approx(0.5)


def test_without_a_label_for_the_blank_frame_there_is_none_until_there_is() -> None:
    inner = Brightness()
    scorer = ContrastScorer(inner)
    inner.broken = True
    assert np.isnan(scorer(grey(1, 2))).all()
    assert scorer.last_reasons == ["broken", "broken"]
    inner.broken = False
    assert np.isfinite(scorer(grey(1, 2))).all()

    class BlankUnknown(Brightness):
        def __call__(self, frames: Any, infos: Any = None) -> Any:
            scores = super().__call__(frames)
            dark = frames.reshape(len(frames), -1).max(1) == 0
            self.last_reasons = ["too dark" if one else None for one in dark]
            return np.where(dark, np.nan, scores).astype(np.float32)

    scorer = ContrastScorer(BlankUnknown())
    assert np.isnan(scorer(grey(5))).all()
    assert scorer.last_reasons == ["the blank frame has no label: too dark"]


def test_it_has_a_name_and_an_identity() -> None:
    scorer: Any = make_scorer("contrast:bundled,level=127,scale=difference,form=margin")
    assert scorer.identity["level"] == 127
    assert scorer.identity["scale"] == "difference"
    assert scorer.identity["of"]["form"] == "margin"
    black: Any = make_scorer("contrast:bundled")
    frames = np.zeros((2, 224, 224, 3), np.uint8)
    frames[1, 50:90, 50:90] = (220, 40, 40)
    found = black(frames)
    assert found[0] == pytest.approx(0.5, abs=1e-4)
    assert abs(found[1] - 0.5) > 1e-3


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        ("contrast:oracle", "frame alone"),
        ("contrast:shuffled:bundled", "frame alone"),
        ("contrast:bundled,scale=ratio", "unknown scale 'ratio'; known: log_odds, difference"),
        ("contrast:bundled,level=256", "level must lie in 0 to 255"),
        ("contrast:bundled,level=-1", "level"),
        ("contrast:bundled,lvel=1", "lvel"),
    ],
)
def test_what_makes_no_sense_is_refused(spec: str, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        make_scorer(spec)
