"""Captions, losses, figures and the training loop of the small CLIP."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from clip_folders import TINY, random_facts, random_set

from wrappers import ClipScorer
from wrappers.clip_scorer import SAFE_PROMPT, UNSAFE_PROMPT
from wrappers.clip_training.captions import STATEMENTS, CaptionWriter, leaks
from wrappers.clip_training.evaluation import auroc, evaluate
from wrappers.clip_training.facts import facts_of_scene, time_to_events
from wrappers.clip_training.loss import contrast_pair_loss, contrastive_loss
from wrappers.clip_training.model import build_tokenizer
from wrappers.clip_training.trainer import ClipTrainer, TrainerConfig

PROMPTS = (SAFE_PROMPT, UNSAFE_PROMPT)
QUICK = TrainerConfig(steps=4, batch_size=16, captions=8, pairs=4, warmup=1, checkpoint_every=2)


def scene_of(*vehicles):
    scene = np.zeros((48, 7), np.float32)
    for row, (x, y, heading, speed) in enumerate(vehicles):
        scene[row] = (x, y, heading, speed, 5, 2, 1)
    return scene


def test_facts_know_who_is_where_whatever_the_heading():
    # Ego at 20 m/s; one 25 m ahead at 15 m/s, one beside on the right, one 12 m behind.
    placed = [(0, 0, 20), (25, 0, 15), (2, 4, 20), (-12, 0, 22)]
    for turn in (0.0, 1.0, np.pi / 2, 4.0):
        cos, sin = np.cos(turn), np.sin(turn)
        rows = [(f * cos - r * sin, f * sin + r * cos, turn, v) for f, r, v in placed]
        facts = facts_of_scene(scene_of(*rows))
        assert facts["gap_ahead"] == pytest.approx(20, abs=1e-4)
        assert facts["closing_ahead"] == pytest.approx(5, abs=1e-4)
        assert facts["gap_behind"] == pytest.approx(7, abs=1e-4)
        assert facts["closing_behind"] == pytest.approx(2, abs=1e-4)
        assert (facts["left"], facts["right"], facts["count"]) == (0, 1, 3)


def test_an_empty_scene_has_no_gaps_and_a_wrong_one_is_refused():
    facts = facts_of_scene(scene_of((3, 4, 0.5, 10)))
    assert np.isinf(facts["gap_ahead"])
    assert facts["count"] == 0
    with pytest.raises(ValueError, match="shape"):
        facts_of_scene(np.zeros((48, 5)))
    with pytest.raises(ValueError, match="ego"):
        facts_of_scene(np.zeros((48, 7)))


def test_time_to_events_stays_inside_an_episode():
    event = np.array([0, 0, 1, 0, 0, 0, 1], bool)
    last = np.array([0, 0, 1, 0, 1, 0, 1], bool)
    expected = [1.0, 0.5, 0.0, np.inf, np.inf, 0.5, 0.0]
    np.testing.assert_array_equal(time_to_events(event, last, 0.5), expected)


def test_no_caption_repeats_a_held_out_prompt():
    writer, rng = CaptionWriter(PROMPTS), np.random.default_rng(0)
    facts = random_facts(300)
    texts = [writer.about(facts.select([i]), rng).text for i in range(300)]
    texts += [make(rng).text for make in (writer.safe, writer.unsafe) for _ in range(1000)]
    prompt_words = [
        " ".join(prompt.lower().replace(",", "").strip(".").split()) for prompt in PROMPTS
    ]
    for text in texts:
        plain = " ".join(text.lower().replace(",", "").replace(".", "").split())
        assert not any(prompt in plain for prompt in prompt_words)
        assert not leaks(text, PROMPTS)
    assert len(set(texts)) > 1500  # many wordings, not a few


def test_a_leak_is_five_words_in_a_row():
    assert leaks("A red vehicle is driving safely here", PROMPTS)
    assert not leaks("the red vehicle is driving along safely", PROMPTS)


def test_captions_are_true_of_the_frame_they_are_written_for():
    writer, rng, facts = CaptionWriter(PROMPTS), np.random.default_rng(1), random_facts(200)
    truths = [
        float(writer.about(facts.select([i]), rng).truth(facts.select([i]))[0]) for i in range(200)
    ]
    assert np.mean(np.array(truths) > 0.5) > 0.9  # an even frame may be called safe or unsafe
    assert np.mean(truths) > 0.8


def test_truths_are_degrees_for_every_frame():
    facts = random_facts(500)
    for statement in STATEMENTS:
        truth = statement.truth(facts)
        assert truth.shape == (500,), statement.name
        assert ((truth >= 0) & (truth <= 1)).all(), statement.name


def test_mirroring_exchanges_left_and_right_only():
    facts = random_facts(50)
    twice = facts.mirrored(np.ones(50, bool)).mirrored(np.ones(50, bool))
    np.testing.assert_array_equal(twice.left, facts.left)
    np.testing.assert_array_equal(facts.mirrored(np.ones(50, bool)).left, facts.right)


def test_contrastive_loss_is_clips_when_each_caption_fits_one_frame():
    logits = torch.randn(6, 6, generator=torch.Generator().manual_seed(0))
    target = torch.arange(6)
    clip = (
        torch.nn.functional.cross_entropy(logits, target)
        + torch.nn.functional.cross_entropy(logits.T, target)
    ) / 2
    torch.testing.assert_close(contrastive_loss(logits, torch.eye(6)), clip)


def test_contrastive_loss_equals_a_loop_when_captions_fit_many_frames():
    rng = np.random.default_rng(0)
    logits, truth = rng.normal(size=(5, 4)), rng.random((5, 4))
    truth[:, 1] = 0  # a caption that fits nothing is left out

    def slow(scores, degrees):
        losses = []
        for row, degree in zip(scores, degrees, strict=True):
            if degree.sum() > 0:
                log = row - np.log(np.exp(row).sum())
                losses.append(
                    -sum(d * value for d, value in zip(degree / degree.sum(), log, strict=True))
                )
        return np.mean(losses)

    expected = (slow(logits, truth) + slow(logits.T, truth.T)) / 2
    found = contrastive_loss(torch.tensor(logits), torch.tensor(truth))
    assert found.item() == pytest.approx(expected)


def test_the_pair_loss_is_least_when_the_judgement_equals_the_safety():
    safety = torch.tensor([0.9, 0.2])
    right = torch.logit(safety)[:, None]
    zero = torch.zeros_like(right)
    best = contrast_pair_loss(right, zero, safety)
    for shift in (-0.3, 0.3):
        assert contrast_pair_loss(right + shift, zero, safety) > best


def test_auroc_equals_counting_all_pairs():
    rng = np.random.default_rng(0)
    for levels in (1000, 5):  # without and with ties
        risk, positive = rng.integers(0, levels, 80).astype(float), rng.random(80) < 0.3
        pairs = [(r > s) + 0.5 * (r == s) for r in risk[positive] for s in risk[~positive]]
        assert auroc(risk, positive) == pytest.approx(np.mean(pairs))


def test_auroc_of_one_kind_or_of_nan_is_refused():
    with pytest.raises(ValueError, match="both kinds"):
        auroc([0.1, 0.2], [True, True])
    with pytest.raises(ValueError, match="NaN"):
        auroc([0.1, np.nan], [True, False])


def test_the_tokenizer_expresses_words_that_it_has_not_seen(tmp_path):
    from transformers import AutoTokenizer

    tokenizer = build_tokenizer(["the red car crashes"], TINY)
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    for text in ("the red car crashes", "Zebrafish, über 300 km/h!"):
        ids = tokenizer(text)["input_ids"]
        assert loaded(text)["input_ids"] == ids
        assert tokenizer.unk_token_id not in ids[1:-1]
        assert tokenizer.decode(ids, skip_special_tokens=True).replace(" ", "") == (
            text.lower().replace(" ", "")
        )


def test_training_goes_on_after_a_stop_as_if_there_had_been_none(tmp_path):
    data = random_set(60)
    whole = ClipTrainer(data, tmp_path / "whole", TINY, QUICK).train()

    def stop(step, losses):
        if step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ClipTrainer(data, tmp_path / "parts", TINY, QUICK).train(stop)
    resumed = ClipTrainer(data, tmp_path / "parts", TINY, QUICK)
    assert resumed.step == 2
    for one, two in zip(whole.parameters(), resumed.train().parameters(), strict=True):
        torch.testing.assert_close(one, two)


def test_a_checkpoint_of_another_configuration_is_refused(tmp_path):
    ClipTrainer(random_set(60), tmp_path, TINY, QUICK).train()
    with pytest.raises(ValueError, match="another configuration"):
        ClipTrainer(random_set(50), tmp_path, TINY, QUICK)


def test_a_set_without_danger_is_refused(tmp_path):
    data = random_set(60)
    rows = np.flatnonzero(data.facts.safety > 0.5)
    safe = type(data)(data.frames[rows], data.small_frames[rows], data.facts.select(rows))
    with pytest.raises(ValueError, match="only one kind"):
        ClipTrainer(safe, tmp_path, TINY, QUICK)


def test_a_short_training_learns_to_judge_with_prompts_it_never_saw(tmp_path):
    config = TrainerConfig(
        steps=60, batch_size=32, captions=8, pairs=8, warmup=5, learning_rate=3e-3
    )
    trainer = ClipTrainer(random_set(300), tmp_path, TINY, config)
    trainer.train()
    trainer.save(tmp_path / "model")
    unseen = random_set(200, seed=7)
    table = evaluate({"trained": ClipScorer(tmp_path / "model")}, unseen.frames, unseen.facts)
    assert table["trained"]["time to collision under 2 s"] > 0.9
