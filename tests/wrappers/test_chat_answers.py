"""Reading a model's answer: a label where it says one thing, and no number for anything else."""

from __future__ import annotations

import contextlib
import json
import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wrappers.generative.answers import FORMS, NoLabel, expected_score, read_answer
from wrappers.generative.outcomes import Status
from wrappers.generative.question import Question
from wrappers.generative.server import Features

GRADE, PROBABILITY, YES_NO = FORMS["grade"], FORMS["probability"], FORMS["yes_no"]


@pytest.mark.parametrize(
    ("form", "text", "score"),
    [
        (GRADE, '{"grade": 0}', 0.0),
        (GRADE, '{"grade": 9}', 1.0),
        (GRADE, '{"grade": 6.0}', 6 / 9),
        (GRADE, '{"grade": "6"}', 6 / 9),
        (GRADE, 'Here it is:\n```json\n{"grade": 6}\n```', 6 / 9),
        (GRADE, '<think>4? {"grade": 4}? no</think>{"grade": 6}', 6 / 9),
        (GRADE, '{"reason": {"gap": 3}, "grade": 6}', 6 / 9),
        (GRADE, '{"grade": 6} I am sure: {"grade": 6}', 6 / 9),
        (GRADE, "6", 6 / 9),
        (GRADE, '<thinking>{"grade": 4}?</thinking>6', 6 / 9),
        (GRADE, '[THINK]{"grade": 4}[/THINK] 6', 6 / 9),
        (GRADE, '◁think▷{"grade": 4}◁/think▷6', 6 / 9),
        (GRADE, '<seed:think>{"grade": 4}</seed:think>6', 6 / 9),
        (GRADE, '<|begin_of_thought|>{"grade": 4}<|end_of_thought|>\n6', 6 / 9),
        (GRADE, '<unused94>thought\n{"grade": 4}<unused95>6', 6 / 9),
        (GRADE, '<|channel>thought\n{"grade": 4}<channel|>6', 6 / 9),
        (GRADE, 'maybe {"grade": 4}? no.</think>\n\n6', 6 / 9),  # begun in the prompt
        (
            GRADE,
            '<|channel|>analysis<|message|>{"grade": 4}<|end|><|start|>assistant<|channel|>final '
            '<|constrain|>json<|message|>{"grade": 6}<|return|>',
            6 / 9,
        ),
        (GRADE, 'analysisSo {"grade": 4}? No.assistantfinal6', 6 / 9),
        (GRADE, "6<|im_end|>", 6 / 9),
        (GRADE, '{"grade": 6}</s>', 6 / 9),
        (GRADE, r"\boxed{6}", 6 / 9),
        (GRADE, r"The gap is 5 m. The answer is $\boxed{\text{6}}$.", 6 / 9),
        (GRADE, "Not 4. <answer>6</answer>", 6 / 9),
        (GRADE, '<output>{"grade": 6}</output>', 6 / 9),
        (GRADE, "<|begin_of_box|>6<|end_of_box|>", 6 / 9),
        (GRADE, 'One could say {"grade": 4}, but no.\nFinal answer: 6', 6 / 9),
        (GRADE, 'Answer: 4?\n\n**Final Answer:**\n```json\n{"grade": 6}\n```', 6 / 9),
        (GRADE, "The gap is 5 m.\n- Grade: **6**", 6 / 9),
        (GRADE, '{"draft": {"grade": 4}, "grade": 6}', 6 / 9),
        (YES_NO, r"\boxed{\text{Yes}}", 1.0),
        (YES_NO, "<think>no</think>Final answer: yes", 1.0),
        (PROBABILITY, "Final answer: 0.25", 0.25),
        (GRADE, " **Grade: 6**.", 6 / 9),
        (GRADE, "Answer: 6/9", 6 / 9),
        (PROBABILITY, '{"probability": 0.25}', 0.25),
        (PROBABILITY, '{"probability": 1}', 1.0),
        (PROBABILITY, "0.25", 0.25),
        (YES_NO, '{"safe": "yes"}', 1.0),
        (YES_NO, '{"safe": "No"}', 0.0),
        (YES_NO, '{"safe": true}', 1.0),
        (YES_NO, "No.", 0.0),
        (YES_NO, "safe: yes", 1.0),
    ],
)
def test_an_answer_that_says_one_thing_is_a_label(form, text, score):
    assert read_answer(text, form).score == pytest.approx(score)


