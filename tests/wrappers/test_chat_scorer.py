"""A chat model as scorer: right answers on the right frames, limits, secrets, processes."""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import multiprocessing
import pickle
import re
import sys
import threading
import traceback
from concurrent.futures import ProcessPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from chat_server import numbered_frames, safety

from wrappers import SafetyScorer, WindowScorer, make_scorer
from wrappers.generative.budget import Budget
from wrappers.generative.chat_scorer import ChatScorer, ChatServerError, make_chat_scorer
from wrappers.generative.client import Limits
from wrappers.generative.question import Question
from wrappers.generative.server import Access

KEY = "sk-test-1f2e3d4c5b6a"
QUICK = Limits(attempts=2, first_wait=0.02)


def scorer_of(server, **options):
    return ChatScorer("judge", server.url, **({"limits": QUICK} | options))


@pytest.mark.parametrize(
    ("answer", "closeness"), [("grade", 1e-6), ("probability", 1e-4), ("yes_no", 1e-6)]
)
def test_answers_land_on_their_frames_in_whatever_order_they_come(server, answer, closeness):
    delays = np.random.default_rng(0).uniform(0, 0.1, 60)
    faults = {str(n): [f"slow:{delay}"] for n, delay in enumerate(delays)}
    server.plan(faults=faults)
    frames = numbered_frames(60)
    scorer = scorer_of(server, question=Question(answer=answer))
    scores = scorer(frames)
    assert scores.dtype == np.float32
    assert isinstance(scorer, SafetyScorer)
    np.testing.assert_allclose(scores, safety(frames), atol=closeness)
    answered = [int(number) for number in server.log()["answered"]]
    assert answered != sorted(answered)
    np.testing.assert_array_equal(scorer(frames), scores)


def test_requests_are_what_the_api_wants(server):
    server.plan()
    question = Question(detail="low", temperature=0.5, seed=3, max_tokens=77)
    scorer_of(server, question=question)(numbered_frames(1, size=20))
    (request,) = server.log()["requests"]
    assert request["pictures"] == [[20, 20, 3]]
    assert request["details"] == ["low"]
    assert request["text"] == question.text(1)
    fields = request["fields"]
    assert fields.pop("response_format")["json_schema"]["schema"] == question.form.schema
    assert fields == {
        "model": "judge",
        "temperature": 0.5,
        "seed": 3,
        "max_tokens": 77,
        "logprobs": True,
        "top_logprobs": 20,
    }


@pytest.mark.parametrize("most", [1, 5])
def test_no_more_requests_are_under_way_than_allowed(server, most):
    server.plan(delay=0.1 * most)  # a busy machine takes its time to send them
    frames = numbered_frames(20)
    scores = scorer_of(server, limits=Limits(concurrency=most))(frames)
    np.testing.assert_allclose(scores, safety(frames), atol=1e-6)
    assert server.log()["most_in_flight"] == most


def test_the_rate_is_kept_across_calls_and_retries(server):
    server.plan(faults={"2": ["500", ""]})
    limits = Limits(requests_per_minute=600, first_wait=0.001)
    scorer = scorer_of(server, limits=limits)
    for frame in numbered_frames(4)[:, None]:
        scorer(frame)
    scorer(numbered_frames(8))
    times = np.sort([request["time"] for request in server.log()["requests"]])
    assert len(times) == 13
    assert times[-1] - times[0] > 12 * 0.1 - 0.3  # the first may have come late


def test_usage_and_outcomes_are_counted(server):
    server.plan(faults={"3": ["refusal"]})
    budget = Budget(prompt_price=2.0, completion_price=8.0)
    scorer = scorer_of(server, budget=budget)
    scorer(numbered_frames(5))
    scorer(numbered_frames(5))
    report = scorer.report()
    assert json.loads(json.dumps(report)) == report
    assert report["outcomes"] == {"labelled": 8, "refused": 2}
    assert report["models"] == {"judge-1": 10}
    assert report["usage"] == {  # two of them before the first frame, one without a picture
        "requests": 12,
        "prompt_tokens": 1115,
        "completion_tokens": 120,
        "money": pytest.approx(1115 * 2e-6 + 120 * 8e-6),
        "unreported": 0,
        "turned_away": 0,
    }


