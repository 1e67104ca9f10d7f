"""Scorers of servers against what real servers answered; nothing is installed or reached for it.

What is right is read from the recorded replies in another way than the scorers do it, or was worked
out by ``transformers`` without a server when the replies were recorded.
"""

from __future__ import annotations

import json
import math
import re
import warnings
from typing import Any

import numpy as np
import pytest
from recorded_server import FOLDER, RecordedServer, frames_of, plain

from wrappers import make_scorer
from wrappers.generative.question import to_data_url
from wrappers.generative.server import ChatServerError

RECORDED = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
CASES = [
    pytest.param(name, case, id=f"{name}-{case['spec']}-{number}")
    for name, recorded in RECORDED.items()
    for number, case in enumerate(recorded["cases"])
]
REFUSED = {  # by server, scorer: what the user is told
    ("transformers", "chat:./blind@URL/v1"): "the model does not see: a request has",
    ("transformers", "systemone:./blind@URL/v1"): "HTTP 400: Images need a model whose processor",
    ("transformers", "chat:./nothing@URL/v1"): "HTTP 500: Internal Server Error; the server says "
    "no more, its own log may",
    ("transformers", "systemone:./nothing@URL/v1"): "HTTP 500: Internal Server Error; the server",
    ("transformers", "chat:./tiny@URL"): "HTTP 404: Not Found; most servers .* ends in /v1",
    ("transformers", "systemone:./tiny@URL"): "HTTP 404: Not Found; there is no /systemone below",
    ("transformers", "chat:other@URL/v1"): "HTTP 400: Server is pinned to './tiny'; requested 'ot",
    ("transformers", "chat:./tiny@URL/v1,reading=logprobs"): "no log-probabilities that can be rea",
    ("llama.cpp", "systemone:tiny@URL/v1"): "not a decision model; this server answers typed quest",
}


def refusal(name: str, case: dict[str, Any]) -> str | None:
    answered = any("answers" in one["reply"] for one in case["exchanges"])
    return None if answered else REFUSED.get((name.partition("-")[0], case["spec"]))


def expected(case: dict[str, Any]) -> list[float]:
    """The score that each frame's recorded reply gives."""
    found = []
    for frame in frames_of(case):
        clip = frame if frame.ndim == 4 else frame[None]
        digests = [plain(to_data_url(one)).partition(",")[2] for one in clip]
        replies = [
            one["reply"]
            for one in case["exchanges"]
            if re.findall(r"\[\d+, \d+, 3\] \w{16}", json.dumps(one["request"])) == digests
        ]
        found.append(score_of(replies[-1]))
    return found


def score_of(reply: dict[str, Any]) -> float:
    if "answers" in reply:
        answer = reply["answers"]["safety"]
        return answer["noul"] if answer["type"] == "noul" else answer["score"] / 4
    (choice,) = reply["choices"]
    ((key, value),) = json.loads(choice["message"]["content"]).items()
    worth = {"yes": 1.0, "no": 0.0, "true": 1.0, "false": 0.0}
    if key == "grade":
        worth = {str(grade): grade / 9 for grade in range(10)}
    if not choice.get("logprobs"):
        return worth[str(value)]
    tokens = [one for one in choice["logprobs"]["content"] if bare(one["token"]) == str(value)]
    ((*others,),) = [one["top_logprobs"] for one in tokens]
    likely = [(bare(one["token"]), math.exp(one["logprob"])) for one in others]
    known = [(worth[text], share) for text, share in likely if text in worth]
    return sum(value * share for value, share in known) / sum(share for _, share in known)


def bare(token: str) -> str:
    return re.sub("[^a-z0-9]", "", token.lower())


@pytest.mark.parametrize(("name", "case"), CASES)
def test_a_scorer_reads_what_a_real_server_answered(name: str, case: dict[str, Any]) -> None:
    wrong = refusal(name, case)
    with RecordedServer(case) as server, warnings.catch_warnings():
        warnings.simplefilter("error")
        scorer: Any = make_scorer(f"{case['spec'].replace('URL', server.root)},first_wait=0.01")
        if wrong:
            with pytest.raises(ChatServerError, match=wrong):
                scorer(frames_of(case))
        else:
            scores = scorer(frames_of(case))
            np.testing.assert_allclose(scores, expected(case), atol=1e-5)
            assert scorer.identity["reading"] == reading_of(name, case)
            if "reference" in case:
                np.testing.assert_allclose(scores, case["reference"], atol=2e-4)
                assert np.ptp(scores) > 0.1  # pictures matter
        assert server.unknown == []


def reading_of(name: str, case: dict[str, Any]) -> str:
    """`transformers serve` leaves out schemas and log-probabilities without a word."""
    if case["spec"].startswith("systemone"):
        return "probabilities"
    return "json" if name.startswith("transformers") or "json" in case["spec"] else "logprobs"


def test_all_kinds_of_servers_are_there() -> None:
    assert {name.partition("-")[0] for name in RECORDED} == {"transformers", "llama.cpp"}
    specs = [case["spec"] for recorded in RECORDED.values() for case in recorded["cases"]]
    assert len(specs) > 15


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_a_server_of_typed_questions_is_asked_in_the_form_that_it_knows(name: str) -> None:
    """llama.cpp leaves assets out without a word, `transformers serve` 5.22 refuses them."""
    cases = [case for case in RECORDED[name]["cases"] if case["spec"].startswith("systemone")]
    for case in cases:
        if refusal(name, case):
            continue
        asked = [one["request"] for one in case["exchanges"] if one["status"] == 200][-1]
        assert ("assets" in asked) is (name == "transformers-5.23.0"), case["spec"]
