"""A server that is slow, fails, limits, refuses or talks nonsense: what becomes of each frame."""

from __future__ import annotations

import asyncio
import email.utils
import time
from dataclasses import replace

import numpy as np
import pytest
from chat_server import ChatServer, numbered_frames, safety

from wrappers.generative.budget import Budget
from wrappers.generative.chat_scorer import ChatScorer, ChatServerError
from wrappers.generative.client import Limits, Pace, classify, retry_after
from wrappers.generative.outcomes import Status
from wrappers.generative.question import Question

QUICK = Limits(timeout=20.0, attempts=3, first_wait=0.02, longest_wait=2.0)
IMPATIENT = replace(QUICK, timeout=2.0)  # but no less: busy machines are slow too


def scorer_of(server, **options):
    return ChatScorer("judge", server.url, **({"limits": QUICK} | options))


# what the server does: (how the frame ends, requests sent, a word of the reason)
FAULTS = {
    "slow:9": (Status.TIMED_OUT, 3, "2 s"),
    "drip:9": (Status.TIMED_OUT, 3, "2 s"),
    "500": (Status.SERVER_ERROR, 3, "HTTP 500"),
    "503": (Status.SERVER_ERROR, 3, "HTTP 503"),
    "wrapped error": (Status.SERVER_ERROR, 3, "upstream is busy"),
    "reset": (Status.UNREACHABLE, 3, "Error"),
    "cut": (Status.UNREACHABLE, 3, "Error"),
    "429": (Status.RATE_LIMITED, 3, "HTTP 429"),
    "429:0.1": (Status.RATE_LIMITED, 3, "HTTP 429"),
    "400": (Status.REJECTED, 1, "HTTP 400"),
    "422": (Status.REJECTED, 1, "HTTP 422"),
    "policy": (Status.REFUSED, 1, "not allowed"),
    "refusal": (Status.REFUSED, 1, "assist"),
    "filtered": (Status.REFUSED, 1, "filter"),
    "text:I'm sorry, but I can't help with that.": (Status.REFUSED, 1, "sorry"),
    "truncated": (Status.TRUNCATED, 1, "max_tokens"),
    "html": (Status.NO_COMPLETION, 1, "no chat completion"),
    "no choices": (Status.NO_COMPLETION, 1, "no chat completion"),
    "lasting:image input is not supported, provide the mmproj": (Status.REJECTED, 1, "mmproj"),
    "text:": (Status.MALFORMED, 1, "empty"),
    "text:The gap is 5 m, so beware.": (Status.MALFORMED, 1, "The gap is 5 m"),
    'text:{"grade": "fine"}': (Status.MALFORMED, 1, "fine"),
    'text:{"grade": NaN}': (Status.MALFORMED, 1, "nan"),
    'text:{"grade": 3} or {"grade": 7}': (Status.MALFORMED, 1, "several"),
    'text:{"grade": 10}': (Status.OUT_OF_RANGE, 1, "10"),
    'text:{"grade": -1}': (Status.OUT_OF_RANGE, 1, "-1"),
}


def test_every_frame_is_labelled_or_listed_with_its_reason(server):
    faults = {str(2 * place + 1): [fault] for place, fault in enumerate(FAULTS)}
    server.plan(faults=faults)
    frames = numbered_frames(2 * len(FAULTS))
    scorer = scorer_of(server, limits=IMPATIENT)
    scores = scorer(frames)

    np.testing.assert_allclose(scores[::2], safety(frames)[::2], atol=1e-6)
    assert np.isnan(scores[1::2]).all()
    assert sorted(scorer.unlabelled) == list(range(1, len(frames), 2))
    for place, (fault, expected) in enumerate(FAULTS.items()):
        outcome = scorer.unlabelled[2 * place + 1]
        assert (outcome.status, outcome.attempts) == expected[:2], (fault, outcome)
        assert expected[2] in outcome.detail, (fault, outcome)
        assert scorer.last_reasons[2 * place + 1] == f"{expected[0].value}: {outcome.detail}"
    assert scorer.last_reasons[::2] == [None] * len(FAULTS)
    assert sum(scorer.counts.values()) == len(frames)
    assert scorer.counts["labelled"] == len(FAULTS)
    assert scorer.stopped == ""


