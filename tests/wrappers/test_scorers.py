"""Scorers made from simulator truth or from nothing, and how they are found by name."""

from __future__ import annotations

import json

import numpy as np
import pytest

from wrappers import (
    ConstantScorer,
    OracleConfig,
    OracleScorer,
    SafetyScorer,
    ShuffledScorer,
    make_scorer,
    safety_degree,
)
from wrappers.controls import SITUATION, BlindScorer, Deal, NegatedScorer

FRAMES = np.zeros((3, 8, 8, 3), np.uint8)
SAFE_INFO = {"time_to_collision": np.inf, "headway": np.inf, "collision": False, "off_road": False}


class IndexScorer:
    """Scores by the first pixel: 0, 1/255, ..."""

    identity = {"name": "index"}  # noqa: RUF012

    def __call__(self, frames, infos=None):
        return frames[:, 0, 0, 0].astype(np.float32) / 255


def numbered_frames(count):
    frames = np.zeros((count, 2, 2, 3), np.uint8)
    frames[:, 0, 0, 0] = np.arange(count)
    return frames


@pytest.mark.parametrize("spec", ["constant:0.3", "oracle", "shuffled:constant:0.3"])
def test_scores_are_float32_in_the_unit_interval_one_a_frame(spec):
    scorer = make_scorer(spec)
    scores = scorer(FRAMES, [SAFE_INFO] * 3)
    assert scores.shape == (3,)
    assert scores.dtype == np.float32
    assert ((scores >= 0) & (scores <= 1)).all()
    assert isinstance(scorer, SafetyScorer)
    assert json.loads(json.dumps(scorer.identity)) == scorer.identity


def test_a_scorer_object_passes_through_unchanged():
    scorer = ConstantScorer(0.2)
    assert make_scorer(scorer) is scorer


@pytest.mark.parametrize("spec", ["bundeld", "constant", "constant:high", "no such folder", ""])
def test_an_unknown_scorer_is_refused_by_name(spec):
    with pytest.raises(ValueError, match="scorer"):
        make_scorer(spec)


def test_an_object_that_is_no_scorer_is_refused():
    with pytest.raises(TypeError, match="identity"):
        make_scorer(object())  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_a_constant_outside_the_unit_interval_is_refused(value):
    with pytest.raises(ValueError, match="0, 1"):
        ConstantScorer(value)


@pytest.mark.parametrize(
    ("frames", "error"),
    [
        (np.zeros((8, 8, 3), np.uint8), ValueError),
        (np.zeros((1, 3, 8, 8), np.uint8), ValueError),
        (np.zeros((1, 8, 8, 3), np.float32), TypeError),
        ([[0]], TypeError),
    ],
)
def test_wrong_frames_are_refused(frames, error):
    with pytest.raises(error, match="frames"):
        ConstantScorer(0.5)(frames)


def test_the_oracle_falls_with_time_to_collision_and_with_headway():
    times = np.linspace(0, 8, 60)
    by_time = safety_degree(times, np.inf, False, False)
    by_gap = safety_degree(np.inf, times / 4, False, False)
    assert (np.diff(by_time) > 0).all()
    assert (np.diff(by_gap) > 0).all()


def test_the_oracle_has_the_lead_time_that_it_states():
    at = {t: float(safety_degree(t, np.inf, False, False)) for t in (1.5, 2.5, 4.0, np.inf)}
    assert at[np.inf] == pytest.approx(1.0)
    assert at[4.0] == pytest.approx(1 / (1 + np.exp(-1.5 / 0.6)))
    assert at[2.5] == pytest.approx(0.5)
    assert at[1.5] < 0.2


@pytest.mark.parametrize("key", ["collision", "off_road"])
def test_the_oracle_gives_zero_to_a_crash_and_off_the_road(key):
    assert OracleScorer()(FRAMES[:1], [SAFE_INFO | {key: True}])[0] == 0


def test_the_oracle_needs_one_complete_info_a_frame():
    with pytest.raises(ValueError, match="one info"):
        OracleScorer()(FRAMES)
    with pytest.raises(ValueError, match="got 1"):
        OracleScorer()(FRAMES, [SAFE_INFO])
    lacking = {key: value for key, value in SAFE_INFO.items() if key != "headway"}
    with pytest.raises(KeyError, match="info 1 lacks 'headway'"):
        OracleScorer()(FRAMES, [SAFE_INFO, lacking, SAFE_INFO])


