"""A generative VLM of ``transformers`` as scorer, loaded as any other would be."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from vlm_folders import build_idefics3, build_llava, grey_frames, save, teach

from wrappers import SafetyScorer, make_scorer
from wrappers.generative.local_scorer import LocalQuestion, LocalVLMScorer, make_local_vlm_scorer
from wrappers.generative.outcomes import Status

FIRST_TOKEN, TEXT = LocalQuestion(), LocalQuestion(reading="text")
ANY_MASS = LocalQuestion(least_mass=0.0)
TURNED = FIRST_TOKEN.opposite
WORDS = [
    FIRST_TOKEN.text(1),
    TEXT.text(1),
    TURNED.text(1),
    "yes no Yes No",
    '{"safe": "yes"} {"safe": "no"}',
]
LEVELS = np.arange(16, 256, 32)  # of grey; from 128 upwards is "safe" in the lessons


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """A tiny LLaVA that calls bright pictures safe, in one word or in JSON as it is asked."""
    torch.manual_seed(0)
    model, processor = build_llava(WORDS)
    lessons = []
    for level, frame in zip(LEVELS, grey_frames(LEVELS), strict=True):
        word = "yes" if level >= 128 else "no"
        lessons.append((FIRST_TOKEN.text(1), word, frame))
        lessons.append((TEXT.text(1), json.dumps({"safe": word}), frame))
    teach(model, processor, lessons)
    return save(tmp_path_factory.mktemp("taught"), model, processor)


@pytest.fixture(scope="module", params=[build_llava, build_idefics3])
def untaught(request, tmp_path_factory):
    torch.manual_seed(1)
    model, processor = request.param(WORDS)
    return save(tmp_path_factory.mktemp("untaught"), model, processor)


def test_the_score_is_the_share_of_yes_among_yes_and_no_by_the_book(untaught):
    from transformers import AutoModelForImageTextToText, AutoProcessor

    frames = grey_frames([10, 120, 240])
    model = AutoModelForImageTextToText.from_pretrained(untaught, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(untaught)
    content = [{"type": "image"}, {"type": "text", "text": ANY_MASS.text(1)}]
    prompt = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    expected = []
    for frame in frames:
        inputs = processor(text=[prompt], images=[[Image.fromarray(frame)]], return_tensors="pt")
        with torch.no_grad():
            p = model(**inputs).logits[0, -1].softmax(-1)
        mass = {
            word: sum(
                p[processor.tokenizer(text, add_special_tokens=False)["input_ids"][0]]
                for text in (word, f" {word}", word.title(), f" {word.title()}")
            )
            for word in ("yes", "no")
        }
        expected.append(float(mass["yes"] / (mass["yes"] + mass["no"])))
    scorer = LocalVLMScorer(untaught, ANY_MASS)
    np.testing.assert_allclose(scorer(frames), expected, atol=1e-5)
    assert len(set(expected)) == 3
    assert isinstance(scorer, SafetyScorer)


def test_asked_for_danger_the_same_model_reads_other_words(untaught):
    frames = grey_frames([10, 240])
    scorer = LocalVLMScorer(untaught, ANY_MASS)
    other = scorer.opposite()
    assert other.vlm is scorer.vlm  # once in memory
    assert "Is the red car in danger?" in other.identity["prompt"]
    np.testing.assert_array_equal(other(frames), LocalVLMScorer(untaught, other.question)(frames))
    assert (other(frames) != scorer(frames)).all()
    assert other.opposite() is None
    assert LocalQuestion(reading="text").opposite is None  # its key says "safe"


@pytest.mark.parametrize("question", [FIRST_TOKEN, TEXT], ids=["first token", "text"])
def test_what_a_model_has_learned_to_say_is_what_is_read(taught, question):
    scorer = LocalVLMScorer(taught, question, batch_size=3)
    scores = scorer(grey_frames(LEVELS))
    assert scores.dtype == np.float32
    assert (scores[LEVELS < 128] < 0.2).all()
    assert (scores[LEVELS >= 128] > 0.8).all()
    assert scorer.counts == {"labelled": len(LEVELS)}
    sources = {outcome.source for outcome in scorer.answers.outcomes}
    assert sources == ({"logprobs"} if question is FIRST_TOKEN else {"json"})


def test_batches_change_nothing(untaught):
    frames = np.random.default_rng(0).integers(0, 256, (7, 24, 24, 3)).astype(np.uint8)
    whole = LocalVLMScorer(untaught, ANY_MASS, batch_size=7)(frames)
    parts = LocalVLMScorer(untaught, ANY_MASS, batch_size=2)(frames)
    np.testing.assert_allclose(whole, parts, atol=1e-6)
    assert LocalVLMScorer(untaught)(frames[:0]).shape == (0,)


def test_a_model_that_wants_to_say_something_else_gives_no_label(untaught):
    scorer = LocalVLMScorer(untaught, LocalQuestion(least_mass=0.5))
    assert np.isnan(scorer(grey_frames([10, 240]))).all()
    assert set(scorer.unlabelled) == {0, 1}
    outcome = scorer.unlabelled[1]
    assert outcome.status == Status.MALFORMED
    assert "the answers yes, no have a probability of 0.0" in outcome.detail
    assert "would rather say" in outcome.detail
    assert scorer.last_reasons[1] == f"malformed: {outcome.detail}"


def test_babble_and_cut_answers_give_no_label(untaught, taught):
    babble = LocalVLMScorer(untaught, LocalQuestion(reading="text", max_tokens=5))
    assert np.isnan(babble(grey_frames([10, 240]))).all()
    assert babble.counts["labelled"] == 0
    cut = LocalVLMScorer(taught, LocalQuestion(reading="text", max_tokens=3))
    assert np.isnan(cut(grey_frames([10, 240]))).all()
    assert cut.counts == {"truncated": 2}


def test_grades_are_means_over_the_digits(untaught):
    question = LocalQuestion(answer="grade", least_mass=0.0)
    scorer = LocalVLMScorer(untaught, question)
    frames = grey_frames([10, 240])
    prompt = scorer.vlm.prompt(question.text(1), 1)
    p = scorer.vlm.next_token(scorer.vlm.inputs(prompt, frames[:, None])).double()
    digits = scorer.vlm.tokenizer.convert_tokens_to_ids(list("0123456789"))
    mass = p[:, digits].numpy()
    expected = (mass @ np.arange(10) / 9) / mass.sum(1)
    np.testing.assert_allclose(scorer(frames), expected, atol=1e-6)


def test_several_frames_are_seen_in_their_order(untaught):
    windows = np.stack([grey_frames([10, 100, 240]), grey_frames([240, 100, 10])])
    scorer = LocalVLMScorer(untaught, ANY_MASS, context_frames=3)
    scores = scorer(windows)
    assert scores[0] != scores[1]
    np.testing.assert_array_equal(
        LocalVLMScorer(untaught, ANY_MASS).ask_clips(windows).scores, scores
    )
    with pytest.raises(ValueError, match="3 frames"):
        scorer(grey_frames([1]))


def test_identity_tells_models_and_questions_apart(untaught, taught):
    scorers = [
        LocalVLMScorer(untaught),
        LocalVLMScorer(taught),
        LocalVLMScorer(untaught, ANY_MASS),
        LocalVLMScorer(untaught, TEXT),
        LocalVLMScorer(untaught, LocalQuestion(answer="grade")),
        LocalVLMScorer(untaught, LocalQuestion(request="Safe? Answer yes or no.")),
        LocalVLMScorer(untaught, context_frames=2),
        LocalVLMScorer(untaught, precision="bfloat16"),
    ]
    texts = {json.dumps(scorer.identity, sort_keys=True) for scorer in scorers}
    assert len(texts) == len(scorers)
    again = LocalVLMScorer(untaught, batch_size=2)
    assert again.identity == scorers[0].identity


def test_half_precision_is_close(taught):
    frames = grey_frames(LEVELS)
    half = LocalVLMScorer(taught, precision="bfloat16")(frames)
    np.testing.assert_allclose(half, LocalVLMScorer(taught)(frames), atol=0.05)


def test_a_copy_from_a_pickle_scores_alike(untaught):
    scorer = LocalVLMScorer(untaught, ANY_MASS)
    pickled = pickle.dumps(scorer)
    assert len(pickled) < 2000  # by name, without weights
    frames = grey_frames([10, 240])
    np.testing.assert_array_equal(pickle.loads(pickled)(frames), scorer(frames))


def test_it_is_built_from_its_name_and_options(untaught):
    scorer = make_scorer(f"local-vlm:{untaught}", answer="grade", batch_size=3, least_mass=0.0)
    assert isinstance(scorer, LocalVLMScorer)
    assert (scorer.question.answer, scorer.batch_size) == ("grade", 3)
    assert not np.isnan(scorer(grey_frames([10]))).any()


@pytest.mark.parametrize(
    ("argument", "options", "word"),
    [
        (None, {}, "local-vlm:HuggingFaceTB"),
        ("no such folder", {}, "no such folder"),
        ("x", {"tempreature": 1}, "tempreature"),
        ("x", {"answer": "stars"}, "stars"),
        ("x", {"answer": "probability"}, "reading='text'"),
        ("x", {"reading": "logits"}, "logits"),
        ("x", {"least_mass": 2.0}, "least_mass"),
        ("x", {"max_tokens": 0}, "max_tokens"),
        ("x", {"batch_size": 0}, "batch_size"),
        ("x", {"context_frames": 0}, "context_frames"),
        ("x", {"precision": "float8"}, "float8"),
    ],
)
def test_impossible_settings_are_refused_by_name(argument, options, word):
    with pytest.raises(ValueError, match=word):
        make_local_vlm_scorer(argument, **options)


def test_checkpoints_that_cannot_answer_are_refused_with_the_remedy(tmp_path, tiny_clip):
    with pytest.raises(ValueError, match=r"config\.json is missing"):
        LocalVLMScorer(tmp_path)
    with pytest.raises(ValueError, match="cannot load a VLM"):
        LocalVLMScorer(tiny_clip)
    dumb = save(tmp_path / "dumb", *build_llava(WORDS, template=None))
    with pytest.raises(ValueError, match="no chat template"):
        LocalVLMScorer(dumb)
    wordless = save(tmp_path / "wordless", *build_llava(["sim nao"]))
    with pytest.raises(ValueError, match=r"no token for the answer 'yes'.*reading='text'"):
        LocalVLMScorer(wordless)