@pytest.mark.parametrize(
    ("form", "text", "status"),
    [
        (GRADE, '{"grade": 10}', Status.OUT_OF_RANGE),
        (GRADE, '{"grade": -1}', Status.OUT_OF_RANGE),
        (GRADE, "-3", Status.OUT_OF_RANGE),
        (PROBABILITY, '{"probability": 1.01}', Status.OUT_OF_RANGE),
        (PROBABILITY, '{"probability": 70}', Status.OUT_OF_RANGE),
        (GRADE, '{"grade": 6.5}', Status.MALFORMED),
        (GRADE, '{"grade": true}', Status.MALFORMED),
        (GRADE, '{"grade": null}', Status.MALFORMED),
        (GRADE, '{"grade": "high"}', Status.MALFORMED),
        (GRADE, '{"grade": "1_0"}', Status.MALFORMED),
        (GRADE, '{"grade": [6]}', Status.MALFORMED),
        (GRADE, '{"grade": NaN}', Status.MALFORMED),
        (GRADE, '{"grade": Infinity}', Status.MALFORMED),
        (GRADE, '{"grade": 1' + "0" * 400 + "}", Status.MALFORMED),
        (GRADE, '{"grade": 2, "grade": 8}', Status.MALFORMED),
        (GRADE, '{"grade": 2} or {"grade": 8}', Status.MALFORMED),
        (GRADE, '{"Grade": 2}', Status.MALFORMED),
        (GRADE, '{"grade": 7', Status.MALFORMED),
        (GRADE, "The gap is 5 m.", Status.MALFORMED),
        (GRADE, "6/10", Status.MALFORMED),
        (GRADE, 'One could say {"grade": 4}, but the gap is wide.', Status.MALFORMED),
        (GRADE, '{"grade": 4}\nNo, that is too low.', Status.MALFORMED),
        (GRADE, 'It is not {"grade": 4}', Status.MALFORMED),
        (GRADE, 'Thought: {"grade": 4}', Status.MALFORMED),
        (GRADE, 'At first I thought: {"grade": 4}', Status.MALFORMED),
        (GRADE, "Grade: 4\nGrade: 6", Status.MALFORMED),
        (GRADE, 'Grade: 4\n{"grade": 6}', Status.MALFORMED),
        (GRADE, r"\boxed{4} or \boxed{6}", Status.MALFORMED),
        (GRADE, r"\boxed{6}, or rather 4", Status.MALFORMED),
        (GRADE, r"\boxed{6}" + "\nFinal answer: 4", Status.MALFORMED),
        (GRADE, "Final answer: 4\nWait.\nFinal answer: 6", Status.MALFORMED),
        (GRADE, "Final answer: 6\nOr 4.", Status.MALFORMED),
        (GRADE, "Final answer: between 4 and 6", Status.MALFORMED),
        (GRADE, '<note>{"grade": 4}</note>{"grade": 6}', Status.MALFORMED),
        (GRADE, '[{"grade": 4}, {"grade": 6}]', Status.MALFORMED),
        (GRADE, "6 <think>or 4</think>", Status.MALFORMED),
        (GRADE, '[THINK]{"grade": 4}', Status.TRUNCATED),
        (GRADE, '<|channel|>analysis<|message|>{"grade": 4}', Status.TRUNCATED),
        (GRADE, '</think>6<think>{"grade": 4}', Status.TRUNCATED),
        (GRADE, "3 or 4", Status.MALFORMED),
        (PROBABILITY, "70%", Status.MALFORMED),
        (YES_NO, '{"safe": "maybe"}', Status.MALFORMED),
        (YES_NO, '{"safe": 1}', Status.MALFORMED),
        (YES_NO, "No danger at all.", Status.MALFORMED),
        (YES_NO, "yes and no", Status.MALFORMED),
        (GRADE, "", Status.MALFORMED),
        (GRADE, "<think>It may be a 6", Status.TRUNCATED),
        (GRADE, "I'm sorry, but I can't grade pictures of accidents.", Status.REFUSED),
        (GRADE, "I\u2019m unable to judge this.", Status.REFUSED),
        (YES_NO, "I cannot say.", Status.REFUSED),
    ],
)
def test_any_other_answer_is_no_label_and_says_why(form, text, status):
    with pytest.raises(NoLabel) as caught:
        read_answer(text, form)
    assert caught.value.status == status
    assert caught.value.detail


