"""Judging with a SigLIP checkpoint, and with other dual encoders, through the code for CLIP."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from siglip_folders import LENGTH, build_tokenizer, write_tiny_siglip, write_tiny_siglip2

from wrappers import ClipScorer, make_scorer
from wrappers.clip_loading import (
    FastPreprocessor,
    load_dual_encoder,
    own_temperature,
    text_features,
)
from wrappers.clip_scorer import SAFE_PROMPT, UNSAFE_PROMPT


def noise(count, height=40, width=40, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3)).astype(np.uint8)


def by_the_book(folder, frames):
    """Logits ``(N, 2)`` as SigLIP's documentation obtains them: full padding, no mask."""
    from transformers import AutoImageProcessor, AutoTokenizer, SiglipModel

    model = SiglipModel.from_pretrained(folder).eval()
    tokens = AutoTokenizer.from_pretrained(folder)(
        [SAFE_PROMPT, UNSAFE_PROMPT],
        padding="max_length",
        max_length=LENGTH,
        truncation=True,
        return_tensors="pt",
    )
    pixels = AutoImageProcessor.from_pretrained(folder, backend="pil")(
        list(frames), return_tensors="pt"
    )
    with torch.no_grad():
        return model(input_ids=tokens["input_ids"], **pixels).logits_per_image


def test_scores_are_the_contrast_of_the_models_own_logits(tiny_siglip):
    frames = noise(5)
    expected = by_the_book(tiny_siglip, frames).softmax(1)[:, 0].numpy()
    np.testing.assert_allclose(ClipScorer(tiny_siglip)(frames), expected, atol=5e-3)


def test_the_sigmoid_heads_scale_is_the_temperature_and_its_bias_plays_no_part(tiny_siglip):
    scorer = ClipScorer(tiny_siglip)
    assert scorer.temperature == pytest.approx(1 / 117.3, rel=1e-3)
    frames = noise(5)
    logits = by_the_book(tiny_siglip, frames).double().numpy()
    cosines = scorer.similarities(frames)
    np.testing.assert_allclose(cosines / scorer.temperature - 12.9, logits, atol=0.05)


def test_a_text_is_padded_to_full_length_and_not_masked(tiny_siglip):
    model, tokenizer, _ = load_dual_encoder(tiny_siglip)
    seen = {}

    def listen(module, arguments, keywords):
        seen.update(keywords)

    model.text_model.register_forward_pre_hook(listen, with_kwargs=True)
    text_features(model, tokenizer, ["a car", "the red car is fine"])
    assert seen["input_ids"].shape == (2, LENGTH)
    assert seen["attention_mask"] is None
    assert (seen["input_ids"][0, 3:] == 1).all()


def test_a_sentence_does_not_depend_on_those_beside_it(tiny_siglip):
    model, tokenizer, _ = load_dual_encoder(tiny_siglip)
    alone = text_features(model, tokenizer, ["a car"])[0]
    beside = text_features(model, tokenizer, ["the red car is not fine at all", "a car"])[1]
    torch.testing.assert_close(alone, beside)


@pytest.mark.parametrize("shape", [(224, 224), (64, 64), (24, 24), (50, 80), (81, 30)])
def test_fast_preprocessing_equals_siglips_image_processor(tiny_siglip, shape):
    processor = load_dual_encoder(tiny_siglip)[2]
    coarse = torch.from_numpy(noise(3, 9, 9)).permute(0, 3, 1, 2).float()
    smooth = torch.nn.functional.interpolate(coarse, shape, mode="bilinear")
    frames = smooth.permute(0, 2, 3, 1).round().byte().numpy()
    fast = FastPreprocessor(processor)
    assert fast.is_fast
    slow = processor(list(frames), return_tensors="pt")["pixel_values"]
    grey_levels = (fast(frames) - slow).abs() * 255 * min(processor.image_std)
    assert grey_levels.max() <= 1.01
    assert (grey_levels > 0.01).float().mean() < 0.001


@pytest.mark.parametrize("side", [24, 48, 96])
def test_frames_reduced_by_a_whole_number_come_out_equal(tiny_siglip, side):
    processor = load_dual_encoder(tiny_siglip)[2]
    frames = noise(3, side, side)
    slow = processor(list(frames), return_tensors="pt")["pixel_values"]
    difference = (FastPreprocessor(processor)(frames) - slow).abs() * 255 * min(processor.image_std)
    assert (difference > 0.01).float().mean() < 0.001


