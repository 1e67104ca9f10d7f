"""Scores that mean what they say, and know what they were fitted on."""

from __future__ import annotations

import json

import numpy as np
import pytest

from wrappers import CalibratedScorer, Calibration, RandomScorer, fit_calibration, held_out
from wrappers import make_scorer as make

pytest.importorskip("sklearn")

IDENTITY = RandomScorer(0).identity
EVENT = "collision within 2 s"


def drawn(count=20_000, seed=0):
    """Raw scores p of which p squared turn out safe."""
    rng = np.random.default_rng(seed)
    raw = rng.random(count).astype(np.float32)
    return raw, rng.random(count) >= raw**2


def frames(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 4, 4, 3)).astype(np.uint8)


def test_isotonic_by_hand():
    # safe: 0, 1, 0, 1 at 0.1, 0.2, 0.3, 0.4: the middle two pool to 0.5
    fitted = fit_calibration([0.1, 0.2, 0.3, 0.4], [True, False, True, False], IDENTITY, EVENT)
    assert fitted.points == ((0.1, 0.0), (0.2, 0.5), (0.3, 0.5), (0.4, 1.0))
    np.testing.assert_allclose(fitted([0.0, 0.15, 0.25, 0.35, 1.0]), [0, 0.25, 0.5, 0.75, 1.0])


def test_platt_by_hand():
    # Two raw scores, 0.2 and 0.8, six frames each: 2 and 5 of them safe.  Platt's targets are
    # 8/9 for the 7 safe and 1/7 for the 5 unsafe: averages (2 * 8/9 + 4/7) / 6 = 0.3915 and
    # (5 * 8/9 + 1/7) / 6 = 0.7646, which two parameters meet exactly.
    raw = np.repeat([0.2, 0.8], 6)
    unsafe = np.array([0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0, 1], bool)
    fitted = fit_calibration(raw, unsafe, IDENTITY, EVENT, method="platt")
    np.testing.assert_allclose(fitted([0.2, 0.8]), [0.391534, 0.764550], atol=1e-4)


@pytest.mark.parametrize("method", ["isotonic", "platt"])
def test_on_fresh_frames_a_calibrated_score_is_the_share_of_safe_frames(method):
    fitted = fit_calibration(*drawn(), IDENTITY, EVENT, method)
    raw, unsafe = drawn(seed=1)
    scores = fitted(raw)
    assert np.abs(scores - raw**2).mean() < np.abs(raw - raw**2).mean() / 4
    for low in np.arange(0, 1, 0.2):
        inside = (scores >= low) & (scores < low + 0.2)
        assert scores[inside].mean() == pytest.approx((~unsafe[inside]).mean(), abs=0.04)


@pytest.mark.parametrize("method", ["isotonic", "platt"])
def test_the_order_of_frames_is_kept_and_no_label_stays_none(method):
    fitted = fit_calibration(*drawn(500), IDENTITY, EVENT, method)
    scores = fitted(np.linspace(0, 1, 101))
    assert (np.diff(scores) >= 0).all()
    assert ((scores >= 0) & (scores <= 1)).all()
    assert scores.dtype == np.float32
    assert np.isnan(fitted([np.nan, 0.5])).tolist() == [True, False]


def test_frames_without_a_label_are_not_fitted_on():
    raw, unsafe = drawn(500)
    gaps = np.concatenate([raw, [np.nan] * 5])
    one = fit_calibration(raw, unsafe, IDENTITY, EVENT)
    two = fit_calibration(gaps, np.concatenate([unsafe, [True] * 5]), IDENTITY, EVENT)
    assert one.points == two.points
    assert two.fitted_on.frames == 500


@pytest.mark.parametrize("method", ["isotonic", "platt"])
def test_a_stored_calibration_is_the_same_and_says_what_it_was_fitted_on(method, tmp_path):
    raw, unsafe = drawn(300)
    scorer = RandomScorer(7)
    fitted = fit_calibration(raw, unsafe, scorer.identity, EVENT, method, data_sha256="abc")
    path = tmp_path / "judge.json"
    fitted.save(path, spec="random:7")
    assert Calibration.load(path) == fitted
    stored = json.loads(path.read_text())
    assert stored["fitted_on"] | {"date": ""} == {
        "event": EVENT,
        "frames": 300,
        "unsafe_frames": int(unsafe.sum()),
        "data_sha256": "abc",
        "date": "",
    }
    assert stored["fitted_on"]["date"].startswith("20")
    again = make(f"calibrated:{path}")
    np.testing.assert_array_equal(again(frames(9)), fitted(scorer(frames(9))))
    assert json.loads(json.dumps(again.identity)) == again.identity
    assert [file.name for file in tmp_path.iterdir()] == ["judge.json"]