def test_nan_truth_is_refused_instead_of_called_safe():
    with pytest.raises(ValueError, match="NaN"):
        safety_degree(np.nan, 1.0, False, False)


def test_an_impossible_oracle_is_refused():
    with pytest.raises(ValueError, match="headway_width"):
        OracleConfig(headway_width=0.0)


def test_shuffling_a_large_batch_permutes_its_scores():
    frames = numbered_frames(200)
    own = IndexScorer()(frames)
    shuffled = ShuffledScorer(IndexScorer(), seed=1, pool_size=100)(frames)
    assert not np.array_equal(shuffled, own)
    np.testing.assert_array_equal(np.sort(shuffled), np.sort(own))


def test_shuffling_one_frame_at_a_time_keeps_the_distribution_but_not_the_order():
    frames = numbered_frames(200)[np.random.default_rng(0).integers(0, 200, 4000)]
    own = IndexScorer()(frames)
    scorer = ShuffledScorer(IndexScorer(), seed=1, pool_size=500)
    online = np.concatenate([scorer(frame[None]) for frame in frames])
    assert abs(np.corrcoef(own[500:], online[500:])[0, 1]) < 0.06
    for level in (0.1, 0.5, 0.9):
        assert np.quantile(online, level) == pytest.approx(np.quantile(own, level), abs=0.06)


@pytest.mark.parametrize("at_once", [True, False], ids=["a batch", "one by one"])
def test_a_share_of_the_frames_gets_other_scores(at_once):
    frames = numbered_frames(200)[np.random.default_rng(0).integers(0, 200, 4000)]
    own = IndexScorer()(frames)
    scorer = ShuffledScorer(IndexScorer(), seed=1, pool_size=500, share=0.3)
    found = scorer(frames) if at_once else np.concatenate([scorer(f[None]) for f in frames])
    changed = found != own
    assert changed.mean() == pytest.approx(0.3, abs=0.03)
    assert np.corrcoef(own, found)[0, 1] == pytest.approx(0.7, abs=0.04)  # the rest says nothing
    assert scorer.identity["share"] == 0.3


def test_a_deal_moves_scores_and_changes_none():
    own = np.random.default_rng(0).random(1000).astype(np.float32)
    for share in (0.0, 0.4, 1.0):
        dealt = Deal(2, share).scores(own)
        np.testing.assert_array_equal(np.sort(dealt), np.sort(own))
        np.testing.assert_array_equal(dealt, Deal(2, share).scores(own))
        assert (dealt != own).mean() == pytest.approx(share, abs=0.06)
    assert "share" not in Deal(2).identity({})  # labels from before there were shares stay theirs
    for impossible in ({"share": 1.5}, {"share": "half"}, {"seed": -1}):
        with pytest.raises(ValueError, match="scorer 'shuffled'"):
            Deal(**impossible)


def test_a_negated_scorer_calls_danger_safe():
    frames = numbered_frames(50)
    negated = make_scorer("negated:constant:0.3")
    np.testing.assert_allclose(negated(frames), 0.7)
    np.testing.assert_allclose(NegatedScorer(IndexScorer())(frames), 1 - IndexScorer()(frames))
    assert negated.identity == {"name": "negated", "of": {"name": "constant", "value": 0.3}}


def test_shuffling_repeats_with_its_seed():
    frames = numbered_frames(50)
    one, two = (ShuffledScorer(IndexScorer(), seed=3)(frames) for _ in range(2))
    np.testing.assert_array_equal(one, two)


def situations(count, seed=0):
    rng = np.random.default_rng(seed)
    columns = {
        "speed": rng.uniform(0, 40, count),
        "time_to_collision": np.where(rng.random(count) < 0.3, np.inf, rng.uniform(0, 15, count)),
        "headway": np.where(rng.random(count) < 0.3, np.inf, rng.uniform(0, 8, count)),
    }
    return [{name: column[k] for name, column in columns.items()} for k in range(count)]