def test_a_processor_with_a_hidden_step_is_noticed_and_called_itself(tiny_siglip):
    processor = load_dual_encoder(tiny_siglip)[2]

    class Mirroring(type(processor)):
        def rescale(self, image, scale, **kwargs):
            return super().rescale(image[:, :, ::-1], scale, **kwargs)

    mirroring = Mirroring(size=processor.size)
    fast = FastPreprocessor(mirroring)
    frames = noise(2)
    assert not fast.is_fast
    expected = mirroring(list(frames), return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(fast(frames), expected)


def test_siglips_own_tokenizer_is_used_where_it_is_installed(tmp_path):
    learner = pytest.importorskip("sentencepiece")
    from transformers import SiglipTokenizer

    text = tmp_path / "text.txt"
    text.write_text("the red car is driving safely on the road\nan accident of a vehicle\n" * 20)
    ids = {"pad_id": -1, "bos_id": -1, "eos_id": 1, "unk_id": 2}
    learner.SentencePieceTrainer.train(
        input=str(text),
        model_prefix=str(tmp_path / "spiece"),
        vocab_size=60,
        hard_vocab_limit=False,
        minloglevel=2,
        **ids,
    )
    tokenizer = SiglipTokenizer(str(tmp_path / "spiece.model"), model_max_length=LENGTH)
    folder = write_tiny_siglip(tmp_path / "siglip", tokenizer)
    frames = noise(4)
    expected = by_the_book(folder, frames).softmax(1)[:, 0].numpy()
    np.testing.assert_allclose(ClipScorer(folder)(frames), expected, atol=5e-3)


def test_a_siglip_2_that_takes_patches_scores_like_the_model_itself(tmp_path):
    from transformers import Siglip2Model

    folder = write_tiny_siglip2(tmp_path)
    frames = noise(3, 40, 56)
    scorer = ClipScorer(folder)
    pixels = load_dual_encoder(folder)[2](list(frames), return_tensors="pt")
    with torch.no_grad():
        expected = Siglip2Model.from_pretrained(folder).eval().get_image_features(**pixels)
    expected = torch.nn.functional.normalize(expected.pooler_output, dim=-1)
    torch.testing.assert_close(scorer.image_features(frames), expected, atol=1e-5, rtol=1e-4)
    assert scorer(frames).shape == (3,)


def test_half_precision_scores_nearly_alike_and_says_so(tiny_siglip):
    frames = noise(4)
    half = ClipScorer(tiny_siglip, precision="bfloat16", temperature=0.1)
    whole = ClipScorer(tiny_siglip, temperature=0.1)
    np.testing.assert_allclose(half(frames), whole(frames), atol=0.05)
    assert half.identity["precision"] == "bfloat16"
    assert half.identity != whole.identity


def test_a_loader_that_runs_ahead_gets_the_same_features(tiny_siglip):
    scorer, frames = ClipScorer(tiny_siglip), noise(4)
    prepared = scorer.prepare(frames)
    assert prepared["pixel_values"].dtype == torch.uint8  # small to move
    torch.testing.assert_close(scorer.encode(prepared), scorer.image_features(frames))


def test_a_model_that_is_no_dual_encoder_is_refused_before_its_weights_are_read(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ValueError, match="BertModel, not a dual encoder"):
        make_scorer(tmp_path)


def test_a_model_without_a_temperature_needs_one(tiny_siglip, monkeypatch):
    assert own_temperature(torch.nn.Linear(1, 1)) is None
    monkeypatch.setattr("wrappers.clip_scorer.own_temperature", lambda model: None)
    with pytest.raises(ValueError, match="temperature"):
        ClipScorer(tiny_siglip)
    assert ClipScorer(tiny_siglip, temperature=0.5).temperature == 0.5


def test_the_tokenizer_of_these_tests_pads_as_siglip_does():
    tokens = build_tokenizer()(["a CAR"], padding="max_length")["input_ids"][0]
    assert tokens[:4] == [2, 4, 1, 1]