def test_other_data_have_another_hash():
    hashes = {
        fit_calibration(*drawn(200, s), IDENTITY, EVENT).fitted_on.data_sha256 for s in (0, 1)
    }
    assert len(hashes) == 2


def test_a_calibration_of_another_scorer_is_refused(tmp_path):
    fitted = fit_calibration(*drawn(200), RandomScorer(0).identity, EVENT)
    with pytest.raises(ValueError, match="another scorer; they differ in seed"):
        CalibratedScorer(RandomScorer(1), fitted)
    fitted.save(tmp_path / "judge.json", spec="random:1")
    with pytest.raises(ValueError, match="another scorer"):
        make(f"calibrated:{tmp_path / 'judge.json'}")


def test_a_scorer_of_several_frames_can_be_calibrated():
    inner = make("frames:3:random:0")
    fitted = fit_calibration(*drawn(200), inner.identity, EVENT)
    scorer = CalibratedScorer(inner, fitted)
    assert scorer.context_frames == 3
    windows = frames(6).reshape(2, 3, 4, 4, 3)
    np.testing.assert_array_equal(scorer(windows), fitted(inner(windows)))


@pytest.mark.parametrize("method", ["isotonic", "platt"])
@pytest.mark.parametrize(
    ("scores", "unsafe", "reason"),
    [
        ([0.1, 0.9], [False, False], "one kind"),
        ([0.1, 0.9], [False, True], "backwards"),
        ([0.1, np.nan], [False, True], "one kind"),
        ([0.1, 0.9, 0.5], [False, True], r"\(N,\)"),
    ],
)
def test_data_that_cannot_be_calibrated_are_refused(method, scores, unsafe, reason):
    with pytest.raises(ValueError, match=reason):
        fit_calibration(scores, unsafe, IDENTITY, EVENT, method)


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match="'beta'"):
        fit_calibration(*drawn(10), IDENTITY, EVENT, method="beta")


@pytest.mark.parametrize("text", ["", "[]", '{"format": 1}', '{"format": 2}'])
def test_a_file_that_is_no_calibration_is_refused(tmp_path, text):
    path = tmp_path / "judge.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"judge\.json"):
        Calibration.load(path)
    with pytest.raises(FileNotFoundError, match=r"nothing\.json does not exist"):
        Calibration.load(tmp_path / "nothing.json")


def test_a_file_that_does_not_name_its_scorer_says_what_to_do(tmp_path):
    fit_calibration(*drawn(50), IDENTITY, EVENT).save(tmp_path / "judge.json")
    with pytest.raises(ValueError, match="CalibratedScorer"):
        make(f"calibrated:{tmp_path / 'judge.json'}")


@pytest.mark.parametrize("points", [((0.1, 0.5), (0.2, 0.4)), ((0.1, 1.2),), ((0.1, np.nan),)])
def test_a_map_that_falls_or_leaves_the_unit_interval_is_refused(points):
    fitted = fit_calibration(*drawn(50), IDENTITY, EVENT)
    with pytest.raises(ValueError, match="points"):
        Calibration("isotonic", points, IDENTITY, fitted.fitted_on)


def test_frames_of_one_episode_are_not_torn_apart():
    episodes = np.repeat(np.arange(20), 7)
    chosen = held_out(episodes, share=0.25, seed=3)
    assert len(np.unique(episodes[chosen])) == 5
    assert not set(episodes[chosen]) & set(episodes[~chosen])
    np.testing.assert_array_equal(chosen, held_out(episodes, share=0.25, seed=3))
    assert not np.array_equal(chosen, held_out(episodes, share=0.25, seed=4))
    with pytest.raises(ValueError, match="1 episodes"):
        held_out([1, 1, 1])