@pytest.mark.parametrize(
    "fault", ["slow:9", "drip:9", "500", "503:0.1", "429:0.1", "reset", "cut", "wrapped error"]
)
def test_what_passes_is_overcome(server, fault):
    server.plan(faults={"1": [fault, fault, ""]})
    frames = numbered_frames(3)
    limits = IMPATIENT if fault in ("slow:9", "drip:9") else QUICK
    answers = scorer_of(server, limits=limits).ask(frames)
    np.testing.assert_allclose(answers.scores, safety(frames), atol=1e-6)
    assert [outcome.attempts for outcome in answers.outcomes] == [1, 3, 1]
    assert not answers.unlabelled


def test_pauses_between_attempts_grow(server):
    server.plan(faults={"0": ["500"]})
    limits = Limits(attempts=4, first_wait=0.1)
    scorer_of(server, limits=limits)(numbered_frames(1))
    gaps = np.diff([request["time"] for request in server.log()["requests"]])
    assert len(gaps) == 3
    assert (gaps >= [0.1, 0.2, 0.4]).all()
    assert (gaps < np.array([0.2, 0.3, 0.5]) + 1.0).all()  # jitter of up to 0.1 s, and a margin


def test_a_retry_after_holds_back_all_requests(server):
    server.plan(faults={"0": ["429:0.7", ""]}, delay=0.05)
    frames = numbered_frames(12)
    limits = Limits(concurrency=2, first_wait=0.01, attempts=2)
    scores = scorer_of(server, limits=limits)(frames)
    np.testing.assert_allclose(scores, safety(frames), atol=1e-6)
    times = {request["number"]: request["time"] for request in server.log()["requests"]}
    asked_first = min(request["time"] for request in server.log()["requests"])
    held = [number for number, when in times.items() if when - asked_first < 0.65]
    assert set(held) <= {1, 2}  # 1 was under way, 2 may have gone out before the answer came
    assert times[0] - asked_first >= 0.7


@pytest.mark.parametrize(
    ("fault", "reason"), [("429:3600", "3600 s"), ("503:3600", "3600 s"), ("quota", "no credit")]
)
def test_a_server_that_wants_to_be_left_alone_is_left_alone(server, fault, reason):
    server.plan(faults={"3": [fault]})
    frames = numbered_frames(10)
    scorer = scorer_of(server, limits=Limits(concurrency=1))
    scores = scorer(frames)
    np.testing.assert_allclose(scores[:3], safety(frames)[:3], atol=1e-6)
    assert np.isnan(scores[3:]).all()
    assert reason in scorer.stopped
    assert {scorer.unlabelled[place].status for place in range(4, 10)} == {Status.NOT_ASKED}
    assert len(server.log()["requests"]) == 4
    assert np.isnan(scorer(frames)).all()  # also the next call sends nothing
    assert len(server.log()["requests"]) == 4
    server.plan()
    scorer.resume()
    np.testing.assert_allclose(scorer(frames), safety(frames), atol=1e-6)


def test_a_server_that_goes_is_given_up_after_a_while():
    limits = Limits(concurrency=2, attempts=2, first_wait=0.01, give_up_after=5)
    with ChatServer() as gone:
        scorer = scorer_of(gone, limits=limits)
        assert not np.isnan(scorer(numbered_frames(2))).any()
    frames = numbered_frames(50)
    assert np.isnan(scorer(frames)).all()
    assert 5 <= scorer.counts["unreachable"] <= 6
    assert scorer.counts["not asked"] == 50 - scorer.counts["unreachable"]
    assert "given up after 5 frames without an answer in a row" in scorer.stopped
    assert scorer.usage.unreported == 0  # a connection that was refused has cost nothing


def test_a_server_that_is_not_there_is_an_error_at_once():
    with ChatServer() as gone:
        pass
    scorer = scorer_of(gone, limits=Limits(attempts=2, first_wait=0.01))
    for _ in range(2):
        with pytest.raises(ChatServerError, match=r"Connect.*look at the address"):
            scorer(numbered_frames(50))
        with pytest.raises(ChatServerError, match="Connect"):
            _ = scorer.identity


