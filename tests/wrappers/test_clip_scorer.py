"""Judging with a CLIP checkpoint, whoever trained it."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from clip_folders import write_tiny_clip

from wrappers import ClipScorer, make_scorer
from wrappers.clip_loading import FastPreprocessor, image_processor_class
from wrappers.clip_scorer import SAFE_PROMPT, UNSAFE_PROMPT


def noise(count, height=40, width=40, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3)).astype(np.uint8)


def test_scores_equal_the_model_called_by_the_book(tiny_clip):
    from transformers import AutoTokenizer, CLIPModel

    frames = noise(5)
    model = CLIPModel.from_pretrained(tiny_clip, dtype=torch.float32).eval()
    tokens = AutoTokenizer.from_pretrained(tiny_clip)(
        [SAFE_PROMPT, UNSAFE_PROMPT], padding=True, return_tensors="pt"
    )
    pixels = image_processor_class().from_pretrained(tiny_clip)(list(frames), return_tensors="pt")
    with torch.no_grad():
        logits = model(**tokens, **pixels).logits_per_image  # (5, 2)
    expected = logits.softmax(1)[:, 0].numpy()
    np.testing.assert_allclose(ClipScorer(tiny_clip)(frames), expected, atol=2e-3)


def test_the_prompts_are_the_papers_by_default(tiny_clip):
    assert ClipScorer(tiny_clip).identity["prompts"] == [
        "red vehicle is driving safely with no car accidents.",
        "The red car is deviating from its trajectory, driving off the road, "
        "or encountering an accident.",
    ]


def test_forms_follow_their_formulas(tiny_clip):
    frames = noise(6)
    safe, unsafe = ClipScorer(tiny_clip).similarities(frames).T
    for temperature in (0.01, 1.0):
        scorer = ClipScorer(tiny_clip, temperature=temperature)
        expected = np.exp(safe / temperature) / (
            np.exp(safe / temperature) + np.exp(unsafe / temperature)
        )
        np.testing.assert_allclose(scorer(frames), expected, rtol=1e-4)
    cosine = ClipScorer(tiny_clip, form="cosine")(frames)
    np.testing.assert_allclose(cosine, np.clip(safe, 0, 1), atol=1e-6)
    margin = ClipScorer(tiny_clip, form="margin", margin=0.05)(frames)
    np.testing.assert_allclose(margin, 1 - np.clip(unsafe - safe, 0, 0.05) / 0.05, atol=1e-5)


def test_one_look_serves_many_prompts(tiny_clip):
    frames, other = noise(5), ("fine", "not fine at all")
    features = ClipScorer(tiny_clip, batch_size=2).image_features(frames)
    assert features.shape == (5, 16)
    for prompts in ((SAFE_PROMPT, UNSAFE_PROMPT), other):
        scorer = ClipScorer(tiny_clip, prompts)
        np.testing.assert_allclose(scorer.score(features), scorer(frames), atol=1e-5)
    assert ClipScorer(tiny_clip).score(features[:0]).shape == (0,)


def test_swapping_the_prompts_turns_the_judgement_round(tiny_clip):
    frames = noise(4)
    one = ClipScorer(tiny_clip)(frames)
    two = ClipScorer(tiny_clip, prompts=(UNSAFE_PROMPT, SAFE_PROMPT))(frames)
    np.testing.assert_allclose(one + two, 1, atol=1e-6)


def test_batching_does_not_change_scores(tiny_clip):
    frames = noise(7)
    whole = ClipScorer(tiny_clip, batch_size=64)(frames)
    parts = ClipScorer(tiny_clip, batch_size=3)(frames)
    np.testing.assert_allclose(whole, parts, atol=1e-6)
    assert ClipScorer(tiny_clip)(frames[:0]).shape == (0,)


@pytest.mark.parametrize("shape", [(224, 224), (64, 64), (24, 24), (50, 80), (81, 30)])
def test_fast_preprocessing_equals_the_image_processor(tiny_clip, shape):
    processor = image_processor_class().from_pretrained(tiny_clip)
    coarse = torch.from_numpy(noise(3, 9, 9)).permute(0, 3, 1, 2).float()
    smooth = torch.nn.functional.interpolate(coarse, shape, mode="bilinear")
    frames = smooth.permute(0, 2, 3, 1).round().byte().numpy()
    slow = processor(list(frames), return_tensors="pt")["pixel_values"]
    fast = FastPreprocessor(processor)(frames)
    grey_level = 1 / 255 / min(processor.image_std)
    assert fast.shape == slow.shape
    assert (fast - slow).abs().max() <= 1.01 * grey_level


def test_fast_preprocessing_stays_close_on_hard_edges(tiny_clip):
    # Where the filter overshoots, PIL and PyTorch clip in another order: a few pixels differ.
    processor = image_processor_class().from_pretrained(tiny_clip)
    frames = noise(3, 50, 80)
    slow = processor(list(frames), return_tensors="pt")["pixel_values"]
    difference = (FastPreprocessor(processor)(frames) - slow).abs() * min(processor.image_std) * 255
    assert difference.mean() < 0.5


def test_a_processor_with_other_steps_is_called_itself(tiny_clip):
    processor = image_processor_class().from_pretrained(tiny_clip, do_normalize=False)
    frames = noise(2)
    slow = processor(list(frames), return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(FastPreprocessor(processor)(frames), slow)


def test_identity_names_the_weights(tiny_clip, tmp_path):
    other = write_tiny_clip(tmp_path / "other", seed=1)
    again = write_tiny_clip(tmp_path / "again", seed=0)
    hashes = [ClipScorer(path).identity["weights_sha256"] for path in (tiny_clip, other, again)]
    assert hashes[0] == hashes[2] != hashes[1]


def test_a_pickled_scorer_judges_alike(tiny_clip):
    scorer = ClipScorer(tiny_clip, temperature=0.5)
    frames = noise(2)
    for twin in (pickle.loads(pickle.dumps(scorer)), copy.deepcopy(scorer)):
        np.testing.assert_array_equal(twin(frames), scorer(frames))
        assert twin.identity == scorer.identity


def test_a_checkpoint_that_cannot_be_had_is_refused_with_the_remedy(tmp_path):
    with pytest.raises(ValueError, match='scorer="bundled"'):
        make_scorer("nobody/no-such-clip")
    with pytest.raises(ValueError, match=r"config\.json is missing"):
        make_scorer(tmp_path)


@pytest.mark.parametrize(
    "options",
    [
        {"form": "ratio"},
        {"prompts": ("only one",)},
        {"prompts": "a single sentence"},
        {"prompts": ("safe", " ")},
        {"temperature": 0.0},
        {"margin": -1.0},
        {"batch_size": 0},
    ],
)
def test_impossible_settings_are_refused(tiny_clip, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        ClipScorer(tiny_clip, **options)


def test_wrong_frames_are_refused(tiny_clip):
    scorer = ClipScorer(tiny_clip)
    with pytest.raises(ValueError, match="batch"):
        scorer(noise(1)[0])
    with pytest.raises(TypeError, match="uint8"):
        scorer(noise(1).astype(np.float32))