@given(st.text(alphabet='{}[]":,. 0123456789-+eE_/%yesnotrulfgadpbiNIy\n<think>\\', max_size=60))
def test_no_text_whatsoever_becomes_a_number_outside_the_unit_interval(text):
    for form in FORMS.values():
        for whole in (text, f'{{"{form.key}": {text}}}', f'{{"{form.key}": "{text}"}}'):
            try:
                reading = read_answer(whole, form)
            except NoLabel:
                continue
            assert 0.0 <= reading.score <= 1.0
            assert 0 <= reading.start <= len(whole)


@pytest.mark.parametrize(
    "part",
    ["\n", " ", "* ", "$", "{", '{"a":', '"', "1", "final answer ", "<think ", "<", "\\boxed{",
     "<answer>", "grade ", ".", "<|a|>", "analysisA", "</s>", "\n1", "grade: 1\n", "a\n"],
)  # fmt: skip
def test_no_text_takes_long_to_read(part):
    began = time.process_time()
    for text in (part * 40_000, f"{part * 3000}x", f'{{"grade": 7}}{part * 200}x'):
        with contextlib.suppress(NoLabel):
            read_answer(text, GRADE)
    assert time.process_time() - began < 5


@given(st.floats(0, 1), st.integers(0, 9))
def test_what_the_schema_allows_is_always_read(probability, grade):
    assert read_answer(json.dumps({"probability": probability}), PROBABILITY).score == probability
    assert read_answer(json.dumps({"grade": grade}), GRADE).score == grade / 9


def tokens(*entries):
    """Tokens with their alternatives' probabilities; a bare string is certain."""
    pairs = [(entry, {entry: 1.0}) if isinstance(entry, str) else entry for entry in entries]
    return [(token, {text: math.log(p) for text, p in likely.items()}) for token, likely in pairs]


def test_the_score_is_the_mean_over_the_alternatives_in_closed_form():
    grade = ("7", {"7": 0.5, "6": 0.2, "9": 0.1, "x": 0.15, "sev": 0.05})
    found = expected_score(tokens('{"', "grade", '": ', grade, "}"), 7 / 9, GRADE)
    assert found == pytest.approx((0.5 * 7 + 0.2 * 6 + 0.1 * 9) / 9 / 0.8)
    safe = (' "no', {' "no': 0.6, ' "yes': 0.2, '"Yes': 0.1, "perhaps": 0.1})
    found = expected_score(tokens('{"safe":', safe, '"}'), 0.0, YES_NO)
    assert found == pytest.approx(0.3 / 0.9)


def test_only_the_token_of_the_answer_counts_not_other_digits_before_it():
    other = ("3", {"3": 0.5, "0": 0.5})
    grade = ("7", {"7": 0.9, "8": 0.1})
    said = tokens('{"gap": ', other, ', "grade": ', grade, "}")
    assert expected_score(said, 7 / 9, GRADE) == pytest.approx(7.1 / 9)


@pytest.mark.parametrize(
    "said",
    [
        tokens('{"grade": 7}'),  # several things in one token
        tokens('{"grade": ', "8", "}"),  # not the answer that was given
        tokens("seven"),
        [],
        [('{"grade": ', {}), ("7", {}), ("}", {})],
        [('{"grade": ', {}), ("7", {"7": math.nan}), ("}", {})],
        tokens('{"draft": {"grade": ', ("7", {"7": 1.0}), '}, "grade": 7}'),  # not its token
    ],
)
def test_log_probabilities_that_do_not_tell_are_not_used(said):
    assert expected_score(said, 7 / 9, GRADE) is None