USELESS = [
    "html",
    "no choices",
    "text:",
    "text:I see a road.",
    'text:{"grade": 11}',
    "truncated",
    "refusal",
    "filtered",
    "404",
    "500",
    "503",
    "lasting:image input is not supported - hint: you may need to provide the mmproj",
    "lasting:The model `judge` does not exist",
    "reset",
]


@pytest.mark.parametrize("fault", USELESS)
@pytest.mark.parametrize("introduced", [False, True])
def test_a_server_that_never_helps_is_given_up_after_few_requests(server, fault, introduced):
    faults = {str(number): [fault] for number in range(100)}
    server.plan(faults=faults, introduction="" if introduced else fault)
    limits = replace(QUICK, attempts=2, first_wait=0.005)
    scorer = scorer_of(server, limits=limits)
    with pytest.raises(ChatServerError, match=r"is of no use with 'judge'"):
        scorer(numbered_frames(100))
    log = server.log()
    assert len(log["requests"]) + len(log["introductions"]) <= 60
    server.plan()
    assert not np.isnan(scorer(numbered_frames(3))).any()  # it can be put right


def test_a_set_up_that_cannot_work_is_an_error_with_the_remedy(server):
    server.plan(faults={"0": ["404"], "1": ["404"]})
    scorer = scorer_of(server)
    with pytest.raises(ChatServerError, match=r"HTTP 404.*address"):
        scorer(numbered_frames(2))
    server.plan()
    assert not np.isnan(scorer(numbered_frames(2))).any()  # it can be put right


def test_labels_already_paid_for_are_not_lost_when_the_key_is_taken_away(server):
    server.plan(faults={"4": ["401"]})
    scorer = scorer_of(server, limits=Limits(concurrency=1))
    frames = numbered_frames(8)
    scores = scorer(frames)
    np.testing.assert_allclose(scores[:4], safety(frames)[:4], atol=1e-6)
    assert scorer.counts == {"labelled": 4, "rejected": 1, "not asked": 3}


@pytest.mark.parametrize(
    ("budget", "labelled"),
    [
        (Budget(requests=9), 7),  # two before the first frame
        (Budget(tokens=1135), 8),  # 110 a request, of which 128 must be free for the answer
        (Budget(money=1.132, prompt_price=800.0, completion_price=2000.0), 8),  # 0.1 a request
    ],
)
def test_a_budget_stops_cleanly_and_is_not_exceeded(server, budget, labelled):
    server.plan(delay=0.02)
    frames = numbered_frames(40)
    scorer = scorer_of(server, budget=budget)
    scores = scorer(frames)
    known = ~np.isnan(scores)
    np.testing.assert_allclose(scores[known], safety(frames)[known], atol=1e-6)
    assert known.sum() == len(server.log()["requests"]) == scorer.usage.requests - 2
    assert abs(known.sum() - labelled) <= 1
    assert scorer.usage.tokens <= (budget.tokens or np.inf)
    assert scorer.usage.money <= (budget.money or np.inf)
    assert scorer.counts["not asked"] == 40 - known.sum()
    assert "the budget is spent" in scorer.stopped
    assert {reason for reason in scorer.last_reasons if reason} == {scorer.stopped}


def test_reasons_can_be_shown_and_stored_whatever_a_server_says(server):
    said = "no \ud800 \x1b[2J \u2028"
    kinds = ("text", "refusal", "complaint")
    server.plan(faults={str(n): [f"{kind}:{said}"] for n, kind in enumerate(kinds)})
    scorer = scorer_of(server)
    scorer(numbered_frames(3))
    for reason in scorer.last_reasons:
        assert reason
        assert reason.isprintable()
        reason.encode()


def test_a_frame_that_failed_before_the_budget_ended_says_both(server):
    server.plan(faults={"0": ["500"]})
    scorer = scorer_of(server, budget=Budget(requests=4))
    scorer(numbered_frames(1))
    outcome = scorer.unlabelled[0]
    assert (outcome.status, outcome.attempts) == (Status.SERVER_ERROR, 2)
    assert "HTTP 500" in outcome.detail
    assert "the budget is spent" in outcome.detail