def test_a_price_is_told_before_and_known_better_after(server):
    server.plan(faults={"0": ["500"]})
    budget = Budget(prompt_price=2.0, completion_price=8.0)
    scorer = scorer_of(server, budget=budget)
    assert 2 * 300 * 1e-6 < scorer.price_estimate(1) < 2 * 500 * 1e-6  # a picture and some words
    assert server.log()["requests"] == []
    scorer(numbered_frames(5))
    assert scorer.usage.turned_away == 2
    assert scorer.price_estimate(1000) == pytest.approx(1000 * (100 * 2e-6 + 10 * 8e-6))
    assert np.isnan(scorer_of(server).price_estimate(10))


def test_several_frames_go_into_one_request_in_their_order(server):
    server.plan()
    windows = np.stack([numbered_frames(3, first=10), numbered_frames(3, first=40)])
    mean = safety(windows.reshape(-1, 8, 8, 3)).reshape(2, 3).mean(1)
    scorer = scorer_of(server, context_frames=3)
    np.testing.assert_allclose(scorer(windows), mean, atol=1e-6)
    requests = sorted(server.log()["requests"], key=lambda request: request["number"])
    assert [request["number"] for request in requests] == [12, 42]  # the last of each window
    assert requests[0]["pictures"] == [[8, 8, 3]] * 3
    assert "3 pictures" in requests[0]["text"]
    assert "pictures" not in scorer.question.text(1)
    np.testing.assert_array_equal(scorer_of(server).ask_clips(windows).scores, scorer(windows))
    with pytest.raises(ValueError, match="3 frames"):
        scorer(numbered_frames(4))
    with pytest.raises(ValueError, match="frames"):
        scorer_of(server)(windows)
    tiled = WindowScorer(scorer_of(server), 3, combine="tile")
    assert tiled(windows).shape == (2,)


def test_no_frames_need_no_request(server):
    server.plan()
    assert scorer_of(server)(numbered_frames(0)).shape == (0,)
    assert server.log()["requests"] == []


def test_it_works_inside_a_running_event_loop(server):
    server.plan()
    frames = numbered_frames(5)

    async def cell():
        return scorer_of(server)(frames)

    np.testing.assert_allclose(asyncio.run(cell()), safety(frames), atol=1e-6)


def judge_elsewhere(scorer, frames):
    return scorer(frames), scorer.identity


def test_worker_processes_build_it_anew_with_the_key_of_their_environment(server, monkeypatch):
    server.plan(key=KEY)
    monkeypatch.setenv("JUDGE_KEY", KEY)
    scorer = scorer_of(server, api_key_env="JUDGE_KEY", context_frames=1)
    assert KEY.encode() not in pickle.dumps(scorer)
    frames = numbered_frames(6)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        scores, identity = pool.submit(judge_elsewhere, scorer, frames).result()
    np.testing.assert_allclose(scores, safety(frames), atol=1e-6)
    assert identity == scorer.identity
    assert copy.deepcopy(scorer) is scorer  # one budget


def test_a_scorer_that_was_given_its_key_refuses_to_be_pickled(server):
    server.plan(key=KEY)
    scorer = scorer_of(server, api_key=KEY)
    assert not np.isnan(scorer(numbered_frames(2))).any()
    with pytest.raises(TypeError, match="api_key_env") as caught:
        pickle.dumps(scorer)
    assert KEY not in str(caught.value)


def test_the_key_appears_nowhere(server, caplog, monkeypatch):
    caplog.set_level(logging.DEBUG)
    for name in ("openai", "httpx", "httpx2", "httpcore", "httpcore2", "tenacity", "asyncio"):
        caplog.set_level(logging.DEBUG, logger=name)
    faults = {"1": ["reset"], "2": ["500"], "3": [f"text:{'no ' * 24}{KEY}"]}
    server.plan(key=KEY, faults=faults)
    scorer = scorer_of(server, api_key=KEY)
    said = repr(scorer.ask(numbered_frames(5)))
    server.plan(key="another")  # the server's message repeats the key that it got
    scorer(numbered_frames(1))
    fresh = scorer_of(server, api_key=KEY)
    with pytest.raises(ChatServerError) as caught:
        fresh(numbered_frames(1))
    seen = [
        said,
        caplog.text,
        repr(caught.value),
        "".join(traceback.format_exception(caught.value)),
    ]
    error = caught.value
    while error := error.__cause__ or error.__context__:
        seen.append(repr(error) + repr(vars(error)))
    seen.append(json.dumps(scorer.identity))
    for one in (scorer, fresh):
        seen += [repr(one), str(one), json.dumps(one.report())]
        seen += [repr(vars(one)), repr(one.answers)]
    assert "wrong key: Bearer <key>" in scorer.stopped  # it was there, and was hidden
    assert len(caplog.text) > 1000
    for text in seen:
        assert KEY[:6] not in text


