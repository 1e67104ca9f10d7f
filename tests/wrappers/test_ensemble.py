"""Several scorers as one, also where some have no answer."""

from __future__ import annotations

import json

import numpy as np
import pytest

from wrappers import ConstantScorer, EnsembleScorer, OracleScorer, make_scorer
from wrappers.scorer import reads_history, reads_infos

FRAMES = np.zeros((3, 4, 4, 3), np.uint8)
SAFE_INFO = {"time_to_collision": np.inf, "headway": np.inf, "collision": False, "off_road": False}


class Fixed:
    """Gives three frames the scores it was told."""

    def __init__(self, *scores):
        self.scores = np.array(scores, np.float32)
        self.identity = {"name": "fixed", "scores": list(scores)}

    def __call__(self, frames, infos=None):
        return self.scores


ONE = Fixed(0.2, np.nan, np.nan)
TWO = Fixed(0.6, 0.6, np.nan)


def test_the_mean_leaves_out_who_has_no_answer():
    scores = EnsembleScorer([ONE, TWO])(FRAMES)
    np.testing.assert_allclose(scores, [0.4, 0.6, np.nan], rtol=1e-6)
    assert scores.dtype == np.float32


def test_weights_count_only_among_those_who_answer():
    scores = EnsembleScorer([ONE, TWO], weights=[3, 1])(FRAMES)
    np.testing.assert_allclose(scores, [0.3, 0.6, np.nan], rtol=1e-6)


def test_the_minimum_believes_whoever_sees_danger():
    scores = EnsembleScorer([ONE, TWO], combine="min")(FRAMES)
    np.testing.assert_allclose(scores, [0.2, 0.6, np.nan], rtol=1e-6)


@pytest.mark.parametrize("combine", ["mean", "min"])
def test_too_few_answers_are_no_answer(combine):
    scores = EnsembleScorer([ONE, TWO], combine, quorum=2)(FRAMES)
    assert np.isnan(scores).tolist() == [False, True, True]


class Paid(Fixed):
    """Wants a cent a frame, and says why it has no answer."""

    last_reasons = (None, "refused", "timed out")

    def price_estimate(self, frames):
        return 0.01 * frames


def test_prices_add_up_and_reasons_are_those_of_frames_without_a_label():
    both = EnsembleScorer([Paid(0.2, np.nan, np.nan), TWO, Paid(0.2, 0.2, np.nan)])
    assert both.price_estimate(100) == pytest.approx(2.0)
    assert EnsembleScorer([ONE, TWO]).price_estimate(100) is None
    both(FRAMES)
    assert both.last_reasons == [None, None, "timed out; timed out"]


def test_infos_reach_the_members_who_read_them():
    scores = EnsembleScorer([OracleScorer(), ConstantScorer(0.0)])(FRAMES, [SAFE_INFO] * 3)
    np.testing.assert_allclose(scores, 0.5, atol=1e-3)


def test_members_of_one_frame_and_of_several_work_together():
    scorer = make_scorer("ensemble:random:0+frames:3:random:0,combine=min")
    assert scorer.context_frames == 3
    rng = np.random.default_rng(0)
    windows = rng.integers(0, 256, (5, 3, 4, 4, 3)).astype(np.uint8)
    single = make_scorer("random:0")
    several = make_scorer("frames:3:random:0")(windows)
    np.testing.assert_allclose(scorer(windows), np.minimum(single(windows[:, -1]), several))


def test_what_a_scorer_depends_on_is_known_from_outside():
    def facts(spec):
        scorer = make_scorer(spec)
        return reads_infos(scorer), reads_history(scorer)

    assert facts("constant:0.5") == (False, False)
    assert facts("ensemble:oracle+constant:0.5") == (True, False)
    assert facts("ensemble:shuffled:constant:0.5+constant:0.5") == (False, True)
    assert facts("shuffled:oracle") == (True, True)
    assert facts("frames:2:oracle,combine=tile") == (True, False)
    assert facts("frames:2:random,combine=tile") == (False, False)


def test_an_ensemble_is_written_as_a_sum():
    scorer = make_scorer("ensemble:3*constant:0.2+constant:0.6")
    np.testing.assert_allclose(scorer(FRAMES), 0.3, rtol=1e-6)
    assert scorer.identity["weights"] == [0.75, 0.25]
    assert json.loads(json.dumps(scorer.identity)) == scorer.identity
    lowest = make_scorer("ensemble:constant:0.2+constant:0.6,combine=min")
    np.testing.assert_allclose(lowest(FRAMES), 0.2, rtol=1e-6)


def test_members_may_have_options_of_their_own(tiny_clip):
    scorer = make_scorer(f"ensemble:clip:{tiny_clip},form=cosine+constant:1,quorum=2")
    assert scorer.scorers[0].form == "cosine"
    assert scorer.quorum == 2
    with pytest.raises(ValueError, match="before another one"):
        make_scorer(f"ensemble:constant:1+clip:{tiny_clip},form=cosine")


@pytest.mark.parametrize(
    "options",
    [
        {"combine": "median"},
        {"weights": [1.0]},
        {"weights": [1.0, 0.0]},
        {"weights": [1.0, 2.0], "combine": "min"},
        {"quorum": 3},
        {"quorum": 0},
    ],
)
def test_impossible_ensembles_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        EnsembleScorer([ONE, TWO], **options)


def test_a_member_that_answers_nonsense_is_noticed():
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        EnsembleScorer([Fixed(0.2, 0.3, 1.5), TWO])(FRAMES)
    with pytest.raises(ValueError, match="shape"):
        EnsembleScorer([Fixed(0.2, 0.3), TWO])(FRAMES)