def test_a_budget_of_tokens_needs_a_server_that_reports_them(server):
    server.plan(usage=False)
    scorer = scorer_of(server, budget=Budget(tokens=10_000))
    scores = scorer(numbered_frames(10))
    assert np.isnan(scores).all()
    assert "does not report tokens" in scorer.stopped
    assert len(server.log()["requests"]) == 0  # the introduction told


def test_a_run_that_is_broken_off_leaves_its_books_in_order(server):
    server.plan(delay=5.0)
    scorer = scorer_of(server, budget=Budget(requests=100))

    async def break_off():
        await asyncio.wait_for(scorer._ask_all(numbered_frames(20)[:, None], met), 1.5)

    server.plan()
    met = scorer._meet()
    before = scorer.usage.requests
    server.plan(delay=5.0)
    with pytest.raises(TimeoutError):
        asyncio.run(break_off())
    assert scorer._ledger.in_flight == 0
    assert 1 <= scorer.usage.requests - before <= 8
    assert scorer.usage.unreported == scorer.usage.requests - before  # it may charge for them
    server.plan()
    assert not np.isnan(scorer(numbered_frames(20))).any()


def test_what_a_server_does_not_know_is_left_out(server):
    server.plan(
        unknown=["json_schema", "json_object", "seed", "temperature", "max_tokens", "detail"],
        most_logprobs=5,
    )
    frames = numbered_frames(20)
    scorer = scorer_of(server)
    np.testing.assert_allclose(scorer(frames), safety(frames), atol=1e-6)
    features = scorer.report()["features"]
    assert features == {
        "structure": "text",
        "top_logprobs": 5,
        "temperature": False,
        "seed": False,
        "detail": False,
        "length_key": "max_completion_tokens",
    }
    assert set(server.log()["requests"][-1]["fields"]) == {
        "model",
        "max_completion_tokens",
        "logprobs",
        "top_logprobs",
    }


@pytest.mark.parametrize("plan", [{"unknown": ["logprobs"]}, {"logprobs": False}])
def test_without_log_probabilities_the_answer_itself_is_read_unless_they_are_required(server, plan):
    server.plan(**plan)
    frames = numbered_frames(10)
    answers = scorer_of(server).ask(frames)
    np.testing.assert_allclose(answers.scores * 9, np.round(safety(frames) * 9), atol=1e-5)
    assert {outcome.source for outcome in answers.outcomes} == {"json"}
    assert all("logprobs" not in one["fields"] for one in server.log()["requests"])
    required = scorer_of(
        server, question=Question(reading="logprobs"), limits=replace(QUICK, give_up_after=10)
    )
    with pytest.raises(ChatServerError, match="no log-probabilities that can be read"):
        required(frames)


def test_a_wait_may_be_given_in_seconds_or_as_a_date():
    assert retry_after({}) is None
    assert retry_after({"retry-after": "2.5"}) == 2.5
    assert retry_after({"retry-after": "-3"}) == 0.0
    assert retry_after({"retry-after": "soon"}) is None
    assert retry_after({"retry-after": "nan"}) is None
    date = email.utils.formatdate(time.time() + 30, usegmt=True)
    assert 28 < retry_after({"retry-after": date}) <= 30


@pytest.mark.parametrize(
    ("code", "hopeless"), [(401, True), (403, True), (404, True), (413, False)]
)
def test_some_errors_concern_all_requests_others_one(code, hopeless):
    failure = classify(code, "no", "", {}, longest_wait=60)
    assert failure.status == Status.REJECTED
    assert (failure.hopeless, failure.passing) == (hopeless, False)


def test_starts_are_spaced_whoever_waits():
    async def starts():
        pace = Pace(6000)  # one every 10 ms
        times = []

        async def one():
            await pace.turn()
            times.append(time.monotonic())

        await asyncio.gather(*(one() for _ in range(20)))
        return times

    assert (np.diff(asyncio.run(starts())) >= 0.0099).all()