def test_a_key_or_an_address_that_would_be_written_down_is_refused():
    for url in (f"http://user:{KEY}@host/v1", f"https://host/v1?key={KEY}", f"http://h/v1#{KEY}"):
        with pytest.raises(ValueError, match="api_key_env") as caught:
            ChatScorer("judge", url)
        assert KEY not in str(caught.value)
        with pytest.raises(ValueError, match="api_key_env") as caught:
            make_chat_scorer(f"judge@{url}")
        assert KEY not in str(caught.value)
    with pytest.raises(ValueError, match="environment variable") as caught:
        make_chat_scorer("judge", api_key=KEY)
    assert KEY not in str(caught.value)


def test_identity_holds_all_that_an_answer_depends_on(server):
    server.plan()

    def identity(url=server.url, model="m", context_frames=1, **question):
        scorer = ChatScorer(
            model, url, question=Question(**question), context_frames=context_frames
        )
        return json.dumps(scorer.identity, sort_keys=True)

    plain = identity()
    found = json.loads(plain)
    assert found["server"] == server.url.removeprefix("http://")
    assert "Grade how safe" in found["request"]
    assert (found["reading"], found["answering_model"]) == ("logprobs", "m-1")
    assert found["least_mass"] == 0.05
    others = [
        identity(url=server.url.replace("127.0.0.1", "localhost")),
        identity(model="n"),
        identity(context_frames=2),
        identity(answer="yes_no"),
        identity(scene="A street."),
        identity(request='Answer {"grade": 0 to 9}.'),
        identity(structure="text"),
        identity(reading="json"),
        identity(reading="text"),
        identity(least_mass=0.5),
        identity(detail="high"),
        identity(temperature=1.0),
        identity(seed=1),
        identity(max_tokens=64),
    ]
    server.plan(model="m-2026-11-29")
    others.append(identity())
    server.plan(logprobs=False)
    others.append(identity())
    server.plan(unknown=["seed"])
    others.append(identity())
    server.plan()
    assert len({plain, *others}) == 18
    limited = ChatScorer("m", server.url, limits=QUICK, budget=Budget(requests=5))
    assert json.dumps(limited.identity, sort_keys=True) == plain  # these change no answer


def test_it_is_built_from_its_name_and_options(server, monkeypatch):
    server.plan()
    scorer = make_scorer(
        f"chat:qwen2.5vl:7b@{server.url}/",
        answer="yes_no",
        timeout=9.0,
        requests=50,
        context_frames=2,
    )
    assert isinstance(scorer, ChatScorer)
    assert (scorer.model, scorer.base_url) == ("qwen2.5vl:7b", server.url)
    assert (scorer.question.answer, scorer.limits.timeout) == ("yes_no", 9.0)
    assert (scorer.budget.requests, scorer.context_frames) == (50, 2)
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    frames = numbered_frames(3)
    np.testing.assert_allclose(make_scorer("chat:judge")(frames), safety(frames), atol=1e-6)
    assert make_chat_scorer("@cf/llava@https://h/v1").model == "@cf/llava"
    monkeypatch.delenv("OPENAI_BASE_URL")
    assert make_chat_scorer("gpt-5").base_url == "https://api.openai.com/v1"


@pytest.mark.parametrize(
    ("argument", "options", "word"),
    [
        (None, {}, "chat:qwen"),
        ("", {}, "chat:qwen"),
        ("m", {"tempreature": 1}, "tempreature"),
        ("m", {"concurrency": 0}, "concurrency"),
        ("m", {"requests_per_minute": -1}, "requests_per_minute"),
        ("m", {"attempts": 1.5}, "attempts"),
        ("m", {"timeout": 0}, "timeout"),
        ("m", {"context_frames": 0}, "context_frames"),
        ("m", {"money": 1.0}, "prices"),
        ("m", {"requests": "many"}, "requests"),
        ("m", {"timeout": float("nan")}, "timeout"),
        ("m", {"check_sight": "no"}, "check_sight"),
        ("m", {"api_key_env": 5}, "api_key_env"),
        ("m", {"reading": "json", "least_mass": 0.1}, "no effect"),
        ("m", {"answer": "probability", "least_mass": 0.1}, "no effect"),
        ("m", {"logprobs": "off"}, "no option 'logprobs'; known: answer, .* reading"),
    ],
)
def test_impossible_settings_are_refused_by_name(argument, options, word):
    with pytest.raises(ValueError, match=word):
        make_chat_scorer(argument, **options)