@pytest.mark.parametrize("likely", [{"7": 0.04, "the": 0.9}, {"7": 1e-9, "2": 1e-8, "I": 1.0}])
def test_log_probabilities_of_almost_no_mass_are_no_label(likely):
    said = tokens('{"grade": ', ("7", likely), "}")
    with pytest.raises(NoLabel, match="have a probability of"):
        expected_score(said, 7 / 9, GRADE)
    assert expected_score(said, 7 / 9, GRADE, least_mass=0.0) is not None


def test_impossible_log_probabilities_do_no_harm():
    said = [('{"grade": ', {}), ("7", {"7": 5.0, "2": -9999.0, "3": -math.inf}), ("}", {})]
    assert expected_score(said, 7 / 9, GRADE) == pytest.approx(7 / 9)


@pytest.mark.parametrize("reply", [None, [], "x", {}, {"choices": None}, {"choices": [3]}])
def test_a_reply_that_is_no_chat_completion_is_no_label(reply):
    with pytest.raises(NoLabel, match="no chat completion"):
        Question().read(reply, "json")
    with pytest.raises(NoLabel, match="no chat completion"):
        Question().settle(reply)


@pytest.mark.parametrize(
    "logprobs",
    [
        None,
        7,
        {},
        {"content": None},
        {"content": ["7"]},
        {"content": [{"token": "7"}]},
        {"content": [{"token": "7", "top_logprobs": [{"token": "7", "logprob": 10**400}]}]},
        {"tokens": ["7"], "top_logprobs": [{"7": -0.1}]},
    ],
)
def test_damaged_log_probabilities_leave_the_answer_readable(logprobs):
    choice = {"message": {"content": '{"grade": 7}'}, "finish_reason": "stop", "logprobs": logprobs}
    reply = {"choices": [choice]}
    assert Question().settle(reply) == "json"
    assert Question().read(reply, "json") == pytest.approx(7 / 9)
    with pytest.raises(NoLabel, match="no log-probabilities"):
        Question().read(reply, "logprobs")


def test_answers_in_parts_are_put_together():
    content = [{"type": "text", "text": '{"grade"'}, {"type": "text", "text": ": 7}"}]
    reply = {"choices": [{"message": {"content": content}}]}
    assert Question().read(reply, "json") == pytest.approx(7 / 9)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"answer": "stars"}, "stars"),
        ({"reading": "always"}, "always"),
        ({"structure": "xml"}, "xml"),
        ({"detail": "huge"}, "huge"),
        ({"temperature": -1.0}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"answer": "probability", "reading": "logprobs"}, "free number"),
        ({"reading": "text", "least_mass": 0.1}, "no effect"),
        ({"least_mass": 1.5}, "least_mass"),
        ({"scene": 5}, "scene"),
        ({"request": "How safe is it?"}, "grade"),
    ],
)
def test_an_impossible_question_is_refused(options, word):
    with pytest.raises(ValueError, match=word):
        Question(**options)


def test_requests_ask_for_less_where_a_server_complains():
    features = Features()
    for complaint, name, value in [
        ("response_format type 'json_schema' is unavailable", "structure", "json_object"),
        ("'response_format.type' must be 'text'", "structure", "text"),
        ("Cannot request more than 5 logprobs.", "top_logprobs", 5),
        ("This model does not support logprobs", "top_logprobs", 0),
        ("temperature: only the default (1) is supported", "temperature", False),
        ("Unknown parameter: 'seed'", "seed", False),
        ("[('body', 'messages', 0, 'content', 1, 'image_url', 'detail')]", "detail", False),
        (
            "Use 'max_completion_tokens' instead of max_tokens",
            "length_key",
            "max_completion_tokens",
        ),
    ]:
        features = features.without(complaint)
        assert getattr(features, name) == value
    assert features.without("response_format, logprobs, seed, temperature, max_tokens") is None
    assert Features().without("the picture is too large") is None