def test_a_blind_scorer_calls_a_share_of_the_situations_safe():
    frames, infos = np.zeros((4000, 1, 1, 3), np.uint8), situations(4000)
    scorer = make_scorer("blind:constant:0.25,share=0.3,seed=4")
    found = scorer(frames, infos)
    assert set(found.tolist()) == {0.25, 1.0}
    assert (found == 1.0).mean() == pytest.approx(0.3, abs=0.05)  # of many, about as many frames
    one_by_one = [scorer(f[None], [i])[0] for f, i in zip(frames[:50], infos[:50], strict=True)]
    np.testing.assert_array_equal(found[:50], one_by_one)  # as an environment asks
    other = make_scorer("blind:constant:0.25,share=0.3,seed=5")(frames, infos)
    assert 0.3 < (other != found).mean() < 0.55  # 0.42 of two independent draws


def test_a_blind_scorer_errs_alike_in_like_situations():
    scorer = BlindScorer(ConstantScorer(0.0), share=0.5)
    here = {"speed": 21.0, "time_to_collision": 3.1, "headway": 1.05}
    like = [{"speed": 24.9, "time_to_collision": 3.9, "headway": 1.4}, here]
    free = [{**here, "time_to_collision": far, "headway": np.inf} for far in (20.0, 900.0, np.inf)]
    for infos in (like, free):
        for seed in range(20):
            scorer.seed = seed
            assert len(set(scorer(FRAMES[: len(infos)], infos).tolist())) == 1
    cells = [{**here, name: here[name] + step} for name, step in SITUATION.items()]
    drawn = [BlindScorer(ConstantScorer(0.0), 0.5, seed)(FRAMES, cells) for seed in range(20)]
    assert np.std(drawn, 1).mean() > 0  # one step further is another situation


def test_a_blind_scorer_sees_nothing_in_a_range():
    infos = [{"headway": value} for value in (0.2, 0.999, 1.0, np.inf)]
    frames = np.zeros((4, 2, 2, 3), np.uint8)
    near = make_scorer("blind:constant:0.25,info=headway,high=1")
    assert near(frames, infos).tolist() == [1.0, 1.0, 0.25, 0.25]
    far = make_scorer("blind:constant:0.25,info=headway,low=0.9,high=2")
    assert far(frames, infos).tolist() == [0.25, 1.0, 1.0, 0.25]
    assert json.loads(json.dumps(near.identity)) == {
        "name": "blind", "share": 1.0, "seed": 0, "info": "headway", "low": None, "high": 1.0,
        "of": {"name": "constant", "value": 0.25},
    }  # fmt: skip


def test_where_there_is_no_label_a_blind_scorer_has_none():
    class Silent(IndexScorer):
        def __call__(self, frames, infos=None):
            return np.full(len(frames), np.nan, np.float32)

    assert np.isnan(BlindScorer(Silent(), info="speed", low=0)(FRAMES, [{"speed": 1}] * 3)).all()


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"share": 1.5}, "share"),
        ({"share": 0.5, "seed": -1}, "seed"),
        ({"share": 0.5, "seed": 1 << 128}, r"below 2\*\*128"),
        ({"info": 3, "low": 1}, "name of one"),
        ({"info": "speed", "low": "fast"}, "fast"),
        ({"info": "speed"}, "give both"),
        ({"share": 0.5, "high": 1}, "give both"),
        ({}, "everywhere"),
    ],
)
def test_impossible_blindness_is_refused(options, word):
    with pytest.raises(ValueError, match=word):
        BlindScorer(ConstantScorer(0.0), **options)


def test_a_blind_scorer_needs_what_it_reads():
    scorer = BlindScorer(ConstantScorer(0.0), info="speed", high=1)
    with pytest.raises(ValueError, match="an info for each of 3 frames, got 0"):
        scorer(FRAMES)
    with pytest.raises(KeyError, match="info 1 lacks 'speed'"):
        scorer(FRAMES, [{"speed": 1.0}, {}, {}])
    with pytest.raises(ValueError, match="'speed' is NaN at frame 2"):
        scorer(FRAMES, [{"speed": 1.0}, {"speed": 1.0}, {"speed": np.nan}])