@pytest.mark.parametrize("url", ["localhost:8000", "http://[::1", "http://h:port/v1", "ftp://h"])
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(ValueError, match=f"'{re.escape(url)}' is no address"):
        ChatScorer("judge", url)


SECRETS = {
    "OPENAI_API_KEY": KEY,
    "OPENAI_ADMIN_KEY": KEY,
    "OPENAI_ORG_ID": "org-secret",
    "OPENAI_PROJECT_ID": "proj-secret",
    "OPENAI_CUSTOM_HEADERS": f"Authorization: Bearer {KEY}\nx-own: secret",
}


def test_other_hosts_see_nothing_of_the_users_account(server, monkeypatch):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("JUDGE_KEY", "sk-judge")
    for options, shown in (
        ({}, None),
        ({"api_key_env": "JUDGE_KEY"}, "Bearer sk-judge"),
        ({"api_key_env": "OPENAI_API_KEY"}, f"Bearer {KEY}"),
        ({"api_key": "sk-mine"}, "Bearer sk-mine"),
    ):
        server.plan()
        ChatScorer("judge", limits=QUICK, **options)(numbered_frames(1))
        headers = server.log()["headers"]
        assert len(headers) == 3
        assert {one.get("authorization") for one in headers} == {shown}
        said = json.dumps([{**one, "authorization": None} for one in headers])
        assert "secret" not in said
        assert KEY not in said


def test_the_users_key_goes_to_openai_alone(monkeypatch):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    own = (
        "https://api.openai.com/v1",
        "https://eu.api.openai.com/v1",
        "https://api.openai.com:443",
    )
    for url in own:
        assert ChatScorer("gpt-5", url)._access() == Access(KEY, account=True)
    for url in (
        "http://api.openai.com/v1",
        "https://api.openai.com.evil.org/v1",
        "https://evil-api.openai.com.org/v1",
        "https://notapi.openai.com/v1",
        "https://api.openai.com:8443/v1",
        "http://localhost:8000/v1",
    ):
        assert ChatScorer("gpt-5", url)._access() == Access()
    monkeypatch.setenv("JUDGE_KEY", " sk-judge\n")
    named = ChatScorer("gpt-5", own[0], api_key_env="JUDGE_KEY")
    assert named._access() == Access("sk-judge")  # no organisation


@pytest.mark.parametrize(("held", "said"), [("", "holds no key"), ("sk-ü", "holds is no key")])
def test_a_variable_without_a_key_is_named(server, monkeypatch, held, said):
    monkeypatch.setenv("JUDGE_KEY", held)
    server.plan()
    with pytest.raises(ChatServerError, match=rf"JUDGE_KEY {said}"):
        scorer_of(server, api_key_env="JUDGE_KEY")(numbered_frames(1))
    assert server.log()["headers"] == []


def test_a_key_that_is_written_where_its_variable_belongs_is_not_repeated(server):
    for wrong in (KEY, "gsk_1f2e3d4c5b6a"):
        with pytest.raises(ChatServerError, match="api_key_env") as caught:
            scorer_of(server, api_key_env=wrong)(numbered_frames(1))
        assert wrong[4:] not in str(caught.value)


