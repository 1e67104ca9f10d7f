"""Sentences and forms of a dual encoder: ensembles of wordings, files, and what they change."""

from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest
import torch

from wrappers import ClipScorer, Prompts, forms, make_scorer
from wrappers.clip_loading import load_dual_encoder, text_features
from wrappers.prompts import read_prompts

SAFE = ("the car is safe", "no danger at all")
UNSAFE = ("an accident", "the car is off the road", "a crash")
FOLDERS = ("tiny_clip", "tiny_siglip")


def noise(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 40, 40, 3)).astype(np.uint8)


@pytest.fixture(params=FOLDERS)
def folder(request):
    return request.getfixturevalue(request.param)


def test_an_ensemble_of_wordings_is_the_unit_average_of_unit_features(folder):
    scorer = ClipScorer(folder, prompts=(SAFE, UNSAFE))
    model, tokenizer, _ = load_dual_encoder(folder)
    features = scorer.image_features(noise(4)).double()
    for column, sentences in enumerate((SAFE, UNSAFE)):
        total = sum(text_features(model, tokenizer, [s])[0].double() for s in sentences)
        expected = features @ (total / total.norm())
        found = scorer.similarities(noise(4))[:, column]
        np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)


def test_one_sentence_given_twice_changes_nothing(folder):
    once = ClipScorer(folder, prompts=(SAFE[0], UNSAFE[0]))
    twice = ClipScorer(folder, prompts=([SAFE[0]] * 2, UNSAFE[0]))
    np.testing.assert_allclose(once(noise(4)), twice(noise(4)), atol=1e-4)


def test_every_form_follows_its_formula(folder):
    def scores(**options):
        return ClipScorer(folder, **options)(noise(6))

    plain = ClipScorer(folder)
    safe, unsafe = plain.similarities(noise(6)).T
    model, tokenizer, _ = load_dual_encoder(folder)
    baseline = text_features(model, tokenizer, ["A car."])[0].double()
    goal = text_features(model, tokenizer, [plain.prompts[0]])[0].double()
    neutral = (plain.image_features(noise(6)).double() @ baseline).numpy()
    projected = forms.projection(safe, neutral, float(goal @ baseline), 0.3)
    middle = float(np.median(safe))
    assert set(forms.FORMS) == {
        "softmax", "cosine", "margin", "negative", "projection", "threshold", "softmax_threshold",
    }  # fmt: skip
    close = {"atol": 1e-5}
    found = scores(form="softmax", temperature=0.2)
    np.testing.assert_allclose(found, forms.softmax(safe, unsafe, 0.2), **close)
    np.testing.assert_allclose(scores(form="cosine"), np.clip(safe, 0, 1), **close)
    np.testing.assert_allclose(scores(form="negative"), np.clip(1 - unsafe, 0, 1), **close)
    np.testing.assert_allclose(scores(form="projection", alpha=0.3), projected, **close)
    np.testing.assert_array_equal(scores(form="threshold", threshold=middle), safe > middle)
    np.testing.assert_array_equal(scores(form="softmax_threshold"), safe > unsafe)
    wide = scores(form="margin", margin=0.5)
    np.testing.assert_allclose(wide, 1 - np.clip(unsafe - safe, 0, 0.5) / 0.5, **close)


def test_the_default_thresholds_are_the_published_ones(tiny_clip):
    assert ClipScorer(tiny_clip, form="threshold").identity["threshold"] == 0.32
    assert ClipScorer(tiny_clip, form="softmax_threshold").identity["threshold"] == 0.5


def test_the_identity_holds_what_the_scores_depend_on_and_nothing_else(tiny_clip):
    def differ(one, two):
        return ClipScorer(tiny_clip, **one).identity != ClipScorer(tiny_clip, **two).identity

    assert not differ({}, {"batch_size": 3})
    assert differ({"form": "cosine"}, {"form": "softmax"})
    assert differ({"form": "margin"}, {"form": "margin", "margin": 0.5})
    assert differ({"temperature": 1.0}, {"temperature": 2.0})
    assert differ({"form": "projection"}, {"form": "projection", "alpha": 0.1})
    assert differ({"form": "threshold"}, {"form": "threshold", "threshold": 0.1})
    assert differ({"prompts": (SAFE, UNSAFE)}, {"prompts": (SAFE[0], UNSAFE)})
    other_baseline = {"prompts": Prompts(baseline=("A road.",))}
    assert not differ({}, other_baseline)  # only the projection looks at it
    assert differ({"form": "projection"}, {"form": "projection", **other_baseline})
    identity = ClipScorer(tiny_clip, prompts=(SAFE, UNSAFE)).identity
    assert json.loads(json.dumps(identity)) == identity


def test_prompts_are_read_from_a_file(tiny_clip, tmp_path):
    path = tmp_path / "wording.json"
    path.write_text(json.dumps({"safe": SAFE[0], "unsafe": UNSAFE, "baseline": "A road."}))
    assert read_prompts(path) == Prompts((SAFE[0],), UNSAFE, ("A road.",))
    scorer = make_scorer(f"clip:{tiny_clip},prompts={path}")
    assert scorer.prompts == [SAFE[0], list(UNSAFE)]


@pytest.mark.parametrize(
    "content", ['{"safe": "a"}', '{"safe": "a", "unsafe": []}', '{"safe": "a", "bad": "b"}', "[]"]
)
def test_a_wrong_file_of_prompts_is_refused(tmp_path, content):
    path = tmp_path / "wording.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="prompts"):
        read_prompts(path)


def test_a_scorer_of_many_settings_is_pickled_whole(tiny_siglip):
    scorer = ClipScorer(tiny_siglip, (SAFE, UNSAFE), form="projection", alpha=0.2, batch_size=3)
    for twin in (pickle.loads(pickle.dumps(scorer)), copy.deepcopy(scorer)):
        np.testing.assert_array_equal(twin(noise(4)), scorer(noise(4)))
        assert twin.identity == scorer.identity
        assert twin.batch_size == 3


@pytest.mark.parametrize(
    "options", [{"alpha": 1.5}, {"alpha": -0.1}, {"precision": "int8"}, {"temperature": -1.0}]
)
def test_impossible_settings_are_refused(tiny_clip, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        ClipScorer(tiny_clip, **options)


def test_features_are_of_unit_length(folder):
    features = ClipScorer(folder).image_features(noise(3))
    torch.testing.assert_close(features.norm(dim=1), torch.ones(3))
