"""Captions, losses, figures and the training loop of the small CLIP."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from clip_folders import TINY, random_facts, random_set

from vlsafe_agents.cli.clip_data import ROAD_WORDS
from wrappers import ClipScorer
from wrappers.clip_scorer import SAFE_PROMPT, UNSAFE_PROMPT
from wrappers.clip_training.captions import CaptionWriter, leaks, statements
from wrappers.clip_training.evaluation import (
    HELD_OUT_PROMPTS,
    PROMPT_PAIRS,
    auroc,
    evaluate,
    histograms,
)
from wrappers.clip_training.facts import RoadWords, facts_of_scene, time_to_events
from wrappers.clip_training.loss import contrast_pair_loss, contrastive_loss, patch_loss
from wrappers.clip_training.model import build_tokenizer
from wrappers.clip_training.patch_labels import contact_times, patch_labels
from wrappers.clip_training.phrases import denied
from wrappers.clip_training.trainer import ClipTrainer, TrainerConfig

PROMPTS = HELD_OUT_PROMPTS  # the paper's two are the first of them
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
    writer, rng = CaptionWriter(PROMPTS, ROAD_WORDS), np.random.default_rng(0)
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


def test_the_papers_prompts_and_all_that_figures_are_given_for_are_held_out(tmp_path):
    assert HELD_OUT_PROMPTS[:2] == (SAFE_PROMPT, UNSAFE_PROMPT)
    for pair in PROMPT_PAIRS.values():
        assert set(pair) <= set(HELD_OUT_PROMPTS)
    for prompt in HELD_OUT_PROMPTS:
        assert leaks(prompt, PROMPTS)  # five words at least, or nothing would hold it out
    assert ClipTrainer(random_set(60), tmp_path, TINY, QUICK).writer.held_out == HELD_OUT_PROMPTS


def test_denying_turns_a_phrase_round():
    rng = np.random.default_rng(0)
    assert denied(["safe"], rng) == "not safe"
    assert denied(["not in danger"], rng) == "in danger"
    assert denied(["crashed", "off the road"], rng) == "neither crashed nor off the road"


def test_contact_times_of_single_cases():
    ahead = (100.0, 0.0, 0.0, 10.0)  # 95 m of gap at 10 m/s closing speed
    beside, crossing = (0.0, 4.0, 0.0, 20.0), (40.0, 30.0, -np.pi / 2, 15.0)
    scene = scene_of((0.0, 0.0, 0.0, 20.0), ahead, beside, crossing, (3.0, 0.0, 0.0, 20.0))
    times = contact_times(scene[None])[0]
    # The crossing one's front reaches the strip, 1 m wide to its side, after 26.5 / 15 s; the
    # ego vehicle's front reaches its side, 1 m nearer, after 36.5 / 20 s: that is later.
    np.testing.assert_allclose(times[:5], [np.inf, 9.5, np.inf, 36.5 / 20, 0.0], atol=1e-6)
    assert np.isinf(times[5:]).all()


def test_patch_labels_say_where_danger_is():
    scene = scene_of((0, 0, 0.0, 20), (30, 1, 0.0, 5), (20, 12, np.pi / 2, 10), (-40, 0, 0.0, 9))
    labels = patch_labels(scene[None], 8)[0]  # 8 m a patch; ego in row 6, column 4
    assert set(zip(*np.nonzero(labels[..., 0]), strict=True)) == {(2, 4), (3, 5)}
    np.testing.assert_allclose(labels[2, 4, 2:], [-1.5, 0.0], atol=1e-6)  # slower by 15 m/s
    np.testing.assert_allclose(labels[3, 5, 2:], [-2.0, 1.0], atol=1e-6)
    assert labels[2, 4, 1] > 0.8  # 25 m at 15 m/s: 1.7 s
    assert labels[3, 5, 1] < 0.1  # drives away to the right
    for turn in (1.0, 4.0):  # nothing of it depends on where the road leads
        turned = scene.copy()
        cos, sin = np.cos(turn), np.sin(turn)
        turned[:, :2] = scene[:, :2] @ np.array([[cos, sin], [-sin, cos]])
        turned[:, 2] += turn
        np.testing.assert_allclose(patch_labels(turned[None], 8)[0], labels, atol=1e-4)


def test_mirrored_patches_are_the_labels_of_the_mirrored_scene(tmp_path):
    trainer = ClipTrainer(random_set(60), tmp_path, TINY, QUICK)
    rows, mirror = np.arange(20), np.ones(20, bool)
    found = trainer._patches(rows, mirror)
    mirrored = trainer.data.scenes[rows].copy()
    cos, sin = np.cos(mirrored[:, :1, 2]), np.sin(mirrored[:, :1, 2])
    dx, dy = mirrored[..., 0] - mirrored[:, :1, 0], mirrored[..., 1] - mirrored[:, :1, 1]
    ahead, right = dx * cos + dy * sin, dy * cos - dx * sin
    mirrored[..., 0], mirrored[..., 1] = ahead, -right
    mirrored[..., 2] = -(mirrored[..., 2] - mirrored[:, :1, 2])
    expected = patch_labels(mirrored, 2).reshape(20, 4, 4)
    torch.testing.assert_close(found, torch.from_numpy(expected), atol=1e-3, rtol=0)


def test_patch_loss_counts_danger_and_velocity_only_where_there_is_a_vehicle():
    labels = torch.zeros(1, 2, 4)
    labels[0, 0] = torch.tensor([1.0, 1.0, -1.0, 0.5])
    right = torch.tensor([[[20.0, 20.0, -1.0, 0.5], [-20.0, 9.0, 7.0, 7.0]]])
    assert patch_loss(right, labels) < 1e-6
    assert patch_loss(right - 2 * torch.tensor([0.0, 0.0, 1.0, 0.0]), labels) > 0.5
    assert patch_loss(right, torch.zeros(1, 2, 4)) == pytest.approx(10.0, abs=1e-3)


def test_histograms_give_shares_and_the_cost_of_p():
    facts = random_facts(400)
    table = histograms(np.where(facts.time_to_collision < 2, 0.25, 0.95), facts)
    assert table["calm"]["shares"][9] == 1.0
    assert table["calm"]["mean cost"] == 0.0
    assert table["time to collision under 2 s"]["shares"][2] == 1.0
    assert table["time to collision under 2 s"]["mean cost"] == pytest.approx(0.5)


def test_a_leak_is_five_words_in_a_row():
    assert leaks("A red vehicle is driving safely here", PROMPTS)
    assert not leaks("the red vehicle is driving along safely", PROMPTS)


def test_captions_are_true_of_the_frame_they_are_written_for():
    writer, rng, facts = (
        CaptionWriter(PROMPTS, ROAD_WORDS),
        np.random.default_rng(1),
        random_facts(200),
    )
    truths = [
        float(writer.about(facts.select([i]), rng).truth(facts.select([i]))[0]) for i in range(200)
    ]
    assert np.mean(np.array(truths) > 0.5) > 0.9  # an even frame may be called safe or unsafe
    assert np.mean(truths) > 0.8


def test_truths_are_degrees_for_every_frame():
    facts = random_facts(500)
    for statement in statements(ROAD_WORDS):
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


def test_a_run_can_be_prolonged(tmp_path):
    whole = ClipTrainer(random_set(60), tmp_path / "whole", TINY, replace(QUICK, cooldown=0.0))
    whole.train()
    short = replace(QUICK, cooldown=0.0, steps=2)
    ClipTrainer(random_set(60), tmp_path / "parts", TINY, short).train()
    longer = ClipTrainer(random_set(60), tmp_path / "parts", TINY, replace(short, steps=4))
    assert longer.step == 2
    assert longer.seconds > 0
    for one, two in zip(whole.model.parameters(), longer.train().parameters(), strict=True):
        torch.testing.assert_close(one, two)


def test_a_checkpoint_of_another_configuration_is_refused(tmp_path):
    ClipTrainer(random_set(60), tmp_path, TINY, QUICK).train()
    with pytest.raises(ValueError, match="another configuration"):
        ClipTrainer(random_set(50), tmp_path, TINY, QUICK)


@pytest.mark.parametrize(
    "content", [b"", b"PK hello", b"version https://git-lfs.github.com/spec/v1"]
)
def test_a_damaged_checkpoint_is_named_with_the_remedy(tmp_path, content):
    (tmp_path / "checkpoint.pt").write_bytes(content)
    with pytest.raises(ValueError, match=r"checkpoint\.pt.*remove it to start afresh"):
        ClipTrainer(random_set(50), tmp_path, TINY, QUICK)
    (tmp_path / "checkpoint.pt").unlink()
    (tmp_path / "tokenizer" / "tokenizer.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"tokenizer.*to start afresh"):
        ClipTrainer(random_set(50), tmp_path, TINY, QUICK)


def test_an_interrupted_training_says_what_is_kept(tmp_path):
    trainer = ClipTrainer(random_set(50), tmp_path, TINY, QUICK)

    def interrupt(step, losses):
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="at step 3: the checkpoint of step 2 is kept"):
        trainer.train(interrupt)
    assert ClipTrainer(random_set(50), tmp_path, TINY, QUICK).step == 2


def test_a_saved_model_replaces_another_file_by_file(tmp_path):
    trainer = ClipTrainer(random_set(50), tmp_path / "run", TINY, QUICK)
    trainer.save(tmp_path / "model")
    (tmp_path / "model" / "notes.txt").write_text("mine")
    trainer.save(tmp_path / "model")
    names = sorted(path.name for path in (tmp_path / "model").iterdir())
    assert "notes.txt" in names
    assert not [name for name in names if name.startswith(".")]
    ClipScorer(tmp_path / "model")


@pytest.mark.parametrize(
    "content", [b"", b"PK hello", b"version https://git-lfs.github.com/spec/v1"]
)
def test_a_damaged_start_is_named(tmp_path, content):
    ClipTrainer(random_set(50), tmp_path / "run", TINY, QUICK).save(tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        ClipTrainer(random_set(50), tmp_path / "next", TINY, QUICK, start=tmp_path / "model")


def test_training_starts_from_a_saved_model(tmp_path):
    data = random_set(60)
    earlier = ClipTrainer(data, tmp_path / "earlier", TINY, QUICK)
    earlier.train()
    earlier.save(tmp_path / "model")
    saved = {name: value.half().float() for name, value in earlier.model.state_dict().items()}
    later = ClipTrainer(data, tmp_path / "later", TINY, QUICK, start=tmp_path / "model")
    for name, value in later.model.state_dict().items():
        torch.testing.assert_close(value.float(), saved[name], msg=name)
    assert later.tokenizer.get_vocab() == earlier.tokenizer.get_vocab()
    later.train()
    with pytest.raises(ValueError, match="another configuration"):
        ClipTrainer(data, tmp_path / "later", TINY, QUICK)
    wider = replace(TINY, vision_width=2 * TINY.vision_width)
    with pytest.raises(ValueError, match="other sizes"):
        ClipTrainer(data, tmp_path / "wider", wider, QUICK, start=tmp_path / "model")


def test_scenarios_where_roads_cross_are_drawn_more_often(tmp_path):
    data = random_set(400)
    assert set(data.facts.scenario) == {0, 1, 2, 3}
    config = TrainerConfig(crossing_weight=3.0)
    roads = [RoadWords(str(kind), ("a road",), crossing=kind > 1) for kind in range(4)]
    chance = ClipTrainer(data, tmp_path, TINY, config, roads=roads)._chance
    shares = [chance[data.facts.scenario == kind].sum() for kind in range(4)]
    np.testing.assert_allclose(shares, np.array([1, 1, 3, 3]) / 8, rtol=0.05)


def test_a_set_without_danger_is_refused(tmp_path):
    data = random_set(60)
    rows = np.flatnonzero(data.facts.safety > 0.5)
    safe = type(data)(
        data.frames[rows], data.small_frames[rows], data.scenes[rows], data.facts.select(rows)
    )
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
    figures = evaluate(ClipScorer(tmp_path / "model")(unseen.frames), unseen.facts)
    assert figures["time to collision under 2 s"] > 0.9