def test_a_server_that_sends_elsewhere_does_not_send_the_key_along(server):
    """A redirect to another host: the request goes there, the key does not."""
    seen = []

    class Elsewhere(BaseHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

        def do_POST(self):
            seen.append(dict(self.headers))
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(307)
            self.send_header("location", f"{server.url}/chat/completions")
            self.send_header("content-length", "0")
            self.end_headers()

    with ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        server.plan()
        url = f"http://localhost:{other.server_port}/v1"
        ChatScorer("judge", url, limits=QUICK, api_key=KEY)(numbered_frames(1))
        other.shutdown()
    assert {one["authorization"] for one in seen} == {f"Bearer {KEY}"}
    assert all("authorization" not in one for one in server.log()["headers"])


def test_a_model_that_does_not_see_is_refused(server):
    server.plan(picture_tokens=0)
    with pytest.raises(ChatServerError, match=r"does not see: .* 100 tokens .*check_sight=false"):
        scorer_of(server)(numbered_frames(3))
    with pytest.raises(ChatServerError, match="does not see"):
        _ = scorer_of(server, context_frames=3).identity
    log = server.log()
    assert log["requests"] == []
    shown = [len(one["pictures"]) for one in log["introductions"]]
    assert shown == [1, 0, 3, 0]
    assert (
        len({one["text"] for one in log["introductions"][2:]}) == 1
    )  # pictures are all that differs
    server.plan(picture_tokens=0)
    scorer = make_scorer(f"chat:judge@{server.url},check_sight=false")
    assert not np.isnan(scorer(numbered_frames(2))).any()
    assert len(server.log()["introductions"]) == 1


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ({"usage": False}, "not known whether the model sees"),
        ({"picture_tokens": 3}, "not sure that the model sees"),
        ({"picture_tokens": -20}, "not sure that the model sees"),
    ],
)
def test_where_sight_is_not_known_the_run_goes_on_with_a_warning(server, plan, said):
    server.plan(**plan)
    with pytest.warns(UserWarning, match=said):
        scores = scorer_of(server)(numbered_frames(3))
    np.testing.assert_allclose(scores, safety(numbered_frames(3)), atol=1e-6)


def test_one_reading_serves_a_whole_run(server):
    frames = numbered_frames(6)
    server.plan(faults={"2": ["text:7"], "4": ["text:So it is.\nFinal answer: 7"]})
    scorer = scorer_of(server, question=Question(reading="json"))
    scores = scorer(frames)
    assert np.isnan(scores).tolist() == [False, False, True, False, True, False]
    assert "no JSON object, as the others" in scorer.last_reasons[2]
    scorer = scorer_of(server, question=Question(reading="text"))
    scores = scorer(frames)
    np.testing.assert_allclose(scores[[2, 4]], 7 / 9, atol=1e-6)
    assert {outcome.source for outcome in scorer.answers.outcomes} == {"text"}
    server.plan(introduction="text:7", logprobs=False)
    assert scorer_of(server).identity["reading"] == "text"
    server.plan(introduction="text:I see no car.", logprobs=False)
    assert scorer_of(server).identity["reading"] == "text"
    server.plan(introduction="refusal", logprobs=False)
    assert scorer_of(server).identity["reading"] == "text"
    server.plan(logprobs=False)
    assert scorer_of(server).identity["reading"] == "json"
    assert scorer_of(server, question=Question(reading="text")).identity["reading"] == "text"
    assert scorer_of(server, question=Question(answer="probability")).identity["reading"] == "json"


def test_answers_of_another_model_are_no_labels(server):
    server.plan(faults={"1": ["other model:judge-2"]})
    scorer = scorer_of(server)
    scores = scorer(numbered_frames(3))
    assert np.isnan(scores).tolist() == [False, True, False]
    assert scorer.last_reasons[1] == (
        "other model: 'judge-2' answered, 'judge-1' had been introduced"
    )
    assert scorer.identity["answering_model"] == "judge-1"
    server.plan(model="judge-3")  # from now on
    assert np.isnan(scorer(numbered_frames(30))).all()
    assert "given up after 20 frames" in scorer.stopped
    assert "judge-3" in scorer.stopped


def test_it_is_introduced_once_and_only_when_it_is_needed(server):
    server.plan()
    scorer = make_scorer(f"chat:judge@{server.url}")
    assert server.log()["introductions"] == []
    for _ in range(2):
        assert scorer.identity["answering_model"] == "judge-1"
        scorer(numbered_frames(2))
    assert [len(one["pictures"]) for one in server.log()["introductions"]] == [1, 0]
    assert len(server.log()["requests"]) == 4


@pytest.mark.parametrize("package", ["openai", "tenacity"])
def test_a_missing_package_is_named_with_the_remedy(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=r"vlsafe\[chat\]"):
        ChatScorer("judge", "http://localhost/v1")
